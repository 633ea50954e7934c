"""Samples that were learnt by heart are counted, whether or not they went through a blur; others are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modaverse.context import Modality
from modaverse.interfaces import Decoded, Frames, Pixels, Waveform
from modaverse.toybox.evaluation.copying import (
    compare,
    copies,
    copying_row,
    nearest,
    renders_of,
    summarise,
    training_renders,
)
from modaverse.toybox.evaluation.row import Outcome
from modaverse.toybox.evaluation.specimens import fresh, make
from modaverse.toybox.judge import Judge
from modaverse.toybox.recipes import renders
from modaverse.toybox.wordings.wishes import AnyScene


@pytest.fixture(scope="module")
def judge() -> Judge:
    import torch

    from modaverse.toybox.judge import new_net

    torch.manual_seed(0)
    return Judge({modality: new_net(modality) for modality in Modality})


@pytest.fixture(scope="module", autouse=True)
def _few() -> Iterator[None]:
    """A small pool: the first renders of the real one."""
    with pytest.MonkeyPatch.context() as patch:
        for modality, count in ((Modality.IMAGE, 3000), (Modality.VIDEO, 400), (Modality.AUDIO, 600)):
            patch.setitem(renders.COUNTS, modality, count)
        renders_of.cache_clear()
        yield
    renders_of.cache_clear()


def scene_of(modality: Modality) -> AnyScene:
    """The scene of which most renders were learnt."""
    known = renders_of(modality)
    return max(known, key=lambda scene: (len(known[scene]), repr(scene)))


def blurred(picture: Decoded) -> Decoded:
    from PIL import Image, ImageFilter

    return Pixels(np.asarray(Image.fromarray(picture.array).filter(ImageFilter.BoxBlur(1))))


def outcome(judge: Judge, scene: AnyScene, samples: list[Decoded], modality: Modality) -> Outcome:
    known = [make(fresh(scene, 900 + i)) for i in range(12)]
    return Outcome("0", numbers=compare(judge, samples, known, training_renders(modality, scene)))


@pytest.mark.parametrize("modality", list(Modality))
def test_training_renders_are_copies_and_fresh_ones_are_not(judge: Judge, modality: Modality) -> None:
    scene = scene_of(modality)
    learnt = training_renders(modality, scene)[:3]
    new = [make(fresh(scene, i)) for i in range(12)]
    made = outcome(judge, scene, [*learnt, *new], modality)
    assert summarise([made], "copies").value == 3
    assert made.numbers["nearest"][: len(learnt)] == [0.0] * len(learnt)


def test_a_blurred_copy_is_still_one(judge: Judge) -> None:
    scene = scene_of(Modality.IMAGE)
    learnt = [blurred(picture) for picture in training_renders(Modality.IMAGE, scene)]
    assert summarise([outcome(judge, scene, learnt, Modality.IMAGE)], "copies").value == len(learnt)


def test_spread_tells_one_picture_from_many(judge: Judge) -> None:
    scene = scene_of(Modality.IMAGE)
    same = [make(fresh(scene, 1))] * 5
    many = [make(fresh(scene, i)) for i in range(20, 32)]
    assert summarise([outcome(judge, scene, same, Modality.IMAGE)], "spread").value == pytest.approx(
        0, abs=1e-3
    )
    assert 0.7 < summarise([outcome(judge, scene, many, Modality.IMAGE)], "spread").value < 1.4


def test_the_threshold_follows_fresh_renders() -> None:
    fresh_distances = [0.3 + 0.001 * i for i in range(200)]
    assert copies([0.1, 0.19, 0.21, 0.5], fresh_distances).value == 2
    assert copies([0.1], []).count == 0


def test_nearest_is_root_mean_square() -> None:
    black, grey = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 51, np.uint8)
    assert nearest([Pixels(black)], [Pixels(grey), Pixels(grey + 51)]) == [pytest.approx(0.4, abs=1e-3)]


def test_what_was_learnt_is_the_pool_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(renders.COUNTS, Modality.IMAGE, 4)
    pool = renders.known_pool(Modality.IMAGE, tmp_path, lambda done, count: None)
    for index, scene in enumerate(pool.truths):
        assert renders.training_scene(Modality.IMAGE, index) == scene
        assert (renders.training_render(Modality.IMAGE, index) == pool.take([index])[0][0]).all()


def test_media_of_training_are_what_generators_make() -> None:
    for modality, kind, shape in (
        (Modality.IMAGE, Pixels, (64, 64, 3)),
        (Modality.VIDEO, Frames, (9, 64, 64, 3)),
        (Modality.AUDIO, Waveform, (32_000, 1)),
    ):
        medium = training_renders(modality, scene_of(modality))[0]
        assert type(medium) is kind
        assert medium.array.shape == shape


def test_cases_are_scenes_that_were_learnt() -> None:
    row = copying_row(Modality.IMAGE)
    cases = row.cases(6, 0)
    assert [case.scene in renders_of(Modality.IMAGE) for case in cases] == [True] * 6
    assert row.cases(3, 0) == cases[:3]
    assert row.cases(6, 1) != cases
    assert len({seed for case in cases for seed in range(case.seed, case.seed + 10)}) == 60
