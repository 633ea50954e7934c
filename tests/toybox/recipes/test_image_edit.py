"""What the picture generator learns editing from: exact pairs in both directions, beside words alone."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from modaverse.context import Modality
from modaverse.toybox.evaluation.words import wish_of
from modaverse.toybox.recipes import image_edit, renders
from modaverse.toybox.recipes.image_edit import HALF, STRENGTHS, Pairs, edited_pool
from modaverse.toybox.world import is_held_out


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Latents that say where they belong: picture i before is all i, picture i after is 1000 + i."""
    known = [renders.training_scene(Modality.IMAGE, index) for index in range(60)]
    edited = [image_edit.random_edit(random.Random(f"{renders.TRAIN_SEED}:{i}")) for i in range(40)]
    numbers = np.arange(60, dtype=np.float16)[:, None, None, None] * np.ones((1, 8, 16, 16), np.float16)
    return Pairs(known, numbers, edited, 1000 + numbers[:40])


def number(latents: torch.Tensor) -> list[int]:
    return [int(value) for value in latents[:, 0, 0, 0]]


def test_an_edit_is_a_render_of_training_with_another_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(renders.COUNTS, Modality.IMAGE, 12)
    monkeypatch.setattr(image_edit, "PAIRS", 10)
    pool = edited_pool(tmp_path, lambda done, count: None)
    assert len(pool) == 10
    for index, edit in enumerate(pool.truths):
        assert edit.before == renders.training_scene(Modality.IMAGE, index)
        assert not is_held_out(edit.after)
        render = pool.take([index])[0][0]
        again = renders.render(edit.after, np.random.default_rng([renders.TRAIN_SEED, index]))
        assert np.array_equal(render, again)
        before = renders.training_render(Modality.IMAGE, index)
        same = (render == before).all(axis=-1).mean()
        assert same < 1
        if edit.changes.keys() == {"colour"}:
            assert same > 0.4  # where the thing is not


def test_half_of_a_batch_is_drawn_from_words_and_half_is_edited(pairs: Pairs) -> None:
    batch = pairs.batch(3)
    assert len(batch.captions) == len(batch.latents) == 2 * HALF
    assert (batch.starts.strengths[:HALF] == 1).all()
    strengths = batch.starts.strengths[HALF:]
    assert STRENGTHS[0] <= strengths.min() < strengths.max() <= STRENGTHS[1]
    for place, caption in enumerate(batch.captions[:HALF]):
        scene = pairs.known[number(batch.latents)[place]]
        wish = wish_of(caption, Modality.IMAGE) if caption else None
        assert wish is None or wish.fits(scene)
    directions = set()
    begins, ends = number(batch.starts.latents[HALF:]), number(batch.latents[HALF:])
    for caption, begin, end in zip(batch.captions[HALF:], begins, ends, strict=True):
        assert abs(begin - end) == 1000
        edit = pairs.edited[min(begin, end)]
        edit = edit if end > begin else edit.reversed()
        directions.add(end > begin)
        wish = wish_of(caption, Modality.IMAGE)
        assert wish is not None
        assert wish.fits(edit.after)
        assert not wish.fits(edit.before)
    assert directions == {True, False}


def test_a_batch_is_decided_by_its_step(pairs: Pairs) -> None:
    one, same, other = pairs.batch(5), pairs.batch(5), pairs.batch(6)
    assert one.captions == same.captions != other.captions
    assert torch.equal(one.latents, same.latents)
    assert torch.equal(one.starts.strengths, same.starts.strengths)
    assert not torch.equal(one.starts.strengths, other.starts.strengths)


def test_what_is_left_is_nothing_for_the_picture_after_and_all_for_the_one_before(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Editor:
        """Gives what it is told to."""

        answer = torch.zeros(0)

        def __init__(self, **components: object) -> None: ...

        def set_progress_bar_config(self, *, disable: bool) -> None: ...

        def __call__(self, captions: list[str], **arguments: object) -> object:
            self.images = self.answer
            return self

    class Whole:
        components: dict[str, object] = {}  # noqa: RUF012

    monkeypatch.setattr(image_edit, "ZImageImg2ImgPipeline", Editor)
    pictures = np.zeros((3, 64, 64, 3), np.uint8)
    for share in (0.0, 0.5, 1.0):
        before, after = (torch.from_numpy(side[[4, 5, 6]]).float() for side in (pairs.before, pairs.after))
        Editor.answer = after + share * (before - after)
        left = image_edit.what_is_left(Whole(), pairs, pictures, [4, 5, 6])  # type: ignore[arg-type]
        assert left == pytest.approx(share**2)
