"""`modaverse run` and `modaverse chat` on the whole system with scripted models."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modaverse import pipeline
from modaverse.context import Modality
from modaverse.errors import GenerationError
from modaverse.generation import GeneratorPool
from modaverse.interfaces import Decoded, Pixels, Waveform
from modaverse.media import write_media
from modaverse.orchestrator import Orchestrator
from modaverse.testing import VOCABULARY, ScriptedEncoder, ScriptedGenerator, ScriptedLanguageModel

CAT = '<meta>{"Model": "T-to-I", "Input": "a cat"}</meta>'
PICTURE = Pixels(np.full((8, 8, 3), 200, np.uint8))
SOUND = Waveform(np.zeros((1600, 1), np.float32), 16_000)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedLanguageModel]:
    """Let every profile be made of fakes: these answers, and pictures that are made of `results`."""

    def use(*answers: str, results: list[Decoded | Exception] | None = None) -> ScriptedLanguageModel:
        language = ScriptedLanguageModel(*answers)

        def assemble(profile: Any, folder: Path) -> Orchestrator:
            pool = GeneratorPool(
                [ScriptedGenerator("T-to-I", Modality.IMAGE, *(results or [PICTURE] * 4))], folder
            )
            return Orchestrator(language, ScriptedEncoder(), pool, vocabulary=VOCABULARY)

        monkeypatch.setattr(pipeline, "assemble", assemble)
        return language

    return use


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What stands for a keyboard."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_request_is_shown_and_saved(modaverse, script, tmp_path: Path) -> None:
    script(f"Here it is: {CAT} A cat.")
    result = modaverse("run", "Draw a cat.", "--seed", "7")
    assert result.returncode == 0, result.stderr
    picture = next((tmp_path / "outputs/0001/media").iterdir())
    lines = result.stdout.splitlines()
    assert lines[:4] == ["Here it is: ", CAT, f"[1: image] outputs/0001/media/{picture.name}", "A cat."]
    assert lines[4].startswith("(stop, seed 7, ")
    assert lines[5] == "saved: outputs/0001/reply.html"
    reply = json.loads((tmp_path / "outputs/0001/reply.json").read_text())
    assert [part["type"] for part in reply["parts"]] == ["text", "meta_response", "media", "text"]
    assert reply["parts"][2]["path"] == f"media/{picture.name}"
    assert picture.name in (tmp_path / "outputs/0001/reply.html").read_text()
    assert [path.name for path in (tmp_path / "outputs/0001/media").iterdir()] == [picture.name]


def test_replies_do_not_overwrite_each_other(modaverse, script, tmp_path: Path) -> None:
    script("One.", "Two.")
    modaverse("run", "x")
    modaverse("run", "x")
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["0001", "0002"]


def test_media_are_given_and_saved_with_the_reply(modaverse, script, tmp_path: Path) -> None:
    language = script("A sound.")
    given = write_media(SOUND, tmp_path)
    result = modaverse("run", "What is it?", "-m", given.path, "--out", "reply")
    assert result.returncode == 0, result.stderr
    assert ("media", 1, Modality.AUDIO) in [entry[:3] for entry in language.transcripts[0].log]
    reply = json.loads((tmp_path / "reply/reply.json").read_text())
    assert [part["type"] for part in reply["request"]] == ["media", "text"]
    assert (tmp_path / "reply" / reply["request"][0]["path"]).read_bytes() == given.path.read_bytes()


def test_events_as_json_lines(modaverse, script) -> None:
    script(f"Here: {CAT}")
    rows = [json.loads(line) for line in modaverse("run", "Draw a cat.", "--json").stdout.splitlines()]
    kinds = [row["type"] for row in rows if row["type"] not in ("TextDelta", "GenerationProgress")]
    assert kinds == ["MetaResponseOpened", "MetaResponse", "MediaReady", "Done", "Saved"]
    assert "".join(row["text"] for row in rows if row["type"] == "TextDelta") == "Here: "


def test_the_prompt_may_come_from_standard_input(modaverse, script, typed) -> None:
    language = script("Yes.")
    typed("Draw what I wrote here.\n")
    assert modaverse("run", "-").returncode == 0
    assert ("text", "Draw what I wrote here.\n") in language.transcripts[0].log


def test_a_generator_that_fails_is_shown_and_ends_with_1(modaverse, script, tmp_path: Path) -> None:
    script(f"{CAT} Sorry.", results=[GenerationError("the device fell over", hint="Stand it up.")])
    result = modaverse("run", "Draw a cat.")
    assert result.returncode == 1
    assert "[failed] " in result.stdout
    assert "the device fell over" in result.stdout
    assert "Stand it up." in result.stdout
    assert "saved: outputs/0001/reply.html" in result.stdout
    assert "the device fell over" in (tmp_path / "outputs/0001/reply.html").read_text()


def test_what_ends_in_an_error_leaves_no_folder(modaverse, script, tmp_path: Path) -> None:
    script()
    result = modaverse("run", "")
    assert result.returncode == 2
    assert result.stderr.startswith("error: The request is empty")
    assert not (tmp_path / "outputs").exists()


def test_an_unknown_profile(modaverse, tmp_path: Path) -> None:
    result = modaverse("run", "x", "--profile", "maxi")
    assert result.returncode == 2
    assert result.stderr.startswith("error: there is no profile maxi")
    assert not (tmp_path / "outputs").exists()


def test_a_folder_that_cannot_be_made(modaverse, script, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    result = modaverse("run", "x", "--out", "taken/reply")
    assert result.returncode == 1
    assert result.stderr.startswith("error: taken/reply: the folder cannot be made (Not a directory)")


# ------------------------------------------------------------------------------------------- chat


def test_a_chat_keeps_its_context_and_its_errors_do_no_harm(modaverse, script, typed, tmp_path: Path) -> None:
    language = script(f"Here: {CAT}", "It was a cat.")
    typed("Draw a cat.\n\n/media nowhere.png\n/sing\nWhat was it?\n/quit\nnever read\n")
    result = modaverse("chat", "--out", "talk", "--seed", "1")
    assert result.returncode == 2  # of the last error
    errors = result.stderr.splitlines()
    assert errors[0].startswith("error: nowhere.png: no such file")
    assert errors[1].startswith("error: there is no command /sing")
    assert "It was a cat." in result.stdout
    assert "seed 1," in result.stdout
    assert "seed 2," in result.stdout
    assert result.stdout.endswith("saved: talk\n")
    assert len(language.transcripts) == 1
    texts = [entry[1] for entry in language.transcripts[0].log if entry[0] == "text"]
    assert texts == ["Draw a cat.", "What was it?"]


def test_a_saved_chat_goes_on(modaverse, script, typed, tmp_path: Path) -> None:
    script(f"Here: {CAT}")
    typed("Draw a cat.\n")
    assert modaverse("chat", "--out", "talk").returncode == 0
    language = script("A cat.")
    typed("What was it?\n")
    assert modaverse("chat", "--out", "talk").returncode == 0
    log = language.transcripts[0].log
    assert ("text", "Draw a cat.") in log
    assert ("media", 1, Modality.IMAGE) in [entry[:3] for entry in log]
    turns = json.loads((tmp_path / "talk/chat.json").read_text())["turns"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant"]


def test_a_file_is_given_to_the_next_request_only(modaverse, script, typed, tmp_path: Path) -> None:
    language = script("A sound.", "Hello.")
    given = write_media(SOUND, tmp_path)
    typed(f"/media {given.path.name}\nWhat is it?\nHi\n")
    assert modaverse("chat").returncode == 0
    kinds = [entry[0] for entry in language.transcripts[0].log if entry[0] in ("media", "text")]
    assert kinds == ["media", "text", "text"]


def test_choosing_and_deferring_are_options(modaverse, script, tmp_path: Path) -> None:
    script(f"{CAT} It is on its way. A cat.")
    options = ("--candidates", "2", "--min-agreement", "1", "--max-retries", "1", "--splice", "deferred")
    result = modaverse("run", "Draw a cat.", "--out", "reply", *options)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert (lines[1], lines[4]) == ("It is on its way.", "A cat.")
    assert lines[2].startswith("[1: image]")
    assert lines[3].startswith("(best of 4, agreement ")
    assert lines[3].endswith(", asked again 1 time, less than wanted)")
    media = next(
        part for part in json.loads((tmp_path / "reply/reply.json").read_text())["parts"] if "path" in part
    )
    assert (media["choice"]["drawn"], media["choice"]["retries"]) == (4, 1)
    assert "asked again 1 time, less than wanted" in (tmp_path / "reply/reply.html").read_text()


def test_a_failed_generator_shows_in_the_exit_code_of_a_chat(modaverse, script, typed) -> None:
    script(f"{CAT} Sorry.", "Bye.", results=[GenerationError("no paint", hint="Buy some.")])
    typed("Draw a cat.\nThanks\n")
    result = modaverse("chat")
    assert result.returncode == 1
    assert "[failed] no paint" in result.stdout
    assert "Bye." in result.stdout
