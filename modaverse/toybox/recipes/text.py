"""The recipe of the generators' text encoders: small transformers that learn to read Toybox's captions.

Each generator's pipeline has a text encoder of its own class. It learns to tell from the mean of its hidden
states what a caption says of every attribute, or that it says nothing, and is frozen afterwards: a generator
that starts with text it can read learns to draw instead of learning to read.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modaverse.context import Modality
from modaverse.toybox.recipes.trainer import Measures, Recipe, Schedule
from modaverse.toybox.wordings.captions import caption_of
from modaverse.toybox.wordings.wishes import ATTRIBUTES_OF, OPEN_THINGS, VALUES, Wish, partial_wish
from modaverse.toybox.world import (
    THINGS,
    ClipScene,
    Scene,
    SoundScene,
    random_clip_scene,
    random_scene,
    random_sound_scene,
)

UNSAID = "unsaid"
BATCH = 128

Encode = Callable[[nn.Module, Sequence[str]], tuple[Tensor, Tensor]]
"""(text encoder, captions) → hidden states (b, s, d) as the pipeline reads them, and their mask (b, s)."""


def questions(modality: Modality) -> Mapping[str, tuple[str, ...]]:
    """What a caption of this modality can say, with its possible answers."""
    answers = {name: (*VALUES[name], UNSAID) for name in ATTRIBUTES_OF[modality]}
    return {"thing": (*THINGS, *OPEN_THINGS), **answers}


class CaptionReader(nn.Module):
    """A text encoder, and the readouts that only training has."""

    def __init__(self, encoder: nn.Module, width: int, modality: Modality) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = encoder
        self.readouts = nn.ModuleDict({q: nn.Linear(width, len(a)) for q, a in questions(modality).items()})

    def forward(self, hidden: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """(b, s, d), (b, s) → logits (b, answers) for each question."""
        weights = mask[..., None].to(hidden.dtype)
        mean = (hidden * weights).sum(1) / weights.sum(1)
        return {question: readout(mean) for question, readout in self.readouts.items()}


def random_wish(modality: Modality, rng: random.Random, *, held_out: bool = False) -> Wish:
    scene: Scene | ClipScene | SoundScene
    match modality:
        case Modality.IMAGE:
            scene = random_scene(rng, held_out=held_out)
        case Modality.VIDEO:
            scene = random_clip_scene(rng, held_out=held_out)
        case Modality.AUDIO:
            scene = random_sound_scene(rng, held_out=held_out)
    return partial_wish(scene, rng, open_thing=0.06)


def text_encoder_recipe(
    modality: Modality, build: Callable[[], nn.Module], width: int, encode: Encode, steps: int = 800
) -> Recipe:
    """The recipe of one text encoder; `build` makes it, `encode` runs it as its pipeline does."""
    asked = questions(modality)

    def targets(wishes: Sequence[Wish]) -> dict[str, Tensor]:
        return {
            q: torch.tensor([answers.index(getattr(wish, q) or UNSAID) for wish in wishes])
            for q, answers in asked.items()
        }

    def batch(step: int) -> tuple[list[Wish], list[str]]:
        rng = random.Random(f"text:{modality}:{step}")
        wishes = [random_wish(modality, rng) for _ in range(BATCH)]
        return wishes, [caption_of(wish, rng) for wish in wishes]

    def loss(module: nn.Module, data: tuple[list[Wish], list[str]]) -> tuple[Tensor, Measures]:
        answers = module(*encode(_reader(module).encoder, data[1]))
        parts = {q: F.cross_entropy(answers[q].float(), goal) for q, goal in targets(data[0]).items()}
        return torch.stack(list(parts.values())).sum(), {q: value.item() for q, value in parts.items()}

    def evaluate(module: nn.Module) -> Measures:
        rng = random.Random(f"text-check:{modality}")
        wishes = [random_wish(modality, rng, held_out=True) for _ in range(500)]
        texts = [caption_of(wish, rng) for wish in wishes]
        answers = module(*encode(_reader(module).encoder, texts))
        goals = targets(wishes)
        return {q: (answers[q].argmax(1) == goal).float().mean().item() for q, goal in goals.items()}

    def export(module: nn.Module, folder: Path) -> None:
        _reader(module).encoder.save_pretrained(folder)  # type: ignore[operator]

    return Recipe(
        name=f"{modality}-text",
        schedule=Schedule(steps=steps, learning_rate=1e-3, warmup=100, weight_decay=0.01, ema=0.995),
        build=lambda: CaptionReader(build(), width, modality),
        batch=batch,
        loss=loss,
        evaluate=evaluate,
        export=export,
    )


def _reader(module: nn.Module) -> CaptionReader:
    if not isinstance(module, CaptionReader):
        raise TypeError(f"not a text encoder in training: {type(module)}")
    return module
