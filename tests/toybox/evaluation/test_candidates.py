"""Best of four against one: pairs that share their first picture, chosen as answers choose."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from modaverse.context import Media, Modality
from modaverse.media import decode
from modaverse.ordering import candidate_seed
from modaverse.toybox.evaluation.candidates import COUNT, candidates_row, summarise
from modaverse.toybox.evaluation.row import Outcome
from modaverse.toybox.evaluation.specimens import fresh, make
from modaverse.toybox.evaluation.words import wish_of
from modaverse.toybox.wordings.wishes import complete
from modaverse.toybox.world import is_held_out

ROW = candidates_row()


class Sometimes:
    """A generator that draws a drum instead, but for the seeds that it is told."""

    def __init__(self, judge, right: set[int]) -> None:  # type: ignore[no-untyped-def]
        self.judge, self.right = judge, right
        self.seeds: list[int] = []

    def __call__(self, captions: Sequence[str], seeds: Sequence[int]) -> list[object]:
        made = []
        for caption, seed in zip(captions, seeds, strict=True):
            self.seeds.append(seed)
            wish = wish_of(caption if seed in self.right else "a purple drum", Modality.IMAGE)
            assert wish is not None
            scene = complete(wish, random.Random(seed), held_out=None)
            made.append(make(fresh(scene, seed)))
            self.judge.know(made[-1], scene)
        return made


class Knowing:
    """An encoder whose embeddings agree where the judge sees no drum; a tie goes to the first."""

    def __init__(self, judge) -> None:  # type: ignore[no-untyped-def]
        self.judge = judge

    def encode(self, media: Sequence[Media]) -> torch.Tensor:
        drums = [float(verdict.thing == "drum") for verdict in self.judge([decode(m) for m in media])]
        return torch.tensor([[1.0, drum] for drum in drums])

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0]] * len(texts))


def test_the_nearest_of_four_is_kept_and_the_first_is_what_one_gives(
    parts, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    from modaverse.toybox.evaluation import candidates

    cases = [case for case in ROW.cases(30, 0) if case.wishes[0].thing != "drum"][:3]
    first, second, _ = cases
    right = {candidate_seed(first.seed, 0), candidate_seed(second.seed, 2)}  # of the last one, none
    generator = Sometimes(parts.judge, right)
    monkeypatch.setattr(candidates, "sampler", lambda *_: generator)
    parts.encoder = Knowing(parts.judge)
    outcomes = ROW.run(parts, cases)
    assert generator.seeds == [candidate_seed(case.seed, place) for case in cases for place in range(COUNT)]
    assert generator.seeds[::COUNT] == [case.seed for case in cases]
    assert [outcome.marks["one"] for outcome in outcomes] == [True, False, False]
    assert [outcome.marks["best"] for outcome in outcomes] == [True, True, False]
    assert [outcome.marks["any"] for outcome in outcomes] == [True, True, False]
    assert summarise(outcomes, "ratio").value == pytest.approx(1 / 2)
    assert [len(outcome.facts["files"]) for outcome in outcomes] == [COUNT] * 3


def test_the_ratio_is_over_pairs() -> None:
    outcomes = [Outcome(str(i), {"one": i % 4 != 0, "best": i % 10 != 0, "any": True}) for i in range(400)]
    ratio = summarise(outcomes, "ratio")
    assert ratio.value == pytest.approx(40 / 100)
    assert ratio.low < 0.4 < ratio.high
    assert ratio.count == 400
    assert summarise(outcomes, "one").value == 0.75


def test_cases_are_as_many_as_the_specification_wants_and_every_second_is_held_out() -> None:
    assert ROW.count >= 1000
    assert {bar.measure: bar.at_most for bar in ROW.bars if bar.at_most} == {"ratio": 2 / 3}
    cases = ROW.cases(40, 0)
    assert ROW.cases(10, 0) == cases[:10]
    scenes = [complete(case.wishes[0], random.Random(0), held_out=None) for case in cases]
    assert [is_held_out(scene) for scene in scenes] == [False, True] * 20
    assert ROW.chunk * COUNT == 32
