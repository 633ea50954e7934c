"""All faults are found: several in a row, several rows, several files, and media that break off within."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from modaverse.interfaces import Pixels
from modaverse.media import write_media
from modaverse.training import sources
from modaverse.training.validation import validate


def row(*user: dict[str, Any], answer: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    parts = list(user) or [{"type": "text", "text": "Hi"}]
    return {
        "turns": [
            {"role": "user", "parts": parts},
            {"role": "assistant", "parts": list(answer) or [{"type": "text", "text": "Yes."}]},
        ]
    }


def media(uri: str) -> dict[str, Any]:
    return {"type": "media", "uri": uri}


def write(path: Path, *lines: object) -> Path:
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    )
    return path


def test_one_fault_hides_no_other(tmp_path: Path) -> None:
    call = {"type": "meta_response", "model": "T-to-I", "input": ""}
    write(
        tmp_path / "a.jsonl",
        row({"type": "text", "text": ""}, {"type": "smell"}, answer=(call,)),
        b'{"turns": "\xff"}',
        row(),
        row(answer=(media("x.png"), {**call, "input": "x", "source": 7})),
        b'{"turns": [], "about": {"x": NaN}}',
        b'{"turns": [], "about": {"x": "\\ud800"}}',
    )
    write(
        tmp_path / "b.jsonl",
        b"\xef\xbb\xbf" + json.dumps(row()).encode(),
        row(media("gone.png"), media("gone.wav")),
    )
    tally = validate([tmp_path])
    assert [(fault.file.name, fault.line, fault.message) for fault in tally.faults] == [
        ("a.jsonl", 1, 'turns[0].parts[0]: text is ""'),
        ("a.jsonl", 1, 'turns[0].parts[1]: type is "smell"'),
        ("a.jsonl", 1, 'turns[1].parts[0]: input is ""'),
        ("a.jsonl", 2, "no UTF-8 text"),
        ("a.jsonl", 4, "turns[1].parts[0]: no meta-response stands for this medium"),
        ("a.jsonl", 4, "turns[1].parts[1]: source 7 is no medium before this call (there are 1)"),
        ("a.jsonl", 5, "no JSON: NaN is no number of JSON"),
        ("a.jsonl", 6, "half of a surrogate pair"),
        ("b.jsonl", 2, f"{tmp_path}/gone.png: no such file"),
        ("b.jsonl", 2, f"{tmp_path}/gone.wav: no such file"),
    ]
    assert (tally.files, tally.rows, tally.wrong) == (2, 8, 6)


def test_a_medium_that_breaks_off_within_is_found(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    good = write_media(Pixels(noise), tmp_path)
    data = bytearray(good.path.read_bytes())
    data[len(data) // 2] ^= 0xFF  # in the middle of the pixels: the header and the end are right
    (tmp_path / "bad.png").write_bytes(data)
    path = write(
        tmp_path / "rows.jsonl", row(media(good.path.name)), row(media("bad.png")), row(media("bad.png"))
    )
    assert [fault.line for fault in validate([path]).faults] == [2, 3]
    assert validate([path], media=False).faults == []


def test_each_medium_is_decoded_once(tmp_path: Path, monkeypatch: Any) -> None:
    good = write_media(Pixels(np.zeros((4, 4, 3), np.uint8)), tmp_path)
    path = write(tmp_path / "rows.jsonl", *[row(media(good.path.name), media(f"./{good.path.name}"))] * 3)
    decoded = []
    decode = sources.decode
    monkeypatch.setattr(sources, "decode", lambda *given: decoded.append(given) or decode(*given))
    assert validate([path]).media == 6
    assert len(decoded) == 1


def test_renders_are_known_by_what_makes_them(tmp_path: Path, monkeypatch: Any) -> None:
    """Features of a URI are not taken for those of what another version of the code draws."""
    uri = "toybox:audio?unknown=foreign&seed=3"
    before = sources.SourceReader().read(uri, tmp_path, "row").identity
    assert before == sources.SourceReader().read(uri, tmp_path, "row").identity
    monkeypatch.setattr("modaverse.toybox.uris.version", lambda: "another")
    assert sources.SourceReader().read(uri, tmp_path, "row").identity != before
