"""Cases are what the table says they are, and never what training saw."""

from __future__ import annotations

import random

import pytest

from modaverse.context import Modality
from modaverse.toybox.evaluation.dialogues import dialogue_rows
from modaverse.toybox.evaluation.requests import draw
from modaverse.toybox.evaluation.row import Case, Row
from modaverse.toybox.evaluation.specimens import FIRST_SEED, Specimen, given
from modaverse.toybox.rows import INTENTS
from modaverse.toybox.rows.chat import requests as wordings
from modaverse.toybox.uris import modality_of
from modaverse.toybox.wordings.wishes import OPEN_THINGS
from modaverse.toybox.world import is_held_out

ROWS = {row.name: row for row in dialogue_rows()}
FEW = 12


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Case]]:
    return {name: row.cases(FEW, 0) for name, row in ROWS.items()}


def test_every_row_of_the_table_is_there() -> None:
    assert list(ROWS) == [
        "calls", "calls-base",
        "text-image", "text-video", "text-audio",
        "audio-image", "image-audio", "image-video", "video-audio", "audio-video", "edit",
        "image-text", "video-text", "audio-text",
        "tell", "splice", "splice-none",
        "outside-words", "outside-media", "social",
    ]  # fmt: skip


def test_rows_are_large_enough() -> None:
    """At least 200 requests where mini makes media, 500 where it makes none, 100 media of another world."""
    for row in ROWS.values():
        makes = bool(set(row.needs) & set(Modality))
        assert row.count >= (200 if makes or row.name == "outside-media" else 500), row.name


def bars(row: Row) -> dict[str, tuple[float | None, float | None]]:
    return {bar.measure: (bar.at_least, bar.at_most) for bar in row.bars if bar.at_least or bar.at_most}


def test_bars_are_those_of_the_specification() -> None:
    assert bars(ROWS["calls"]) == {"called": (0.98, None), "refused": (None, 0.02)}
    assert bars(ROWS["calls-base"]) == {"called": (None, 0.10)}
    assert bars(ROWS["text-image"]) == dict.fromkeys(("thing", "colour", "backdrop"), (0.95, None))
    assert bars(ROWS["text-video"]) == dict.fromkeys(("thing", "colour", "direction"), (0.90, None))
    assert bars(ROWS["text-audio"]) == dict.fromkeys(("thing", "pitch", "pace"), (0.90, None))
    for pair in ("audio-image", "image-audio", "image-video", "video-audio", "audio-video"):
        assert bars(ROWS[pair]) == {"thing": (0.90, None)}
    assert bars(ROWS["edit"]) == dict.fromkeys(("thing", "changed"), (0.90, None))
    for kind in ("image", "video"):
        assert bars(ROWS[f"{kind}-text"]) == dict.fromkeys(("thing", "colour"), (0.95, None))
    assert bars(ROWS["audio-text"]) == {"thing": (0.95, None)}
    assert bars(ROWS["tell"]) == bars(ROWS["splice"]) == {"words": (0.90, None)}
    assert bars(ROWS["splice-none"]) == {"words": (None, 0.40)}
    assert bars(ROWS["outside-words"]) == {"honest": (0.95, None)}
    assert bars(ROWS["outside-media"]) == {"honest": (0.90, None)}
    assert bars(ROWS["social"]) == {"quiet": (0.95, None)}


def test_cases_are_the_same_again_and_others_for_another_seed(cases: dict[str, list[Case]]) -> None:
    for name, row in ROWS.items():
        assert row.cases(FEW, 0) == cases[name]
        assert row.cases(FEW // 2, 0) == cases[name][: FEW // 2]
        assert row.cases(FEW, 1) != cases[name]
        assert len({case.id for case in cases[name]}) == FEW


def test_no_medium_is_one_that_training_saw(cases: dict[str, list[Case]]) -> None:
    shown = [specimen for some in cases.values() for case in some for specimen in given(case.parts)]
    shown += [case.spliced for case in cases["splice"] if case.spliced is not None]
    assert len(shown) > 100
    for specimen in shown:
        assert int(specimen.uri.rpartition("seed=")[2]) >= FIRST_SEED
        assert "unknown=foreign" not in specimen.uri
    scenes = [specimen.scene for specimen in shown if specimen.scene is not None]
    held_out = sum(is_held_out(scene) for scene in scenes) / len(scenes)
    assert 0.3 < held_out < 0.7


def test_wordings_are_held_out() -> None:
    """What evaluation asks, training's grammar cannot say: every request has a structure of its own."""
    grammar = wordings()
    heard = {
        grammar.say(f"social.{topic}", random.Random(i), split="train").lower().strip(" .!?")
        for topic in ("greeting", "thanks", "bye")
        for i in range(600)
    }
    asked = [
        " ".join(part for part in draw({"social": 1.0}, 0, number).parts if isinstance(part, str))
        for number in range(60)
    ]
    known = [text for text in asked if text.lower().strip(" .!?") in heard]
    assert known == []


def test_what_is_asked_of_media(cases: dict[str, list[Case]]) -> None:
    for source, target in (("audio", "image"), ("video", "audio"), ("image", "video")):
        for case in cases[f"{source}-{target}"]:
            assert [specimen.modality for specimen in given(case.parts)] == [source]
            assert case.wishes[0].modality == target
            assert case.scene is not None
            assert case.wishes[0].thing == case.scene.thing
    for modality in Modality:
        for case in cases[f"{modality}-text"]:
            assert [specimen.scene for specimen in given(case.parts)] == [case.scene]
            assert case.wishes == ()
            assert set(case.asks) <= ({"thing"} if modality == "audio" else {"thing", "colour"})
            assert case.asks


def test_requests_in_words_say_all_that_is_judged(cases: dict[str, list[Case]]) -> None:
    for modality, names in (("image", ("colour", "backdrop")), ("video", ("colour", "direction"))):
        for case in cases[f"text-{modality}"]:
            assert given(case.parts) == []
            assert all(getattr(case.wishes[0], name) for name in names)


def test_the_splice_is_another_thing_and_colour(cases: dict[str, list[Case]]) -> None:
    named = left_open = 0
    for case in cases["splice"]:
        assert case.spliced is not None
        scene, wish = case.spliced.scene, case.wishes[0]
        assert scene is not None
        assert case.scene == scene
        if wish.thing in OPEN_THINGS:
            left_open += 1
            assert wish.fits(scene)
        else:
            named += 1
            assert scene.thing != wish.thing
            assert scene.colour != wish.colour
    assert named
    assert left_open
    assert cases["splice-none"] == cases["splice"]


def test_the_world_outside(cases: dict[str, list[Case]]) -> None:
    for name in ("outside-words", "social"):
        for case in cases[name]:
            assert case.wishes == ()
            assert all(isinstance(part, str) for part in case.parts)
    kinds = []
    for case in cases["outside-media"]:
        (specimen,) = given(case.parts)
        assert "unknown=held_out" in specimen.uri
        kinds.append(modality_of(specimen.uri))
    assert kinds == [*Modality] * (FEW // 3)


def test_animals_of_mini_s_choice(cases: dict[str, list[Case]]) -> None:
    for case in cases["tell"]:
        assert [(wish.modality, wish.thing) for wish in case.wishes] == [(Modality.IMAGE, "animal")]


@pytest.mark.parametrize("intent", sorted(INTENTS))
def test_every_intent_can_be_drawn(intent: str) -> None:
    drawn = draw({intent: 1.0}, 3, 7)
    assert drawn == draw({intent: 1.0}, 3, 7)
    assert drawn.parts
    assert drawn.given == tuple(part for part in drawn.parts if isinstance(part, Specimen))
