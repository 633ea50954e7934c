"""Pairs of before and after: exact, of what changes alone, and never of a combination that is held out."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from modaverse.context import Modality
from modaverse.toybox.edits import WEIGHTS, Edit, edit_caption, held_out_edit, random_edit
from modaverse.toybox.evaluation.words import wish_of
from modaverse.toybox.pictures import render_picture, render_picture_with_truth
from modaverse.toybox.world import Scene, is_held_out, random_scene

CAT = Scene("cat", "red", "small", "beach")


def edits(count: int) -> list[Edit]:
    return [random_edit(random.Random(seed)) for seed in range(count)]


def test_neither_side_of_training_is_held_out() -> None:
    for edit in edits(1500):
        assert not is_held_out(edit.before)
        assert not is_held_out(edit.after)
        assert edit.before != edit.after


def test_the_scene_before_is_what_a_pool_of_renders_draws() -> None:
    for seed, edit in enumerate(edits(50)):
        assert edit.before == random_scene(random.Random(seed))


def test_mostly_one_attribute_changes_and_each_of_them_does() -> None:
    changed = [tuple(edit.changes) for edit in edits(2000)]
    single = Counter(names[0] for names in changed if len(names) == 1)
    assert 0.85 < sum(single.values()) / len(changed) < 0.95
    assert max(map(len, changed)) == 2
    for name, weight in WEIGHTS.items():
        share = weight / sum(WEIGHTS.values())
        assert single[name] / sum(single.values()) == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize("name", ["colour", "backdrop", "size"])
def test_what_is_measured_ends_in_a_held_out_scene(name: str) -> None:
    for seed in range(100):
        edit = held_out_edit(random.Random(seed), name)
        assert is_held_out(edit.after)
        assert list(edit.changes) == [name]


def test_captions_say_all_that_changes_and_nothing_else_than_the_scene_after() -> None:
    partial = 0
    for seed, edit in enumerate(edits(300)):
        wish = wish_of(edit_caption(edit, random.Random(seed)), Modality.IMAGE)
        assert wish is not None
        assert wish.fits(edit.after)
        assert edit.changes.items() <= wish.attributes.items()
        partial += len(wish.attributes) < 4
    assert 50 < partial < 250


def test_the_way_back() -> None:
    edit = Edit(CAT, replace(CAT, colour="blue"))
    assert edit.changes == {"colour": "blue"}
    assert edit.reversed() == Edit(edit.after, CAT)
    assert edit.reversed().changes == {"colour": "red"}


def test_of_a_colour_only_the_thing_changes_and_of_a_backdrop_only_the_rest() -> None:
    for seed, thing in enumerate(("cat", "rocket", "drum")):
        scene = replace(CAT, thing=thing, colour="green")
        picture, truth = render_picture_with_truth(scene, seed)
        near = np.asarray(truth.mask)
        for _ in range(3):  # the outline around the thing has its colour too
            near = (
                near | np.roll(near, 1, 0) | np.roll(near, -1, 0) | np.roll(near, 1, 1) | np.roll(near, -1, 1)
            )
        blue = render_picture(replace(scene, colour="blue"), seed).array
        night, other = render_picture_with_truth(replace(scene, backdrop="night"), seed)
        assert np.array_equal(picture.array[~near], blue[~near])
        assert (picture.array[truth.mask] != blue[truth.mask]).any(axis=-1).mean() > 0.3
        assert np.array_equal(truth.mask, other.mask)
        assert truth.centre == other.centre
        inner = truth.mask.copy()
        for axis in (0, 1):
            for step in (-1, 1, -2, 2):
                inner &= np.roll(truth.mask, step, axis)
        assert np.array_equal(picture.array[inner], night.array[inner])
