"""The format of rows: it keeps what is written, says what is wrong, and agrees with its JSON Schema."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modaverse.context import Role
from modaverse.errors import DataError, StorageError
from modaverse.training.rows import (
    CallPart,
    FailedPart,
    MediaPart,
    Row,
    RowTurn,
    TextPart,
    from_json,
    parse_row,
    read_jsonl,
    to_json,
    write_jsonl,
)
from modaverse.training.uris import resolve

SCHEMA = json.loads(resources.files("modaverse.training").joinpath("row.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

ROW = Row(
    (
        RowTurn(Role.USER, (TextPart("Draw what you hear. “Ünïcode”"), MediaPart("bell.wav"))),
        RowTurn(
            Role.ASSISTANT,
            (
                TextPart("Here is a bell:"),
                CallPart("T-to-I", "a bell"),
                CallPart("TA-to-A", "lower", {"strength": 0.5}, 1),
                MediaPart("bell.png"),
                TextPart(" A bell."),
                MediaPart("low.wav"),
            ),
        ),
        RowTurn(Role.USER, (TextPart("Thanks"),)),
        RowTurn(Role.ASSISTANT, (TextPart("You are welcome!"),)),
    ),
    {"split": "train"},
)


def test_a_row_survives_json() -> None:
    line = to_json(ROW)
    assert "\n" not in line
    assert from_json(line) == ROW
    VALIDATOR.validate(json.loads(line))


def test_what_could_not_be_made_takes_no_number_and_what_is_being_made_has_one() -> None:
    value = {"turns": [user(HI), answer(CALL, CALL, {**CALL, "source": 2}, FAILED, FILE, HI, FAILED)]}
    row = parse_row(value)
    assert row.turns[1].parts[3] == FailedPart("it took too long")
    assert len(row.media) == 1
    VALIDATOR.validate(value)
    assert json.loads(to_json(row)) == value


def test_media_are_numbered_in_order() -> None:
    assert [part.uri for part in ROW.media] == ["bell.wav", "bell.png", "low.wav"]


def test_a_file_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    assert write_jsonl(path, [ROW, ROW]) == 2
    path.write_text(path.read_text("utf-8") + "\n\n", "utf-8")
    assert list(read_jsonl(path)) == [ROW, ROW]
    assert [p.name for p in path.parent.iterdir()] == ["rows.jsonl"]


def test_what_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_jsonl(tmp_path / "file" / "rows.jsonl", [ROW])


def test_what_cannot_be_read_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: No such file"):
        list(read_jsonl(tmp_path / "none.jsonl"))
    (tmp_path / "latin.jsonl").write_bytes(b'{"turns": "\xff"}')
    with pytest.raises(DataError, match="no UTF-8"):
        list(read_jsonl(tmp_path / "latin.jsonl"))


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def answer(*parts: Any) -> dict[str, Any]:
    return {"role": "assistant", "parts": list(parts)}


HI = {"type": "text", "text": "Hi"}
FILE = {"type": "media", "uri": "a.png"}
FAILED = {"type": "failed", "cause": "it took too long"}
CALL = {"type": "meta_response", "model": "T-to-I", "input": "a cat"}

BAD: list[tuple[Any, str]] = [
    ([], "row is a list, not an object"),
    ("x", "row is text, not an object"),
    (None, "row is null, not an object"),
    ({}, "row lacks 'turns'"),
    ({"turns": [user(HI), answer(HI)], "extra": 1}, "row has unknown 'extra'"),
    ({"turns": [user(HI), answer(HI)], "about": []}, "row: about is []"),
    ({"turns": []}, "row: turns is []"),
    ({"turns": "hi"}, 'row: turns is "hi"'),
    ({"turns": [7, answer(HI)]}, "row: turns[0] is a number, not an object"),
    ({"turns": [{"role": "user"}, answer(HI)]}, "row: turns[0] lacks 'parts'"),
    ({"turns": [user(), answer(HI)]}, "row: turns[0]: parts is []"),
    ({"turns": [{"role": "system", "parts": [HI]}, answer(HI)]}, 'row: turns[0]: role is "system"'),
    ({"turns": [user("Hi"), answer(HI)]}, "row: turns[0].parts[0] is text, not an object"),
    ({"turns": [user({"type": "image"}), answer(HI)]}, 'row: turns[0].parts[0]: type is "image"'),
    ({"turns": [user({"text": "Hi"}), answer(HI)]}, "row: turns[0].parts[0]: type is null"),
    ({"turns": [user({"type": "text"}), answer(HI)]}, "row: turns[0].parts[0] lacks 'text'"),
    ({"turns": [user({"type": "text", "text": ""}), answer(HI)]}, 'row: turns[0].parts[0]: text is ""'),
    ({"turns": [user({"type": "text", "text": 5}), answer(HI)]}, "row: turns[0].parts[0]: text is 5"),
    ({"turns": [user({"type": "media", "path": "a"}), answer(HI)]}, "row: turns[0].parts[0] lacks 'uri'"),
    ({"turns": [user({**FILE, "kind": "image"}), answer(HI)]}, "row: turns[0].parts[0] has unknown 'kind'"),
    ({"turns": [user(HI), answer({**CALL, "model": None})]}, "row: turns[1].parts[0]: model is null"),
    ({"turns": [user(HI), answer({**CALL, "options": 3})]}, "row: turns[1].parts[0]: options is 3"),
    ({"turns": [user(HI), answer({**CALL, "source": 0})]}, "row: turns[1].parts[0]: source is 0"),
    ({"turns": [user(HI), answer({**CALL, "source": "1"})]}, 'row: turns[1].parts[0]: source is "1"'),
    ({"turns": [user(HI), answer({**CALL, "source": True})]}, "row: turns[1].parts[0]: source is true"),
    ({"turns": [user(HI), answer({**CALL, "source": None})]}, "row: turns[1].parts[0]: source is null"),
]
"""What the schema refuses too."""

BAD_BETWEEN_PARTS: list[tuple[Any, str]] = [
    ({"turns": [answer(HI), user(HI)]}, "row: turns[0] is the assistant's"),
    ({"turns": [user(HI), user(HI)]}, "row: turns[1] is the user's"),
    ({"turns": [user(HI), answer(HI), user(HI)]}, "row: the last turn has no answer"),
    ({"turns": [user(HI), answer(FILE)]}, "row: turns[1].parts[0]: no meta-response stands for this medium"),
    (
        {"turns": [user(HI), answer(CALL, FILE, FILE)]},
        "row: turns[1].parts[2]: no meta-response stands for this medium",
    ),
    (
        {"turns": [user(FILE), answer({**CALL, "source": 2})]},
        "row: turns[1].parts[0]: source 2 is no medium before this call (there are 1)",
    ),
    (
        {"turns": [user(HI), answer(FAILED)]},
        "row: turns[1].parts[0]: no meta-response stands for this failure",
    ),
    (
        {"turns": [user(HI), answer(CALL, FAILED, {**CALL, "source": 1})]},
        "row: turns[1].parts[2]: source 1 is no medium before this call (there are 0)",
    ),
]
"""What only the code can tell."""


@pytest.mark.parametrize(
    ("value", "message"), BAD + BAD_BETWEEN_PARTS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_bad_rows_are_named(value: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_row(value)
    assert caught.value.message == message
    assert caught.value.hint


@pytest.mark.parametrize(("value", "message"), BAD, ids=[message for _, message in BAD])
def test_the_schema_refuses_them_too(value: Any, message: str) -> None:
    assert not VALIDATOR.is_valid(value)


def test_users_make_no_calls() -> None:
    with pytest.raises(DataError, match="a user makes no calls"):
        parse_row({"turns": [user(CALL), answer(HI)]})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "data.jsonl:2: no JSON"),
        ('{"turns": [], "turns": []}', "data.jsonl:2: the key 'turns' stands twice"),
        ("[" * 100_000, "data.jsonl:2: no JSON"),
        ('{"turns": []}', r"data.jsonl:2: turns is \[\]"),
    ],
)
def test_messages_begin_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f"{to_json(ROW)}\n{line}\n", "utf-8")
    with pytest.raises(DataError, match=message):
        list(read_jsonl(path))


def test_a_path_counts_from_where_the_rows_lie(tmp_path: Path) -> None:
    assert resolve("media/a.png", tmp_path) == tmp_path / "media/a.png"
    assert resolve("/abs/a.png", tmp_path) == Path("/abs/a.png")


def test_a_toybox_uri_is_rendered(tmp_path: Path) -> None:
    made = resolve("toybox:image?thing=cat&colour=red&size=small&backdrop=day&seed=1", tmp_path)
    assert not isinstance(made, Path)
    assert made.array.shape == (64, 64, 3)


def test_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not fetched from https"):
        resolve("https://example.org/a.png", tmp_path)
