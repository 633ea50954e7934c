"""The renders that mini's parts are trained on (the judge has its own), and those that check them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modaverse.context import Modality
from modaverse.toybox.pictures import (
    FOREIGN_TRAIN,
    foreign_picture,
    render_clip,
    render_picture,
    spoil_clip,
    spoil_picture,
)
from modaverse.toybox.recipes.pools import Pool, build_pool
from modaverse.toybox.recipes.registry import PoolReport
from modaverse.toybox.sounds import FOREIGN_TRAIN as FOREIGN_SOUNDS
from modaverse.toybox.sounds import foreign_sound, render_sound, spoil_sound
from modaverse.toybox.world import (
    ClipScene,
    Scene,
    SoundScene,
    random_clip_scene,
    random_scene,
    random_sound_scene,
)

AnyScene = Scene | ClipScene | SoundScene

COUNTS = {Modality.IMAGE: 40_000, Modality.VIDEO: 12_000, Modality.AUDIO: 12_000}
UNKNOWN_COUNTS = {Modality.IMAGE: 15_000, Modality.VIDEO: 4_000, Modality.AUDIO: 5_000}
CHECKS = 1_000
TRAIN_SEED, CHECK_SEED = 1001, 1002


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that Toybox does not have: foreign, or a render that was spoilt."""

    spoilt: AnyScene | None


Truth = AnyScene | Unknown


def known_pool(
    modality: Modality, runs: Path, report: PoolReport, *, held_out: bool = False
) -> Pool[AnyScene]:
    """Renders of the scenes of training, or (fewer) of those that are held out."""
    return build_pool(
        runs / "pools" / f"known-{modality}",
        CHECKS if held_out else COUNTS[modality],
        CHECK_SEED if held_out else TRAIN_SEED,
        lambda rng: _scene(modality, rng, held_out),
        render,
        report=report,
    )


def unknown_pool(modality: Modality, runs: Path, report: PoolReport, *, check: bool = False) -> Pool[Unknown]:
    """Spoilt renders and foreign media (of the kinds meant for training), half and half."""
    return build_pool(
        runs / "pools" / f"unknown-{modality}",
        CHECKS if check else UNKNOWN_COUNTS[modality],
        CHECK_SEED if check else TRAIN_SEED,
        lambda rng: Unknown(_scene(modality, rng, False) if rng.random() < 0.5 else None),
        lambda unknown, rng: _render_unknown(modality, unknown, rng),
        report=report,
    )


def _scene(modality: Modality, rng: random.Random, held_out: bool) -> AnyScene:
    match modality:
        case Modality.IMAGE:
            return random_scene(rng, held_out=held_out)
        case Modality.VIDEO:
            return random_clip_scene(rng, held_out=held_out)
        case Modality.AUDIO:
            return random_sound_scene(rng, held_out=held_out)


def training_scene(modality: Modality, index: int) -> AnyScene:
    """What render `index` of the pool of training shows."""
    return _scene(modality, random.Random(f"{TRAIN_SEED}:{index}"), False)


def training_render(modality: Modality, index: int) -> np.ndarray:
    """That render itself, made anew."""
    return render(training_scene(modality, index), np.random.default_rng([TRAIN_SEED, index]))


def render(scene: AnyScene, rng: np.random.Generator) -> np.ndarray:
    """uint8 (64, 64, 3) or (9, 64, 64, 3), or int16 (32000,)."""
    match scene:
        case Scene():
            return render_picture(scene, rng).array
        case ClipScene():
            return render_clip(scene, rng).array
        case SoundScene():
            return to_int16(render_sound(scene, rng).array)


def _render_unknown(modality: Modality, unknown: Unknown, rng: np.random.Generator) -> np.ndarray:
    match unknown.spoilt, modality:
        case Scene() as scene, _:
            return spoil_picture(scene, rng).array
        case ClipScene() as scene, _:
            return spoil_clip(scene, rng).array
        case SoundScene() as scene, _:
            return to_int16(spoil_sound(scene, rng).array)
        case _, Modality.IMAGE:
            return foreign_picture(rng, kinds=FOREIGN_TRAIN).array
        case _, Modality.VIDEO:
            return _foreign_clip(rng)
        case _:
            return to_int16(foreign_sound(rng, kinds=FOREIGN_SOUNDS).array)


def _foreign_clip(rng: np.random.Generator) -> np.ndarray:
    """A foreign picture that drifts: (9, 64, 64, 3)."""
    picture = foreign_picture(rng, kinds=FOREIGN_TRAIN).array
    step = rng.integers(-4, 5, size=2)
    return np.stack([np.roll(picture, tuple(step * frame), axis=(0, 1)) for frame in range(9)])


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """(samples, channels) float → (samples,) int16 of the first channel."""
    return np.round(waveform[:, 0].clip(-1, 1) * 32767).astype(np.int16)
