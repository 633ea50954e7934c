"""Recipes of the judge: renders of training *and* held-out scenes, a part of them spoilt.

The judge measures the other parts, so it must be right on every scene, also on those which their training
leaves out. Its pools have seeds of their own. What is generated is never quite as clean as a render, so the
pictures and sounds are roughened a little; the class of a roughened one stays.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modaverse.context import Modality
from modaverse.toybox.judge import (
    NONE,
    QUESTIONS,
    Judge,
    JudgeNet,
    clip_input,
    new_net,
    picture_input,
    sound_input,
)
from modaverse.toybox.pictures import foreign_picture, render_clip, render_picture, spoil_clip, spoil_picture
from modaverse.toybox.recipes.pools import Pool, build_pool
from modaverse.toybox.recipes.registry import PoolReport
from modaverse.toybox.recipes.trainer import Measures, Recipe, Schedule
from modaverse.toybox.sounds import foreign_sound, render_sound, spoil_sound
from modaverse.toybox.world import (
    ClipScene,
    Scene,
    SoundScene,
    random_clip_scene,
    random_scene,
    random_sound_scene,
)

SPOILT_SHARE = {Modality.IMAGE: 0.5, Modality.VIDEO: 0.4, Modality.AUDIO: 0.2}
POOL_SIZES = {Modality.IMAGE: 50_000, Modality.VIDEO: 50_000, Modality.AUDIO: 10_000}
STEPS = {Modality.IMAGE: 5000, Modality.VIDEO: 9500, Modality.AUDIO: 1500}
BATCH = 64
SPOILT_IN_BATCH = {Modality.IMAGE: 22, Modality.VIDEO: 32, Modality.AUDIO: 22}
TRAIN_SEED, CHECK_SEED = 901, 902  # no other pool uses these

AnyScene = Scene | ClipScene | SoundScene


@dataclass(frozen=True, slots=True)
class Example:
    """What a sample of a judge's pool shows, and whether it was spoilt."""

    scene: AnyScene
    spoilt: bool


def _draw(modality: Modality, rng: random.Random) -> Example:
    spoilt = rng.random() < SPOILT_SHARE[modality]
    match modality:
        case Modality.IMAGE:
            return Example(random_scene(rng, held_out=None), spoilt)
        case Modality.VIDEO:
            return Example(random_clip_scene(rng, held_out=None), spoilt)
        case Modality.AUDIO:
            return Example(random_sound_scene(rng, held_out=None), spoilt)


def _render(example: Example, rng: np.random.Generator) -> np.ndarray:
    match example.scene:
        case Scene() as scene:
            if example.spoilt:
                foreign = rng.random() < 0.2
                return (foreign_picture(rng) if foreign else spoil_picture(scene, rng)).array
            return render_picture(scene, rng).array
        case ClipScene() as scene:
            return (spoil_clip if example.spoilt else render_clip)(scene, rng).array
        case SoundScene() as scene:
            if example.spoilt:
                foreign = rng.random() < 0.2
                sound = foreign_sound(rng) if foreign else spoil_sound(scene, rng)
            else:
                sound = render_sound(scene, rng)
            return np.round(sound.array[:, 0] * 32767).astype(np.int16)


def judge_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    return [judge_recipe(modality, runs, report) for modality in QUESTIONS]


def judge_pool(modality: Modality, runs: Path, count: int, seed: int, report: PoolReport) -> Pool[Example]:
    folder = runs / "pools" / f"judge-{modality}"
    return build_pool(folder, count, seed, lambda rng: _draw(modality, rng), _render, report=report)


def judge_recipe(modality: Modality, runs: Path, report: PoolReport) -> Recipe:
    """The recipe of one of the judge's three networks; builds its pools when called."""
    pool = judge_pool(modality, runs, POOL_SIZES[modality], TRAIN_SEED, report)
    check = judge_pool(modality, runs, 2_000, CHECK_SEED, report)
    spoilt = [i for i, example in enumerate(pool.truths) if example.spoilt]
    sound = [i for i, example in enumerate(pool.truths) if not example.spoilt]

    def batch(step: int) -> tuple[Tensor, list[Example]]:
        rng = np.random.default_rng([TRAIN_SEED, step])
        # Spoilt ones are the harder to learn.
        count = SPOILT_IN_BATCH[modality]
        chosen = [*rng.choice(sound, BATCH - count), *rng.choice(spoilt, count)]
        renders, examples = pool.take([int(i) for i in chosen])
        return torch.from_numpy(renders), examples

    def loss(net: nn.Module, data: tuple[Tensor, list[Example]]) -> tuple[Tensor, Measures]:
        renders, examples = data
        with torch.autocast("cpu", enabled=False):  # a spectrum does not survive eight bits
            x = _roughen(_input(modality, renders))
        answers = net(x)
        targets = _targets(modality, examples)
        losses = {
            question: F.cross_entropy(answers[question].float(), target, ignore_index=-1)
            for question, target in targets.items()
        }
        return torch.stack(list(losses.values())).sum(), {q: value.item() for q, value in losses.items()}

    def evaluate(net: nn.Module) -> Measures:
        return measure(modality, net, check)

    def export(net: nn.Module, folder: Path) -> None:
        if not isinstance(net, JudgeNet):
            raise TypeError(f"not a judge's network: {type(net)}")
        Judge({modality: net}).save_net(folder, modality)

    return Recipe(
        name=f"judge-{modality}",
        schedule=Schedule(steps=STEPS[modality], learning_rate=2e-3, weight_decay=0.05, ema=0.998),
        build=lambda: new_net(modality).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        batch=batch,
        loss=loss,
        evaluate=evaluate,
        export=export,
    )


def _input(modality: Modality, renders: Tensor) -> Tensor:
    match modality:
        case Modality.IMAGE:
            return picture_input(renders)
        case Modality.VIDEO:
            return clip_input(renders)
        case Modality.AUDIO:
            return sound_input(renders.float() / 32767)


def _roughen(x: Tensor) -> Tensor:
    """Half of the batch a little blurred, all of it with a little noise and contrast (b, c, h, w)."""
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    amount = torch.rand(len(x), 1, 1, 1) * (torch.rand(len(x), 1, 1, 1) < 0.5) * 0.8
    contrast = 1 + 0.08 * torch.randn(len(x), 1, 1, 1)
    noise = 0.2 * torch.rand(len(x), 1, 1, 1) * (torch.rand_like(x) - 0.5)
    return torch.lerp(x, blurred, amount) * contrast + noise


def _targets(modality: Modality, examples: Sequence[Example]) -> dict[str, Tensor]:
    """Index of the right answer for each question; -1 where a spoilt one has none."""
    targets = {}
    for question, answers in QUESTIONS[modality].items():
        index = []
        for example in examples:
            if example.spoilt:
                index.append(answers.index(NONE) if question == "thing" else -1)
            else:
                index.append(answers.index(getattr(example.scene, question)))
        targets[question] = torch.tensor(index)
    return targets


@torch.inference_mode()
def measure(modality: Modality, net: nn.Module, pool: Pool[Example]) -> Measures:
    """Share of right answers on fresh renders for each question, of "none" on spoilt ones."""
    right: dict[str, list[bool]] = {}
    for start in range(0, len(pool), 100):
        renders, examples = pool.take(range(start, min(start + 100, len(pool))))
        answers = net(_input(modality, torch.from_numpy(renders)))
        for question, target in _targets(modality, examples).items():
            chosen = answers[question].argmax(1)
            for example, a, b in zip(examples, chosen.tolist(), target.tolist(), strict=True):
                if b >= 0:
                    right.setdefault(NONE if example.spoilt else question, []).append(a == b)
    return {question: sum(values) / len(values) for question, values in right.items()}
