"""A thing is found where it truly is: moved, blurred, recoloured, before another backdrop, in other poses."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from modaverse.interfaces import Pixels
from modaverse.toybox.evaluation.places import find_thing
from modaverse.toybox.pictures.render import Layers, picture_layers, truth_of
from modaverse.toybox.world import BACKDROPS, COLOURS, THINGS, Scene

SCENES = [
    Scene(thing, COLOURS[i % 8], "small" if i % 3 else "large", BACKDROPS[i % 5])
    for i, thing in enumerate(THINGS)
]


def miss(picture: np.ndarray, expected: Layers, centre: tuple[float, float]) -> float:
    return math.dist(find_thing(Pixels(picture), expected), centre)


def test_it_is_where_it_was_drawn_whatever_colour_and_backdrop() -> None:
    rng = random.Random(0)
    misses = []
    for seed, scene in enumerate(SCENES):
        expected = picture_layers(scene, seed)
        colour, backdrop = rng.choice(COLOURS), rng.choice(BACKDROPS)
        for other in (scene, replace(scene, colour=colour), replace(scene, backdrop=backdrop)):
            picture = picture_layers(other, seed).compose()
            misses.append(miss(picture, expected, truth_of(expected).centre))
    assert np.mean(misses) < 0.5
    assert np.median(misses) == pytest.approx(0, abs=1e-9)


def test_it_is_followed_where_it_was_moved() -> None:
    misses = []
    for seed, scene in enumerate(SCENES):
        expected = picture_layers(scene, seed)
        truth = truth_of(expected)
        across = 3 if truth.box[2] < 60 else -3
        moved = np.roll(expected.compose(), (-1, across), axis=(0, 1))
        misses.append(miss(moved, expected, (truth.centre[0] + across, truth.centre[1] - 1)))
    assert np.mean(misses) < 0.5


def test_a_blur_hardly_matters_and_another_pose_not_much() -> None:
    blurred, posed = [], []
    for seed, scene in enumerate(SCENES):
        expected = picture_layers(scene, seed)
        soft = Image.fromarray(expected.compose()).filter(ImageFilter.GaussianBlur(2))
        blurred.append(miss(np.asarray(soft), expected, truth_of(expected).centre))
        other = picture_layers(scene, 1000 + seed)
        posed.append(miss(other.compose(), expected, truth_of(other).centre))
    assert np.mean(blurred) < 0.7
    assert np.mean(posed) < 3  # and far from it where nothing is found: centres are 20 apart and more


def test_no_place_is_preferred() -> None:
    """Without the thing the answer is anywhere, and not where it was expected."""
    expected = picture_layers(SCENES[0], 1)
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    misses = [miss(picture, expected, truth_of(expected).centre) for picture in noise]
    assert np.mean(misses) > 6
