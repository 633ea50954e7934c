"""Captioned media become rows of the three kinds, in sentences that fit them."""

from __future__ import annotations

import random
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from modaverse.context import Role
from modaverse.data.building import Kind, Recipe, build
from modaverse.data.captions import Captioned
from modaverse.data.wordings import Wordings, beginning, default_folder, tidy, within
from modaverse.errors import DataError, InputError
from modaverse.training.rows import CallPart, MediaPart, Row, TextPart, from_json, to_json

CAPTIONS = {
    "red.png": "A red square.",
    "blue.png": "a deep blue sea",
    "green.png": "Berlin in spring!",
    "tone.wav": "the sound of a flute",
    "hum.wav": "A fridge hums.",
    "film.mp4": "Two black cats at night",
}
ITEMS = [Captioned(uri, (said,), f"list.csv:{n}") for n, (uri, said) in enumerate(CAPTIONS.items(), start=2)]


@pytest.fixture(scope="module")
def wordings() -> Wordings:
    return Wordings.load()


def rows(wordings: Wordings, folder: Path, *kinds: Kind, count: int = 1, seed: int = 0) -> list[Row]:
    made = list(build(ITEMS, folder, wordings, Recipe(kinds or tuple(Kind), count, seed)))
    assert all(isinstance(row, Row) for row in made)
    return [row for row in made if isinstance(row, Row)]


def words(row: Row, role: Role) -> str:
    return "".join(
        part.text
        for turn in row.turns
        if turn.role is role
        for part in turn.parts
        if isinstance(part, TextPart)
    )


def test_each_medium_has_a_row_of_each_kind_and_the_same_seed_gives_the_same(
    wordings: Wordings, media: Path
) -> None:
    made = rows(wordings, media)
    assert Counter(row.about["kind"] for row in made) == {kind: len(ITEMS) for kind in Kind}
    assert made == rows(wordings, media)
    assert made != rows(wordings, media, seed=1)
    for row in made:
        assert from_json(to_json(row)) == row


def test_no_row_has_a_brace_or_a_doubled_mark_left(wordings: Wordings, media: Path) -> None:
    for row in rows(wordings, media, count=20):
        for role in Role:
            assert not re.search(r"[{}]|[.!?]\.|\s{2}|^\s", words(row, role)), to_json(row)


def test_input_rows_put_the_caption_into_words(wordings: Wordings, media: Path) -> None:
    for row, item in zip(rows(wordings, media, Kind.INPUT), ITEMS, strict=True):
        assert [part.uri for part in row.turns[0].parts if isinstance(part, MediaPart)] == [item.uri]
        assert tidy(item.captions[0]).lower().strip("!") in words(row, Role.ASSISTANT).lower()


def test_output_rows_make_the_medium(wordings: Wordings, media: Path) -> None:
    models = {"png": "T-to-I", "wav": "T-to-A", "mp4": "T-to-V"}
    for row, item in zip(rows(wordings, media, Kind.OUTPUT), ITEMS, strict=True):
        request, answer = (turn.parts for turn in row.turns)
        assert not any(isinstance(part, MediaPart) for part in request)
        place = next(n for n, part in enumerate(answer) if isinstance(part, CallPart))
        call = answer[place]
        assert isinstance(call, CallPart)
        assert (call.model, call.input) == (models[item.uri[-3:]], tidy(item.captions[0]))
        assert answer[place + 1] == MediaPart(item.uri)


def test_reasoning_says_what_is_true(wordings: Wordings, media: Path) -> None:
    seen: Counter[str] = Counter()
    ordinals = ("first", "second", "third")
    for row in rows(wordings, media, Kind.REASONING, count=30):
        request, answer = words(row, Role.USER).lower(), words(row, Role.ASSISTANT).lower()
        shown = [part.uri for part in row.turns[0].parts if isinstance(part, MediaPart)]
        said = [tidy(CAPTIONS[uri]).lower() for uri in shown]
        calls = [part for part in row.turns[1].parts if isinstance(part, CallPart)]
        if len(shown) > 1:
            seen["choose"] += 1
            place = next(n for n, caption in enumerate(said) if caption in request)
            number = re.search(r"\d", answer)
            named = [n for n, word in enumerate(ordinals) if word in answer]
            assert [place] == (named or [int(number.group()) - 1 if number else -1])
        elif calls:
            seen["make"] += 1
            assert calls[0].model != {"png": "T-to-I", "wav": "T-to-A", "mp4": "T-to-V"}[shown[0][-3:]]
            assert said[0] in calls[0].input.lower()
            assert said[0] in answer
        else:
            claimed = said[0] in request
            seen[f"check {claimed}"] += 1
            assert answer.startswith(("yes", "that is right")) is claimed
            assert claimed or said[0] in answer
    assert seen.keys() == {"choose", "make", "check True", "check False"}


def test_a_caption_that_may_fit_is_no_counterexample(wordings: Wordings, media: Path) -> None:
    alike = [
        Captioned("red.png", ("a small red square",), "1"),
        Captioned("blue.png", ("a red square", "something small"), "2"),
    ]
    for row in build(alike, media, wordings, Recipe((Kind.REASONING,), 20)):
        assert isinstance(row, Row)
        assert len([part for part in row.turns[0].parts if isinstance(part, MediaPart)]) == 1
        assert not words(row, Role.ASSISTANT).startswith("No")


def test_media_that_cannot_be_used_are_named_and_hide_nothing(wordings: Wordings, media: Path) -> None:
    items = [Captioned("none.png", ("x",), "list.csv:2"), DataError("list.csv:3"), *ITEMS[:1]]
    items.append(Captioned("red.png", (" . ",), "list.csv:5"))
    made = list(build(items, media, wordings, Recipe((Kind.INPUT,))))
    faults = [item.message for item in made if isinstance(item, InputError)]
    assert [fault.split(": ")[0] for fault in faults] == ["list.csv:2", "list.csv:3", "list.csv:5"]
    assert sum(isinstance(item, Row) for item in made) == 1


def test_captions_stand_in_sentences_as_people_write() -> None:
    assert within("A dog") == "a dog"
    assert within("Berlin") == "Berlin"
    assert beginning("a dog") == "A dog"
    assert tidy(" A  dog\nruns. ") == "A dog runs"
    assert tidy("Wait...") == "Wait..."


# -------------------------------------------------------------------------------------- wordings


def test_wordings_are_many_and_none_stands_twice(wordings: Wordings) -> None:
    for table, lists in wordings.tables.items():
        for key, sentences in lists.items():
            plain = [sentence for sentence in sentences if sentence not in ("", "{Caption}.")]
            assert len(plain) == len(set(plain)), f"{table}.{key}"
            assert len(plain) >= (15 if table.split(".")[0] in ("input", "output") and key == "ask" else 3)


def test_a_caption_may_hold_braces(wordings: Wordings) -> None:
    text = wordings.say("input.image", "tell", random.Random(0), "{ordinal} {0}")
    assert "{ordinal} {0}" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[audio]", "[smell]", "there is no table input.audio"),
        ("tell =", "answer =", "must have ask, tell|has answer, ask"),
        ('"What does this picture show?"', '"What is {caption}?"', "more in braces than nothing"),
        ('"{Caption}."', '"{kind}."', "more in braces than caption, Caption"),
        ('"{Caption}."', '"{Caption."', "expected '}'"),
        ('"{Caption}."', "7", "holds 7"),
        ('"{Caption}."', '""', "holds ''"),
        ("[image]", "image = 3\n[picture]", "input.image is no table"),
        ("[image]", "[image", "no readable TOML"),
    ],
)
def test_wrong_wordings_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    for path in default_folder().glob("*.toml"):
        (tmp_path / path.name).write_text(path.read_text())
    path = tmp_path / "input.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        Wordings.load(tmp_path)


def test_what_an_endpoint_is_asked_lies_there_too() -> None:
    assert tomllib.loads((default_folder() / "endpoint.toml").read_text()).keys() == {"system", *Kind}
