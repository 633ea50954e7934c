"""Rows of single parts, on real renders and with parts that err where the test says so."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from modaverse.context import Modality
from modaverse.errors import GenerationError
from modaverse.interfaces import CallSpec, Decoded
from modaverse.toybox.evaluation.alone import (
    agreement,
    alone_rows,
    encoder_row,
    generator_row,
    judge_row,
    measure_generator,
    random_scene_of,
)
from modaverse.toybox.evaluation.row import Row, share
from modaverse.toybox.evaluation.specimens import fresh, given, make
from modaverse.toybox.judge import Verdict
from modaverse.toybox.wordings.captions import plain_caption
from modaverse.toybox.wordings.wishes import Wish, wish_for
from modaverse.toybox.world import Scene, is_held_out

CAT = Scene("cat", "red", "small", "beach")


def test_agreement_is_attribute_by_attribute() -> None:
    seen = Verdict("cat", "blue", "small", "beach")
    assert agreement(wish_for(CAT), seen) == {
        "thing": True, "colour": False, "size": True, "backdrop": True,
    }  # fmt: skip
    assert agreement(Wish(Modality.IMAGE, "animal", colour="blue"), seen) == {"thing": True, "colour": True}
    assert agreement(Wish(Modality.IMAGE, "vehicle"), seen) == {"thing": False}
    assert agreement(Wish(Modality.IMAGE, "something"), Verdict("none")) == {"thing": False}


@pytest.mark.parametrize("modality", list(Modality))
def test_a_generator_is_judged_by_what_it_made(modality: Modality, parts) -> None:  # type: ignore[no-untyped-def]
    row = generator_row(modality)
    cases = row.cases(6, 0)
    scenes = [case.wishes[0] for case in cases]
    generator = parts.generator(modality)
    generator.wrong = tuple(plain_caption(wish) for wish in scenes[:2])
    outcomes = row.run(parts, cases)
    right = [plain_caption(wish) not in generator.wrong or wish.thing == "drum" for wish in scenes]
    assert [outcome.marks["thing"] for outcome in outcomes] == right
    assert not all(right)
    assert [request.prompt for request in generator.asked] == [plain_caption(wish) for wish in scenes]
    assert all((parts.media / outcome.facts["file"]).is_file() for outcome in outcomes)
    assert share(outcomes, "none").value == 0


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.AUDIO])
def test_the_judge_is_asked_about_fresh_and_spoilt_ones(modality: Modality, parts) -> None:  # type: ignore[no-untyped-def]
    row = judge_row(modality)
    cases = row.cases(6, 0)
    shown = [given(case.parts)[0] for case in cases]
    for specimen in shown[:2]:  # the judge knows a fresh one, and takes a spoilt one for a thing
        parts.judge.know(
            make(specimen), specimen.scene or random_scene_of(modality, random.Random(0), held_out=None)
        )
    outcomes = row.run(parts, cases)
    assert [sorted(outcome.marks) == ["none"] for outcome in outcomes] == [False, True] * 3
    assert share(outcomes, "thing").value == pytest.approx(1 / 3)
    assert share(outcomes, "none").value == pytest.approx(2 / 3)


def test_cases_are_held_out_and_stay_the_same_when_there_are_more() -> None:
    for row in alone_rows():
        few, many = row.cases(4, 0), row.cases(8, 0)
        assert many[:4] == few, row.name
        assert row.cases(4, 1) != few, row.name
        assert len({case.id for case in many}) == 8
        assert row.count >= (500 if row.name.startswith("judge") else 200)
    for modality in Modality:
        cases = generator_row(modality).cases(20, 0)
        for wish in (case.wishes[0] for case in cases):
            from modaverse.toybox.wordings.wishes import complete

            assert is_held_out(complete(wish, random.Random(0), held_out=None))


def test_bars_are_those_of_the_specification() -> None:
    def bars(row: Row) -> dict[str, float | None]:
        return {bar.measure: bar.at_least for bar in row.bars if bar.at_least is not None}

    assert bars(generator_row(Modality.IMAGE)) == {"thing": 0.95, "colour": 0.95, "backdrop": 0.95}
    assert bars(generator_row(Modality.VIDEO)) == {"thing": 0.9, "colour": 0.9, "direction": 0.9}
    assert bars(generator_row(Modality.AUDIO)) == {"thing": 0.9, "pitch": 0.9, "pace": 0.9}
    assert bars(judge_row(Modality.AUDIO)) == {"thing": 0.99, "pitch": 0.99, "pace": 0.99, "none": 0.95}


def test_measure_generator_with_a_function_and_with_a_generator(parts) -> None:  # type: ignore[no-untyped-def]
    judge = parts.judge
    wishes = [wish_for(CAT), wish_for(Scene("dog", "blue", "large", "night"))]
    asked: list[tuple[str, int]] = []

    def always_the_cat(captions: Sequence[str], seeds: Sequence[int]) -> list[Decoded]:
        asked.extend(zip(captions, seeds, strict=True))
        made = [make(fresh(CAT, seed)) for seed in seeds]
        for decoded in made:
            judge.know(decoded, CAT)
        return made

    measured = measure_generator(always_the_cat, Modality.IMAGE, judge, wishes=wishes, seed=5)
    assert asked == [("a small red cat on a beach", 5), ("a large blue dog at night", 6)]
    assert measured == {"thing": 0.5, "colour": 0.5, "size": 0.5, "backdrop": 0.5, "all": 0.5, "none": 0.0}
    measured = measure_generator(parts.generator(Modality.IMAGE), Modality.IMAGE, judge, n=5)
    assert measured["all"] == 1.0
    assert measured["none"] == 0.0


def test_measure_generator_with_a_pipeline_in_memory(parts) -> None:  # type: ignore[no-untyped-def]
    from modaverse.toybox.recipes.image_parts import (
        assemble_image_pipeline,
        build_image_autoencoder,
        build_image_text_encoder,
        build_image_transformer,
    )
    from modaverse.toybox.tokenizer import load_tokenizer

    torch.manual_seed(0)
    tokenizer = load_tokenizer()
    pipeline = assemble_image_pipeline(
        build_image_autoencoder(), build_image_transformer(), build_image_text_encoder(tokenizer), tokenizer
    )
    measured = measure_generator(pipeline, Modality.IMAGE, parts.judge, wishes=[wish_for(CAT)])
    assert measured["none"] == 1.0  # networks that have learnt nothing make noise


def test_a_generator_that_fails_is_an_error_here(parts) -> None:  # type: ignore[no-untyped-def]
    class Broken:
        spec = CallSpec("T-to-I", Modality.IMAGE)

        def load(self) -> None:
            pass

        def generate(self, *_: object, **__: object) -> Decoded:
            raise GenerationError("out of paint")

    with pytest.raises(GenerationError, match="out of paint"):
        measure_generator(Broken(), Modality.IMAGE, parts.judge, n=1)  # type: ignore[arg-type]


def test_the_encoder_row_takes_the_nearest_caption(parts, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """An encoder that gives each thing an axis, and each colour one, but takes dogs for cats."""
    from modaverse.toybox.evaluation import alone
    from modaverse.toybox.evaluation.words import wish_of
    from modaverse.toybox.world import COLOURS, THINGS

    def axes(thing: str, colour: str | None) -> torch.Tensor:
        vector = torch.zeros(len(THINGS) + len(COLOURS))
        if thing in THINGS:
            vector[THINGS.index("cat" if thing == "dog" else thing)] = 1
        if colour:
            vector[len(THINGS) + COLOURS.index(colour)] = 1
        return vector

    row = encoder_row(Modality.IMAGE)
    cases = row.cases(12, 0)
    scenes = {specimen.scene for case in cases for specimen in given(case.parts)}
    truth = [case.scene for case in cases]

    class Axes:
        def encode_decoded(self, media: Sequence[Decoded]) -> torch.Tensor:
            return torch.stack([axes(scene.thing, scene.colour) for scene in truth])  # type: ignore[union-attr]

    def embed_text(_: object, texts: Sequence[str]) -> torch.Tensor:
        wishes = [wish_of(text, Modality.IMAGE) for text in texts]
        known = [axes(wish.thing, wish.colour) for wish in wishes if wish is not None]
        return torch.nn.functional.normalize(torch.stack(known), dim=-1)

    monkeypatch.setattr(alone, "_embed_text", embed_text)
    parts.encoder = Axes()
    outcomes = row.run(parts, cases)
    assert scenes == set(truth)
    assert all(outcome.marks["colour"] for outcome in outcomes)
    assert [outcome.marks["thing"] for outcome in outcomes] == [scene.thing != "dog" for scene in truth]  # type: ignore[union-attr]
