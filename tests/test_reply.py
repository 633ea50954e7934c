"""A reply is what its stream told, and whole without the files that it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from worlds import CAT, Make, picture

from modaverse.context import Done, MediaReady, MetaResponse, Modality, Text, TextDelta
from modaverse.errors import GenerationError, InputError, MediaError
from modaverse.interfaces import Pixels
from modaverse.media import write_media
from modaverse.testing import ScriptedGenerator


def test_run_collects_what_stream_tells(scripted: Make) -> None:
    reply = scripted(f"Here: {CAT} A cat.").run("Draw a cat", seed=5)
    assert reply.text == "Here:  A cat."
    (medium,) = reply.media
    call = MetaResponse("T-to-I", "a cat")
    assert reply.meta_responses == [call]
    assert reply.parts == [Text("Here: "), call, medium, Text(" A cat.")]
    assert medium.path.is_file()
    assert (medium.modality, medium.mime, reply.seed, reply.profile) == (
        Modality.IMAGE,
        "image/png",
        5,
        "scripted",
    )
    events = list(scripted(f"Here: {CAT} A cat.").stream("Draw a cat", seed=5))
    assert [type(event) for event in events if isinstance(event, (MetaResponse, MediaReady, Done))] == [
        MetaResponse, MediaReady, Done,
    ]  # fmt: skip
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == reply.text


def test_a_seed_is_drawn_and_reported(scripted: Make) -> None:
    seeds = {scripted("Hi").run("Hello").seed for _ in range(4)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_reply_is_complete_only_at_the_end(scripted: Make) -> None:
    stream = scripted("Hello").stream("Hi")
    next(stream)
    with pytest.raises(InputError, match="not complete"):
        stream.reply()
    assert list(stream)
    assert stream.reply().text == "Hello"


def test_a_saved_reply_is_whole_without_the_originals(scripted: Make, tmp_path: Path) -> None:
    failing = ScriptedGenerator(
        "T-to-I", Modality.IMAGE, GenerationError("no paint", hint="Buy <some>."), picture(7)
    )
    mv = scripted(f"A {CAT} b {CAT}<meta>oops</meta> c", generator=failing)
    given = write_media(Pixels(np.zeros((4, 4, 3), np.uint8)), tmp_path / "given")
    reply = mv.run("Draw <b>it</b>", [given.path], seed=1)
    page = reply.save(tmp_path / "saved")
    given.path.unlink()
    for medium in reply.media:
        medium.path.unlink()

    value = json.loads((tmp_path / "saved" / "reply.json").read_text())
    assert [part["type"] for part in value["request"]] == ["media", "text"]
    assert [part["type"] for part in value["parts"]] == [
        "text", "meta_response", "failed", "text", "meta_response", "media", "malformed", "text",
    ]  # fmt: skip
    assert (value["seed"], value["finish_reason"], value["profile"]) == (1, "stop", "scripted")
    media = [part for part in value["request"] + value["parts"] if part["type"] == "media"]
    assert [part["number"] for part in media] == [1, 2]
    for part in media:
        assert (tmp_path / "saved" / part["path"]).is_file()
    html = page.read_text()
    assert page == tmp_path / "saved" / "reply.html"
    assert all(part["path"] in html for part in media)
    assert "no paint" in html
    assert "<b>it</b>" not in html


def test_saving_when_the_media_are_gone_names_the_file(scripted: Make, tmp_path: Path) -> None:
    reply = scripted(CAT).run("Draw")
    reply.media[0].path.unlink()
    with pytest.raises(MediaError, match="no longer there"):
        reply.save(tmp_path / "saved")


def test_saving_when_the_media_were_changed_names_the_file(scripted: Make, tmp_path: Path) -> None:
    reply = scripted(CAT).run("Draw")
    reply.media[0].path.write_bytes(b"something else")
    with pytest.raises(MediaError, match="no longer what it was"):
        reply.save(tmp_path / "saved")


def test_without_splices_media_stand_beside_their_calls(scripted: Make) -> None:
    reply = scripted(f"One {CAT} two {CAT} three").run("Draw", splice="none")
    kinds = [type(part).__name__ for part in reply.parts]
    assert kinds == ["Text", "MetaResponse", "Media", "Text", "MetaResponse", "Media", "Text"]


def test_a_reply_says_how_its_media_were_chosen(scripted: Make) -> None:
    reply = scripted(f"{CAT} One.").run("Draw", candidates=3, seed=1)
    assert {number: choice.drawn for number, choice in reply.choices.items()} == {1: 3}
    assert scripted(f"{CAT} One.").run("Draw", seed=1).choices == {}
