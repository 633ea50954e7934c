"""Spoilt pictures and clips do not show their scene."""

from __future__ import annotations

import numpy as np
import pytest

from modaverse.errors import DataError
from modaverse.toybox.pictures import SPOILT, spoil_clip, spoil_picture
from modaverse.toybox.pictures.clips import clip_layers
from modaverse.toybox.pictures.render import picture_layers
from modaverse.toybox.world import ClipScene, Scene

DRUM = Scene("drum", "green", "large", "night")
CLIP = ClipScene("drum", "green", "large", "night", "left", "fast")


def _sound(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture that was spoilt with a kind given and `seed`, and its thing's mask."""
    layers = picture_layers(DRUM, int(np.random.default_rng(seed).integers(0, 2**62)))
    return layers.compose().astype(int), layers.cover > 0.5


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_picture_is_far_from_the_sound_one(kind: str) -> None:
    for seed in range(8):
        spoilt = spoil_picture(DRUM, seed, kind=kind).array
        assert spoilt.shape == (64, 64, 3)
        assert spoilt.dtype == np.uint8
        sound, mask = _sound(seed)
        changed = np.abs(spoilt - sound).max(axis=2) > 12
        assert changed[mask].mean() > 0.3
        assert np.array_equal(spoilt, spoil_picture(DRUM, seed, kind=kind).array)


@pytest.mark.parametrize("kind", ["half", "chimera", "deformed", "blank"])
def test_the_backdrop_survives_where_only_the_thing_is_spoilt(kind: str) -> None:
    sound, _ = _sound(1)
    spoilt = spoil_picture(DRUM, 1, kind=kind).array
    assert np.array_equal(spoilt[:4], sound[:4].astype(np.uint8))


def test_less_than_half_of_a_half_drawn_thing_is_left() -> None:
    for seed in range(12):
        sound, mask = _sound(seed)
        spoilt = spoil_picture(DRUM, seed, kind="half").array
        kept = (np.abs(spoilt - sound).max(axis=2) <= 12)[mask].mean()
        assert 0.15 < kept < 0.55


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_clip_is_spoilt_in_every_frame(kind: str) -> None:
    spoilt = spoil_clip(CLIP, 4, kind=kind)
    assert spoilt.array.shape == (9, 64, 64, 3)
    assert spoilt.fps == 8.0
    layers = clip_layers(CLIP, int(np.random.default_rng(4).integers(0, 2**62)))
    for frame, sound in zip(spoilt.array, layers, strict=True):
        changed = np.abs(frame.astype(int) - sound.compose()).max(axis=2) > 12
        assert changed[sound.cover > 0.5].mean() > 0.3


def test_all_kinds_are_drawn() -> None:
    """Without a kind given every one of them comes up: the draw decides between as many looks."""
    rng = np.random.default_rng(0)
    blank = spoil_picture(DRUM, 0, kind="blank").array
    pictures = [spoil_picture(DRUM, rng).array for _ in range(60)]
    assert len({picture.tobytes() for picture in pictures}) == 60
    detail = [np.abs(np.diff(picture.astype(int), axis=1)).mean() for picture in pictures]
    calm = np.abs(np.diff(blank.astype(int), axis=1)).mean()
    assert min(detail) < calm  # blurred
    assert max(detail) > 10 * calm  # noise


def test_an_unknown_kind_is_an_error_that_names_it() -> None:
    with pytest.raises(DataError, match="coffee"):
        spoil_picture(DRUM, 0, kind="coffee")
    with pytest.raises(DataError, match="coffee"):
        spoil_clip(CLIP, 0, kind="coffee")
