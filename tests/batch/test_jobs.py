"""Rows in both forms, and what is said of rows that are none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from modaverse.batch.jobs import parse_job, read_lines
from modaverse.batch.values import Form, Job, MediaRef, Options
from modaverse.context import Text
from modaverse.errors import DataError


def parse(value: Any) -> Job:
    line = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_job(line, 7, "jobs.jsonl")


def openai(content: Any = "Hi", **body: Any) -> dict[str, Any]:
    return {"custom_id": "a", "body": {"messages": [{"role": "user", "content": content}], **body}}


def test_our_form() -> None:
    job = parse({"id": "a", "instruction": "Draw what you hear.", "media": ["bell.wav"], "seed": 3})
    assert (job.id, job.seed, job.form, job.line) == ("a", 3, Form.OWN, 7)
    assert job.parts == (MediaRef("bell.wav"), Text("Draw what you hear."))
    plain = parse({"id": 12, "instruction": "Hello"})
    assert (plain.id, plain.seed, plain.media) == ("12", None, ())


def test_the_digest_is_that_of_what_a_row_says() -> None:
    one = parse(b'{"id": "a",   "instruction": "x"}')
    assert one.digest == parse(b'{"instruction": "x", "id": "a"}').digest
    assert one.digest != parse(b'{"instruction": "y", "id": "a"}').digest


def test_openai_parts_in_their_order() -> None:
    sound = base64.b64encode(b"RIFF").decode()
    job = parse(
        openai(
            [
                {"type": "text", "text": "Which?"},
                {"type": "image_url", "image_url": {"url": "cat.png", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
                {"type": "input_audio", "input_audio": {"data": "bell.wav", "format": "wav"}},
                {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
                {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AAAA"}},
                {"type": "text", "text": "Say."},
            ],
            seed=5,
            temperature=0.5,
            top_p=0.9,
            max_completion_tokens=40,
            user="someone",
            stream=False,
        )
    )
    assert job.parts == (
        Text("Which?"),
        MediaRef("cat.png"),
        MediaRef(f"data:;base64,{sound}"),
        MediaRef("bell.wav"),
        MediaRef("https://example.org/a.mp4"),
        MediaRef("data:audio/wav;base64,AAAA"),
        Text("Say."),
    )
    assert (job.id, job.seed, job.form) == ("a", 5, Form.OPENAI)
    assert job.options == Options(0.5, 0.9, 40)


def test_a_system_message_comes_before_the_users() -> None:
    row = openai()
    row["body"]["messages"].insert(0, {"role": "system", "content": "Be kind."})
    assert parse(row).parts == (Text("Be kind."), Text("\n\n"), Text("Hi"))


WRONG = [
    (b"{", "jobs.jsonl:7: no JSON"),
    (b'{"id": "a", "id": "b", "instruction": "x"}', "the key 'id' stands twice"),
    (b"\xff\xfe", "no UTF-8"),
    (b'{"id": "\\ud800", "instruction": "x"}', "surrogate"),
    ([], "is a list, not an object"),
    ({"id": "a"}, "lacks 'instruction'"),
    ({"instruction": "x"}, "lacks 'id'"),
    ({"id": "", "instruction": "x"}, 'id is ""'),
    ({"id": True, "instruction": "x"}, "id is true"),
    ({"id": "x" * 257, "instruction": "x"}, "id is"),
    ({"id": "a", "instruction": ""}, 'instruction is ""'),
    ({"id": "a", "instruction": ["x"]}, "instruction is"),
    ({"id": "a", "instruction": "x", "media": "cat.png"}, 'media is "cat.png"'),
    ({"id": "a", "instruction": "x", "media": [""]}, "media is"),
    ({"id": "a", "instruction": "x", "media": [3]}, "media is"),
    ({"id": "a", "instruction": "x", "seed": -1}, "seed is -1"),
    ({"id": "a", "instruction": "x", "seed": 1.5}, "seed is 1.5"),
    ({"id": "a", "instruction": "x", "speed": 1}, "has unknown 'speed'"),
    ({"custom_id": "a"}, "body is null"),
    ({"custom_id": 1.5, "body": openai()["body"]}, "id is 1.5"),
    ({"custom_id": "a", "url": "/v1/embeddings", "body": {}}, 'url is "/v1/embeddings"'),
    ({"custom_id": "a", "body": {"messages": []}}, "body.messages is []"),
    ({"custom_id": "a", "body": {"messages": ["x"]}}, "body.messages are of None"),
    ({"custom_id": "a", "body": {"messages": [{"role": "assistant", "content": "x"}]}}, "are of assistant"),
    (openai([]), "content is []"),
    (openai(["x"]), "content[0] is text, not an object"),
    (openai([{"type": "file"}]), 'type is "file"'),
    (openai([{"type": "text"}]), "text is null"),
    (openai([{"type": "image_url", "image_url": {}}]), "url is null"),
    (openai([{"type": "input_audio"}]), "input_audio is null"),
    (openai(n=2), "body.n cannot be followed"),
    (openai(tools=[{}]), "body.tools cannot be followed"),
    (openai(response_format={"type": "json_object"}), "body.response_format cannot be followed"),
    (openai(seed="1"), 'body.seed is "1"'),
    (openai(temperature=-1), "body.temperature is -1"),
    (openai(top_p=0), "body.top_p is 0"),
    (openai(max_tokens=0), "body.max_tokens is 0"),
]


@pytest.mark.parametrize(("value", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_rows_are_named(value: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse(value)
    assert caught.value.message.startswith("jobs.jsonl:7")
    assert message in caught.value.message
    assert caught.value.hint


def test_lines_have_their_numbers_and_a_longest_length(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"one\n\n" + b"x" * 5000 + b"\nthree\r\n  \nlast")
    lines = list(read_lines(path, limit=100))
    assert lines == [(1, b"one\n"), (3, None), (4, b"three\r\n"), (6, b"last")]
    with pytest.raises(DataError, match="longer than"):
        parse_job(None, 3, "jobs.jsonl")
    with pytest.raises(DataError, match="cannot read"):
        list(read_lines(tmp_path / "none.jsonl"))
