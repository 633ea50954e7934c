"""What can be asked of a `ModaVerse`, and what it says to what cannot."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from worlds import CAT, PROFILE, Make, log_of, pictures

from modaverse.context import Modality, Text
from modaverse.errors import InputError, SettingsError
from modaverse.generation import GeneratorPool
from modaverse.interfaces import Frames, Pixels, Waveform
from modaverse.media import write_media
from modaverse.orchestrator import Orchestrator
from modaverse.pipeline import ModaVerse
from modaverse.testing import VOCABULARY, ScriptedEncoder, ScriptedLanguageModel


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"splice": "later"}, "no splice 'later'"),
        ({"candidates": 0}, "0 candidates"),
        ({"min_agreement": 2}, "agreement of 2"),
        ({"max_retries": -1}, "-1 retries"),
        ({"temperature": -0.5}, "temperature of -0.5"),
        ({"temperature": float("nan")}, "temperature of nan"),
        ({"top_p": 0}, "top_p of 0"),
        ({"top_p": 1.1}, "top_p of 1.1"),
        ({"max_new_tokens": 0}, "0 new tokens"),
    ],
)
def test_options_that_make_no_sense(scripted: Make, option: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        scripted("Hm").run("Hi", **option)
    assert caught.value.hint


def test_media_can_be_given_as_anything(scripted: Make, tmp_path: Path) -> None:
    array = np.full((6, 5, 3), 30, np.uint8)
    path = write_media(Pixels(array), tmp_path / "in").path
    sound = Waveform(np.zeros((800, 1), np.float32), 16000)
    clip = Frames(np.zeros((4, 16, 16, 3), np.uint8), 8.0)
    mv = scripted("Hm")
    mv.run(
        ["One:", path, "two:", path.read_bytes(), Image.fromarray(array), array, sound, clip, Text("done")],
        media=[str(path)],
    )
    shown = [
        entry[1] if entry[0] == "text" else entry[2] for entry in log_of(mv) if entry[0] in ("text", "media")
    ]
    image = Modality.IMAGE
    assert shown == [
        image, "One:", image, "two:", image, image, image, Modality.AUDIO, Modality.VIDEO, "done",
    ]  # fmt: skip
    numbers = [entry[1] for entry in log_of(mv) if entry[0] == "media"]
    assert numbers == list(range(1, 8))


@pytest.mark.parametrize(
    ("prompt", "media", "message"),
    [
        ("", [], "request is empty"),
        (["", ""], [], "request is empty"),
        ([Text("")], [], "request is empty"),
        ("Hi", "bell.wav", "media must be a list"),
        ("Hi", np.zeros((4, 4, 3), np.uint8), "media must be a list"),
        ("Hi", Image.new("RGB", (4, 4)), "media must be a list"),
        ("Hi", 3, "media must be a list"),
        (Path("bell.wav"), [], "must be a text or a list"),
        (b"RIFF", [], "must be a text or a list"),
        (Pixels(np.zeros((4, 4, 3), np.uint8)), [], "must be a text or a list"),
        ("caf\udce9", [], "text is no Unicode"),
        (["Hi", 3], [], "cannot be made of int"),
        ("Hi", ["nowhere.wav"], "nowhere.wav"),
    ],
)
def test_requests_that_cannot_be_read(scripted: Make, prompt: Any, media: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        scripted("Hm").run(prompt, media)
    assert caught.value.hint


def test_one_thread_at_a_time(scripted: Make) -> None:
    painter = pictures()
    painter._gate = gate = threading.Event()
    mv = scripted(f"{CAT}", "Hi", generator=painter)
    thread = threading.Thread(target=mv.run, args=("Draw",))
    thread.start()
    assert painter.started.wait(10)
    with pytest.raises(InputError, match="another thread"):
        mv.run("Hello")
    gate.set()
    thread.join(10)
    assert mv.run("Hello").text == "Hi"


def test_a_stream_is_not_closed_from_another_thread(scripted: Make) -> None:
    painter = pictures()
    painter._gate = gate = threading.Event()
    mv = scripted(CAT, generator=painter)
    stream = mv.stream("Draw")
    thread = threading.Thread(target=list, args=(stream,))
    thread.start()
    assert painter.started.wait(10)
    with pytest.raises(InputError, match="another thread"):
        stream.close()
    gate.set()
    thread.join(10)
    assert len(stream.reply().media) == 1
    with mv._turn:  # somebody else's: what has ended can be closed all the same
        stream.close()


def test_threads_that_come_at_once_load_it_once() -> None:
    calls: list[Path] = []
    twice, gate = threading.Event(), threading.Event()

    def parts(folder: Path) -> Orchestrator:
        calls.append(folder)
        if len(calls) > 1:
            twice.set()
        gate.wait(10)
        return Orchestrator(
            ScriptedLanguageModel(), ScriptedEncoder(), GeneratorPool([], folder), vocabulary=VOCABULARY
        )

    mv = ModaVerse(PROFILE, parts)
    threads = [threading.Thread(target=mv.load) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert not twice.wait(0.1)
    gate.set()
    for thread in threads:
        thread.join(10)
    assert calls == [mv.folder]


def test_nothing_is_loaded_before_it_is_needed() -> None:
    calls: list[Path] = []

    def parts(folder: Path) -> Orchestrator:
        calls.append(folder)
        pool = GeneratorPool([], folder)
        return Orchestrator(ScriptedLanguageModel("A", "B"), ScriptedEncoder(), pool, vocabulary=VOCABULARY)

    mv = ModaVerse(PROFILE, parts)
    chat = mv.chat()
    assert calls == []
    mv.load()
    assert chat.run("Hi").text == "A"
    assert calls == [mv.folder]


def test_the_temporary_folder_stays_for_those_who_have_a_reply() -> None:
    def parts(folder: Path) -> Orchestrator:
        pool = GeneratorPool([pictures()], folder)
        return Orchestrator(ScriptedLanguageModel(CAT), ScriptedEncoder(), pool, vocabulary=VOCABULARY)

    reply = ModaVerse(PROFILE, parts).run("Draw")  # which nobody holds any more
    path = reply.media[0].path
    assert path.is_file()
    del reply
    assert not path.parent.exists()


def test_the_temporary_folder_vanishes_with_its_owner(scripted: Make) -> None:
    mv = ModaVerse(PROFILE, lambda folder: None)  # type: ignore[arg-type,return-value]
    folder = mv.folder
    assert folder.is_dir()
    del mv
    assert not folder.exists()
