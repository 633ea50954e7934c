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
        ("Hi", "bell.wav", "media must be a list"),
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


def test_the_temporary_folder_vanishes_with_its_owner(scripted: Make) -> None:
    mv = ModaVerse(PROFILE, lambda folder: None)  # type: ignore[arg-type,return-value]
    folder = mv.folder
    assert folder.is_dir()
    del mv
    assert not folder.exists()
