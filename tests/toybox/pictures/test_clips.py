"""Things in clips move as their scenes say, measured from where they truly are."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from modaverse.errors import DataError
from modaverse.toybox.pictures import render_clip, render_clip_pair, render_clip_with_truth
from modaverse.toybox.world import DIRECTIONS, SPEEDS, THINGS, ClipScene, random_clip_scene

CAR = ClipScene("car", "blue", "small", "beach", "right", "fast")


def test_a_clip_is_nine_frames_at_eight_a_second() -> None:
    clip = render_clip(CAR, 0)
    assert clip.array.shape == (9, 64, 64, 3)
    assert clip.array.dtype == np.uint8
    assert clip.fps == 8.0
    assert render_clip(CAR, 0, size=96).array.shape == (9, 96, 96, 3)


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others() -> None:
    first = render_clip(CAR, 7).array
    assert np.array_equal(first, render_clip(CAR, np.random.default_rng(7)).array)
    assert not np.array_equal(first, render_clip(CAR, 8).array)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("speed", SPEEDS)
def test_things_go_where_and_as_far_as_they_should(direction: str, speed: str) -> None:
    axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[direction]
    least, most = {"slow": (9.0, 15.5), "fast": (24.5, 35.5)}[speed]
    for k, thing in enumerate(THINGS):
        scene = ClipScene(thing, "red", ("small", "large")[k % 2], "day", direction, speed)
        _, truths = render_clip_with_truth(scene, k)
        centres = np.array([truth.centre for truth in truths])
        assert least <= sign * (centres[-1, axis] - centres[0, axis]) <= most, scene
        steps = sign * np.diff(centres[:, axis])
        assert steps.min() > 0, scene  # it never stops or turns
        assert np.ptp(centres[:, 1 - axis]) < 4, scene


def test_things_stay_mostly_in_view() -> None:
    rng = random.Random(0)
    for k in range(30):
        scene = random_clip_scene(rng, held_out=None)
        areas = [int(truth.mask.sum()) for truth in render_clip_with_truth(scene, k)[1]]
        assert min(areas) > 0.8 * max(areas), scene


def test_things_move_like_themselves() -> None:
    """Their shape or inside changes from frame to frame, beside being moved."""
    for thing in THINGS:
        scene = ClipScene(thing, "blue", "large", "day", "right", "fast")
        clip, truths = render_clip_with_truth(scene, 3)
        crops = []
        for frame, truth in zip(clip.array, truths, strict=True):
            x, y = (int(value) for value in truth.centre)
            crops.append(frame[y - 8 : y + 8, x - 8 : x + 8].astype(int))
        assert np.mean([np.abs(a - b).mean() for a, b in zip(crops, crops[3:], strict=False)]) > 1, thing


def test_most_things_look_where_they_go() -> None:
    """The red rear lamp of a car lies behind its middle, but for those that go backwards."""
    scene = ClipScene("car", "white", "large", "night", "right", "slow")
    forwards = 0
    for seed in range(30):
        clip, truths = render_clip_with_truth(scene, seed)
        frame = clip.array[4].astype(int)
        red = np.clip(frame[..., 0] - frame[..., 1:].max(axis=-1) - 40, 0, None) * truths[4].mask
        assert red.sum() > 0
        forwards += bool(red.sum(axis=0) @ (np.arange(64) + 0.5) / red.sum() < truths[4].centre[0])
    assert 20 <= forwards < 30


def test_a_pair_differs_only_where_it_should() -> None:
    before, after = render_clip_pair(CAR, replace(CAR, colour="yellow"), 5)
    seed = int(np.random.default_rng(5).integers(0, 2**62))
    _, truths = render_clip_with_truth(CAR, seed)
    for a, b, truth in zip(before.array, after.array, truths, strict=True):
        left, top, right, bottom = truth.box
        far = np.ones((64, 64), dtype=bool)
        far[max(top - 4, 0) : bottom + 4, max(left - 4, 0) : right + 4] = False
        assert np.array_equal(a[far], b[far])
        assert not np.array_equal(a, b)


@pytest.mark.parametrize("change", [{"direction": "north"}, {"speed": "warp"}])
def test_an_unknown_motion_is_an_error_that_names_it(change: dict[str, str]) -> None:
    with pytest.raises(DataError, match=next(iter(change.values()))):
        render_clip(replace(CAR, **change), 0)
