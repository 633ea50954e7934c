"""Chats go on: from request to request, and from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from worlds import CAT, Make, log_of, picture

from modaverse.context import GenerationFailed, MediaReady, MetaResponse, Modality, Text
from modaverse.errors import GenerationError, InputError, MediaError
from modaverse.media import write_media
from modaverse.pipeline import Chat
from modaverse.testing import ScriptedGenerator


def test_a_chat_keeps_its_failures(scripted: Make, tmp_path: Path) -> None:
    failing = ScriptedGenerator("T-to-I", Modality.IMAGE, GenerationError("no paint", hint="Buy some."))
    mv = scripted(f"A {CAT} b", generator=failing)
    chat = mv.chat()
    reply = chat.run("Draw")
    failed = GenerationFailed(0, "no paint", "Buy some.")
    assert reply.failures == [failed]
    assert [type(part) for part in reply.parts] == [Text, MetaResponse, Text]
    assert chat.context.turns[1].parts[2] == failed
    chat.save(tmp_path / "chat")
    assert mv.load_chat(tmp_path / "chat").context == chat.context


def test_a_chat_goes_on_and_numbers_its_media(scripted: Make, tmp_path: Path) -> None:
    chat = scripted(f"Here: {CAT}", "A cat.", "Bye").chat()
    first = chat.run("Draw a cat")
    second = chat.run("What is it?", [picture(7)])
    assert chat.context.media[0] == first.media[0]
    assert second.first_number == 2
    value = json.loads(second.save(tmp_path).with_name("reply.json").read_text())
    assert value["request"][0]["number"] == 2
    assert len(chat.context.turns) == 4


def test_numbers_are_those_of_the_time_of_the_answer(scripted: Make) -> None:
    chat = scripted(f"One {CAT}", f"Two {CAT}").chat()
    first, second = chat.stream("Draw a cat"), chat.stream("Another", [picture(7)])
    for stream in (first, second):
        assert list(stream)
    assert (first.reply().first_number, second.reply().first_number) == (1, 2)


def test_an_answer_in_the_making_is_not_saved(scripted: Make, tmp_path: Path) -> None:
    """The transcript has it by then, and the turns have not."""
    mv = scripted("Hello", "Bye")
    chat = mv.chat()
    stream = chat.stream("Hi")
    next(stream)
    with pytest.raises(InputError, match="still answering"):
        chat.save(tmp_path)
    assert list(stream)
    chat.save(tmp_path)
    assert mv.load_chat(tmp_path).context == chat.context


def test_closing_a_stream_leaves_the_chat_as_it_was(scripted: Make) -> None:
    mv = scripted("Hello", f"Here: {CAT} and more", "Bye")
    chat = mv.chat()
    chat.run("Hi")
    before = chat.context
    with chat.stream("Draw a cat") as stream:
        for event in stream:
            if isinstance(event, MediaReady):
                break
    assert chat.context == before
    assert [entry[0] for entry in log_of(mv)] == ["user", "text", "answer"]


def test_a_chat_is_saved_and_goes_on_elsewhere(scripted: Make, tmp_path: Path) -> None:
    mv = scripted(f"Here: {CAT}", "More")
    chat = mv.chat()
    made = chat.run("Draw a cat").media[0]
    chat.save(tmp_path / "chat")
    made.path.unlink()

    other = scripted("It is a cat.")
    loaded = other.load_chat(tmp_path / "chat")
    assert [turn.role for turn in loaded.context.turns] == ["user", "assistant"]
    assert loaded.context.turns[1].parts[:2] == (Text("Here: "), MetaResponse("T-to-I", "a cat"))
    assert loaded.context.media[0].sha256 == made.sha256
    assert log_of(other)[:3] == [("user",), ("text", "Draw a cat"), ("answer",)]
    assert loaded.run("What is it?").text == "It is a cat."
    empty = Chat(other)
    empty.save(tmp_path / "empty")
    assert other.load_chat(tmp_path / "empty").context.turns == ()


def test_chats_that_cannot_be_loaded(scripted: Make, tmp_path: Path) -> None:
    mv = scripted(CAT)
    chat = mv.chat()
    chat.run("Draw")
    chat.save(tmp_path)
    file = tmp_path / "chat.json"
    saved = json.loads(file.read_text())

    def broken(**changes: Any) -> None:
        file.write_text(json.dumps({**saved, **changes}))
        mv.load_chat(tmp_path)

    with pytest.raises(InputError, match="profile 'other', not 'scripted'"):
        broken(profile="other")
    with pytest.raises(InputError, match="no chat that can be read"):
        broken(turns=3)
    with pytest.raises(InputError, match="no chat that can be read"):
        mv.load_chat(tmp_path / "nothing")
    file.write_text("[" * 100_000)
    with pytest.raises(InputError, match="no chat that can be read"):
        mv.load_chat(tmp_path)
    climbing = {"type": "media", "path": "../../secret.png", "sha256": "0"}
    with pytest.raises(MediaError, match="leads out"):
        broken(turns=[{"role": "user", "parts": [climbing]}])
    medium = next(p for p in saved["turns"][1]["parts"] if p["type"] == "media")
    write_media(picture(7), tmp_path / "x").path.replace(tmp_path / medium["path"])
    with pytest.raises(MediaError, match="is not the file"):
        broken()
