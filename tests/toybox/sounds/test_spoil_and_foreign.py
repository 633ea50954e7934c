from __future__ import annotations

import random

import numpy as np
import pytest

from modaverse.toybox.sounds import FOREIGN_HELD_OUT, FOREIGN_TRAIN, foreign_sound, render_sound, spoil_sound
from modaverse.toybox.sounds.foreign import FOREIGN
from modaverse.toybox.sounds.spoil import SPOILERS
from modaverse.toybox.world import SoundScene, random_sound_scene

SCENE = SoundScene("dog", "low", "fast")


@pytest.mark.parametrize("kind", SPOILERS)
def test_a_spoilt_sound_is_sound_and_depends_on_the_generator_alone(kind: str) -> None:
    first = spoil_sound(SCENE, np.random.default_rng(1), kind=kind)
    again = spoil_sound(SCENE, np.random.default_rng(1), kind=kind)
    assert first.array.shape == (32_000, 1)
    assert first.array.dtype == np.float32
    assert np.array_equal(first.array, again.array)
    assert np.isfinite(first.array).all()
    assert np.abs(first.array).max() < 0.91


def test_all_kinds_of_spoiling_are_drawn() -> None:
    rng, scenes = np.random.default_rng(3), random.Random(3)
    quiet = sum(
        float(np.abs(spoil_sound(random_sound_scene(scenes), rng).array).max()) < 0.01 for _ in range(90)
    )
    assert 2 <= quiet <= 25  # one kind of nine is (nearly) silent


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_sound_has_the_form_of_a_sound(kind: str) -> None:
    first = foreign_sound(np.random.default_rng(1), kinds=(kind,))
    again = foreign_sound(np.random.default_rng(1), kinds=(kind,))
    other = foreign_sound(np.random.default_rng(2), kinds=(kind,))
    assert first.array.shape == (32_000, 1)
    assert first.array.dtype == np.float32
    assert np.array_equal(first.array, again.array)
    assert not np.allclose(first.array, other.array, atol=1e-3)
    assert 0.49 < np.abs(first.array).max() < 0.91


def test_half_of_the_foreign_kinds_is_held_out() -> None:
    assert not set(FOREIGN_TRAIN) & set(FOREIGN_HELD_OUT)
    assert sorted((*FOREIGN_TRAIN, *FOREIGN_HELD_OUT)) == sorted(FOREIGN)
    assert len(FOREIGN) >= 8


def test_spoilt_and_foreign_sounds_are_told_from_things(ear) -> None:
    """A nearest neighbour among renders, spoilt and foreign sounds says whether a fresh one is a thing."""
    rng, scenes = np.random.default_rng(7), random.Random(7)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        rows = [ear.features(render_sound(random_sound_scene(scenes), rng).array[:, 0]) for _ in range(count)]
        for kind in SPOILERS:
            for _ in range(count // 8):
                spoilt = spoil_sound(random_sound_scene(scenes), rng, kind=kind).array[:, 0]
                rows.append(ear.features(spoilt))
        for kind in FOREIGN:
            for _ in range(count // 8):
                rows.append(ear.features(foreign_sound(rng, kinds=(kind,)).array[:, 0]))
        return np.stack(rows), np.arange(len(rows)) < count

    known, is_thing = draw(96)
    fresh, truth = draw(32)
    scale = known.std(axis=0) + 1e-3
    distance = (((fresh[:, None] - known) / scale) ** 2).sum(axis=2)
    guess = is_thing[distance.argmin(axis=1)]
    assert np.mean(guess == truth) >= 0.9
