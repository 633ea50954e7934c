"""Pictures are what their scenes say, measured from where their things truly are."""

from __future__ import annotations

import colorsys
import random
from dataclasses import replace

import numpy as np
import pytest

from modaverse.errors import DataError
from modaverse.toybox.pictures import render_pair, render_picture, render_picture_with_truth
from modaverse.toybox.pictures.colours import paint
from modaverse.toybox.world import BACKDROPS, COLOURS, SIZES, THINGS, Scene, random_scene

CAT = Scene("cat", "red", "large", "day")


def _scenes(count: int, seed: int) -> list[Scene]:
    rng = random.Random(seed)
    return [random_scene(rng, held_out=None) for _ in range(count)]


def _hsv(pixels: np.ndarray) -> np.ndarray:
    return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in (pixels / 255.0).tolist()])


def _name(pixels: np.ndarray) -> np.ndarray:
    """The nearest of the eight colours to each pixel, by hue where there is one; -1 for none: (n,)."""
    h, s, v = _hsv(pixels).T
    h = 360 * h
    name = np.full(len(h), -1)
    coloured = (s > 0.35) & (v > 0.25)
    hues = {"red": 356, "orange": 27, "yellow": 50, "green": 133, "blue": 217, "purple": 279}
    distance = np.stack([np.abs((h - hue + 180) % 360 - 180) for hue in hues.values()])
    nearest = np.array([COLOURS.index(colour) for colour in hues])[distance.argmin(axis=0)]
    name[coloured] = nearest[coloured]
    dim = coloured & (name == COLOURS.index("orange")) & (v < 0.68)
    name[dim] = COLOURS.index("brown")
    name[(s < 0.2) & (v > 0.6)] = COLOURS.index("white")
    return name


@pytest.mark.parametrize("size", [32, 64, 160, 256])
def test_a_picture_has_the_size_asked_for(size: int) -> None:
    pixels, truth = render_picture_with_truth(CAT, 0, size=size)
    assert pixels.array.shape == (size, size, 3)
    assert pixels.array.dtype == np.uint8
    assert truth.mask.shape == (size, size)


def test_a_larger_picture_shows_the_same() -> None:
    small, large = (render_picture(CAT, 5, size=size).array.astype(float) for size in (64, 256))
    shrunk = large.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - shrunk).mean() < 4


def test_the_same_seed_gives_the_same_bytes() -> None:
    for k, scene in enumerate(_scenes(10, 1)):
        first = render_picture(scene, np.random.default_rng(k)).array
        assert np.array_equal(first, render_picture(scene, np.random.default_rng(k)).array)
        assert np.array_equal(first, render_picture(scene, k).array)


def test_no_two_seeds_give_the_same_picture() -> None:
    rng = np.random.default_rng(0)
    pictures = [render_picture(CAT, rng).array.astype(int) for _ in range(12)]
    for k, one in enumerate(pictures):
        for other in pictures[k + 1 :]:
            assert np.abs(one - other).mean() > 2


def test_nothing_global_decides_a_picture() -> None:
    before = render_picture(CAT, 3).array
    np.random.seed(1)
    random.seed(1)
    render_picture(Scene("boat", "blue", "small", "snow"), 4)
    assert np.array_equal(before, render_picture(CAT, 3).array)


@pytest.mark.parametrize("thing", THINGS)
def test_a_thing_is_of_its_colour(thing: str) -> None:
    """More of a thing has its colour than any other."""
    for k, colour in enumerate(COLOURS):
        for seed in range(2):
            scene = Scene(thing, colour, "large", BACKDROPS[(k + seed) % 5])
            pixels, truth = render_picture_with_truth(scene, 100 * k + seed)
            names = _name(pixels.array[truth.mask])
            counts = np.bincount(names[names >= 0], minlength=len(COLOURS))
            assert COLOURS[counts.argmax()] == colour, (scene, counts)


def test_shades_stay_clear_of_other_colours() -> None:
    rng = np.random.default_rng(0)
    for colour in COLOURS:
        mains = np.array([paint(colour, rng).main for _ in range(150)])
        assert {COLOURS[k] for k in _name(mains)} == {colour}
        assert len(np.unique(mains, axis=0)) > 15


def test_small_and_large_are_apart() -> None:
    reach: dict[str, list[int]] = {size: [] for size in SIZES}
    for k, scene in enumerate(_scenes(150, 2)):
        left, top, right, bottom = render_picture_with_truth(scene, k)[1].box
        reach[scene.size].append(max(right - left, bottom - top))
    assert min(reach["small"]) >= 20
    assert max(reach["small"]) <= 30
    assert min(reach["large"]) >= 36
    assert max(reach["large"]) <= 50


def test_a_thing_is_in_view_and_where_the_truth_says() -> None:
    for k, scene in enumerate(_scenes(80, 3)):
        truth = render_picture_with_truth(scene, k)[1]
        left, top, right, bottom = truth.box
        assert left > 0
        assert top > 0
        assert right < 64
        assert bottom < 64
        rows, columns = np.nonzero(truth.mask)
        assert truth.centre == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5), abs=0.5)
        assert (left, right) == (columns.min(), columns.max() + 1)
        assert (top, bottom) == (rows.min(), rows.max() + 1)


def test_a_thing_stands_out_from_its_backdrop() -> None:
    """Also green on a meadow and white in snow: the rim is darker than what lies around it."""
    for colour, backdrop in (("green", "meadow"), ("white", "snow"), ("yellow", "beach")):
        pixels, truth = render_picture_with_truth(Scene("frog", colour, "large", backdrop), 8)
        grey = pixels.array.mean(axis=2)
        grown = truth.mask.copy()
        for axis in (0, 1):
            for step in (-1, 1):
                grown |= np.roll(truth.mask, step, axis=axis)
        rim = grown & ~truth.mask
        assert grey[rim].mean() < grey[truth.mask].mean() - 30


def test_a_pair_of_colours_differs_in_the_thing_alone() -> None:
    for k, scene in enumerate(_scenes(20, 4)):
        after = replace(scene, colour=COLOURS[(COLOURS.index(scene.colour) + 3) % 8])
        a, b = render_pair(scene, after, k)
        seed = int(np.random.default_rng(k).integers(0, 2**62))
        masks = [render_picture_with_truth(s, seed)[1].mask for s in (scene, after)]
        assert np.array_equal(*masks)
        left, top, right, bottom = render_picture_with_truth(scene, seed)[1].box
        far = np.ones((64, 64), dtype=bool)
        far[max(top - 4, 0) : bottom + 4, max(left - 4, 0) : right + 4] = False
        assert np.array_equal(a.array[far], b.array[far])
        assert np.abs(a.array[masks[0]].astype(int) - b.array[masks[0]]).mean() > 15


def test_a_pair_of_backdrops_keeps_the_thing() -> None:
    for k, scene in enumerate(_scenes(20, 5)):
        after = replace(scene, backdrop=BACKDROPS[(BACKDROPS.index(scene.backdrop) + 2) % 5])
        a, b = render_pair(scene, after, k)
        seed = int(np.random.default_rng(k).integers(0, 2**62))
        mask = render_picture_with_truth(scene, seed)[1].mask
        inner = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
        difference = np.abs(a.array.astype(int) - b.array)
        # Thin gaps inside of a thing, between its legs, show the backdrop.
        assert np.median(difference[inner]) == 0
        assert difference[inner].mean() < 2
        assert difference[~mask].mean() > 10


def test_a_pair_of_sizes_keeps_the_backdrop() -> None:
    small, large = render_pair(replace(CAT, size="small"), CAT, 9)
    assert np.array_equal(small.array[:8, :8], large.array[:8, :8])
    assert not np.array_equal(small.array, large.array)


@pytest.mark.parametrize(
    ("attribute", "named"),
    [("thing", "tree"), ("colour", "pink"), ("size", "huge"), ("backdrop", "city")],
)
def test_what_toybox_does_not_have_is_an_error_that_names_it(attribute: str, named: str) -> None:
    with pytest.raises(DataError, match=named) as caught:
        render_picture(replace(CAT, **{attribute: named}), 0)
    assert caught.value.hint


@pytest.mark.parametrize("size", [0, 15, 257])
def test_sizes_are_bounded(size: int) -> None:
    with pytest.raises(DataError, match=str(size)):
        render_picture(CAT, 0, size=size)
