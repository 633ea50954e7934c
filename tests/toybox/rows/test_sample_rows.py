"""Rows: what they say, call and show agrees, and what is held out stays out."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from modaverse.context import Modality, Role
from modaverse.interfaces import MODELS
from modaverse.toybox.rows import INTENTS, MIXTURE, sample_row, sample_rows, write_rows
from modaverse.toybox.rows.chat import EDITORS, Chat
from modaverse.toybox.uris import modality_of, scene_of
from modaverse.toybox.wordings.captions import plain_caption
from modaverse.toybox.wordings.grammar import Split
from modaverse.toybox.wordings.wishes import Wish, wish_for
from modaverse.toybox.world import COLOURS, THINGS, is_held_out
from modaverse.training.rows import (
    CallPart,
    MediaPart,
    Row,
    RowTurn,
    TextPart,
    from_json,
    read_jsonl,
    to_json,
)

MADE_BY = {model: modality for modality, model in MODELS.items()} | {
    model: made for (_, made), model in EDITORS.items()
}
SPLITS: tuple[Split, ...] = ("train", "held_out")
MARKERS = ("<meta", "</meta", "<media", "</media", "<|", "|>", "<s>", "</s>", "<pad>", "@")


@cache
def rows(split: Split) -> tuple[Row, ...]:
    return tuple(sample_rows(1500, 11, split, failing=0.0))


def exchanges(row: Row) -> Iterator[tuple[RowTurn, RowTurn, dict[str, object]]]:
    for index, truth in enumerate(row.about["turns"]):
        yield row.turns[2 * index], row.turns[2 * index + 1], truth


def text_of(turn: RowTurn) -> str:
    return "".join(part.text for part in turn.parts if isinstance(part, TextPart))


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_survives_its_format(split: Split) -> None:
    for row in rows(split):
        assert from_json(to_json(row)) == row
        assert len(row.about["turns"]) * 2 == len(row.turns)


@pytest.mark.parametrize("split", SPLITS)
def test_no_text_holds_anything_like_a_control_token(split: Split) -> None:
    for row in rows(split):
        for turn in row.turns:
            for part in turn.parts:
                if isinstance(part, TextPart):
                    assert not any(marker in part.text for marker in MARKERS), part.text
                    assert "{" not in part.text
                    assert "}" not in part.text


@pytest.mark.parametrize("split", SPLITS)
def test_calls_are_the_plain_captions_of_what_was_wished(split: Split) -> None:
    for row in rows(split):
        for _, answer, truth in exchanges(row):
            calls = [part for part in answer.parts if isinstance(part, CallPart)]
            made = [part for part in answer.parts if isinstance(part, MediaPart)]
            assert len(calls) == len(made) == len(truth["calls"])  # type: ignore[arg-type]
            for call, medium, true in zip(calls, made, truth["calls"], strict=True):  # type: ignore[call-overload]
                modality = MADE_BY[call.model]
                assert call.model == true["model"]
                assert call.input == plain_caption(Wish(modality, **true["wish"]))
                assert modality_of(medium.uri) is modality
                scene = scene_of(medium.uri)
                assert true["made"] == (None if scene is None else wish_for(scene).attributes)


@pytest.mark.parametrize("split", SPLITS)
def test_a_medium_stands_directly_behind_its_call(split: Split) -> None:
    for row in rows(split):
        for turn in row.turns:
            kinds = [type(part) for part in turn.parts]
            for index, kind in enumerate(kinds):
                if kind is CallPart:
                    assert kinds[index + 1] is MediaPart
                elif kind is MediaPart and turn.role is Role.ASSISTANT:
                    assert kinds[index - 1] is CallPart


@pytest.mark.parametrize("split", SPLITS)
def test_words_after_a_splice_say_what_was_made(split: Split) -> None:
    spoken = 0
    for row in rows(split):
        for _, answer, truth in exchanges(row):
            says = truth.get("says")
            if isinstance(says, dict) and isinstance(answer.parts[-1], TextPart):
                spoken += 1
                last = answer.parts[-1].text.lower()
                for name in says.keys() & {"thing", "colour", "pitch"}:
                    assert re.search(rf"\b{says[name]}", last), (last, says)
                colours = {colour for colour in COLOURS if re.search(rf"\b{colour}\b", last)}
                if "colour" in says and str(truth["intent"]).startswith(("make.i", "make.v", "tell")):
                    assert colours == {says["colour"]}
    assert spoken > 600


def test_in_training_some_media_are_not_what_was_asked_for_and_the_words_say_so() -> None:
    missed = 0
    for row in rows("train"):
        for _, answer, truth in exchanges(row):
            for call in truth["calls"]:  # type: ignore[attr-defined]
                wish, made = call["wish"], call["made"]
                fits = made is not None and all(made.get(n) == v for n, v in wish.items() if n != "thing")
                missed += not fits
                if not fits and truth["intent"] == "make.image" and isinstance(answer.parts[-1], TextPart):
                    last = answer.parts[-1].text
                    assert last.startswith(
                        (" It came out", " That became", " That came out", " I do not recog")
                    )
    assert missed > 60


def test_evaluation_rows_show_what_was_asked_for() -> None:
    for row in rows("held_out"):
        for _, _, truth in exchanges(row):
            for call in truth["calls"]:  # type: ignore[attr-defined]
                wish = Wish(MADE_BY[call["model"]], **call["wish"])
                scene = call["made"]
                assert scene["thing"] in wish.things
                assert all(scene[name] == value for name, value in call["wish"].items() if name != "thing")


def test_training_never_meets_a_held_out_combination() -> None:
    for row in rows("train"):
        for part in row.media:
            scene = scene_of(part.uri)
            assert scene is None or not is_held_out(scene), part.uri


def test_evaluation_meets_held_out_combinations_often() -> None:
    scenes = [scene_of(part.uri) for row in rows("held_out") for part in row.media]
    known = [scene for scene in scenes if scene is not None]
    assert 0.3 < sum(map(is_held_out, known)) / len(known) < 0.8


def test_media_that_nobody_knows_are_of_other_kinds_in_evaluation() -> None:
    for split, other in (("train", "held_out"), ("held_out", "foreign")):
        uris = [part.uri for row in rows(split) for part in row.media if scene_of(part.uri) is None]  # type: ignore[arg-type]
        assert len(uris) > 15
        assert not any(f"unknown={other}" in uri for uri in uris)


@pytest.mark.parametrize("split", SPLITS)
def test_a_refusal_calls_nothing_and_stays_honest(split: Split) -> None:
    refused = 0
    for row in rows(split):
        for _, answer, truth in exchanges(row):
            if truth.get("refuses") and truth["intent"] != "outside.partly":
                refused += 1
                assert not truth["calls"]
                assert all(isinstance(part, TextPart) for part in answer.parts)
    assert refused > 60


def test_a_request_for_something_outside_is_always_refused() -> None:
    rng = random.Random(0)
    for _ in range(150):
        row = sample_row(rng, mixture={"outside": 1}, turns=(1,))
        (_, _, truth), *_ = exchanges(row)
        assert truth["refuses"]


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_writes_the_same_rows(split: Split) -> None:
    assert list(sample_rows(50, 3, split)) == list(sample_rows(50, 3, split))
    assert list(sample_rows(50, 3, split)) != list(sample_rows(50, 4, split))


def test_row_i_does_not_depend_on_how_many_are_written() -> None:
    assert list(sample_rows(40, 3))[:10] == list(sample_rows(10, 3))


def test_every_intent_of_the_mixture_occurs() -> None:
    assert INTENTS.keys() == MIXTURE.keys()
    heads = Counter(
        str(truth["intent"]).split(".")[0] for row in rows("train") for _, _, truth in exchanges(row)
    )
    assert {
        "make",
        "tell",
        "from",
        "ask",
        "count",
        "which",
        "same",
        "compare",
        "social",
        "mini",
        "outside",
    } <= heads.keys()
    assert {"edit", "again", "then", "recall"} <= heads.keys()


def test_every_way_from_one_modality_to_another_occurs() -> None:
    intents = {str(truth["intent"]) for row in rows("train") for _, _, truth in exchanges(row)}
    pairs = {f"{a.value}.{b.value}" for a in Modality for b in Modality if not a is b is Modality.AUDIO}
    assert {f"from.{pair}" for pair in pairs} <= intents


def test_edits_change_what_was_asked_and_keep_the_rest() -> None:
    checked = 0
    for row in rows("held_out"):
        before: dict[str, str] | None = None
        for user, _, truth in exchanges(row):
            changes = truth.get("changes")
            given = [part for part in user.parts if isinstance(part, MediaPart)]
            if isinstance(changes, dict) and before is not None and not given:
                wish = truth["calls"][0]["wish"]  # type: ignore[index]
                assert wish == {**before, **changes}
                checked += 1
            if truth["calls"]:
                before = truth["calls"][-1]["made"]  # type: ignore[index]
            elif given:
                scene = scene_of(given[-1].uri)
                before = None if scene is None else wish_for(scene).attributes
    assert checked > 30


def test_with_editing_a_change_names_its_source() -> None:
    rng = random.Random(5)
    sources = 0
    for _ in range(400):
        row = sample_row(rng, mixture={"make": 1}, turns=(0, 0, 1), editing=True)
        number = 0
        for turn in row.turns:
            for part in turn.parts:
                number += isinstance(part, MediaPart)
                if isinstance(part, CallPart) and part.source is not None:
                    assert part.model in {"TI-to-I", "I-to-V"}
                    assert part.source <= number
                    sources += 1
    assert sources > 100


def test_the_answer_to_a_question_is_the_truth() -> None:
    asked = Counter[str]()
    for row in rows("train"):
        for _, answer, truth in exchanges(row):
            intent = str(truth["intent"])
            if intent.startswith(("ask.thing", "ask.colour", "recall.thing")) and "says" in truth:
                asked[intent] += 1
                text = text_of(answer).lower()
                said = {word for word in (*THINGS, *COLOURS) if re.search(rf"\b{word}\b", text)}
                given = truth["given"][-1]  # type: ignore[index]
                assert said
                assert said <= {given["thing"], given.get("colour")}
    assert len(asked) >= 5


def test_rows_are_written_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert write_rows(path, 25, 7, "held_out") == 25
    assert list(read_jsonl(path)) == list(sample_rows(25, 7, "held_out"))
    assert all(
        json.loads(line)["about"]["split"] == "held_out" for line in path.read_text("utf-8").splitlines()
    )


@pytest.mark.parametrize("marks", [0, 1, 2, 3])
def test_no_medium_is_lost_where_the_words_have_fewer_marks(marks: int) -> None:
    chat = Chat(random.Random(marks), hurry=0.0)
    chat.user("so many".replace(" ", f" {'@ ' * marks}"), *(chat.scene(Modality.IMAGE) for _ in range(3)))
    assert sum(isinstance(part, MediaPart) for part in chat.turns[0].parts) == 3
