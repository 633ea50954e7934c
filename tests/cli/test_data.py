"""`modaverse data validate` names every row that is wrong, with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modaverse.interfaces import Pixels
from modaverse.media import write_media


def row(uri: str | None = None) -> dict[str, Any]:
    made = [{"type": "media", "uri": uri}] if uri else []
    return {
        "turns": [
            {"role": "user", "parts": [{"type": "text", "text": "Draw a cat."}]},
            {
                "role": "assistant",
                "parts": [{"type": "meta_response", "model": "T-to-I", "input": "a cat"}, *made],
            },
        ]
    }


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Five rows, of which the second, fourth and fifth are wrong."""
    picture = write_media(Pixels(np.zeros((4, 4, 3), np.uint8)), tmp_path / "media")
    (tmp_path / "notes.png").write_text("no picture")
    lines = [
        json.dumps(row(f"media/{picture.path.name}")),
        "{not json",
        json.dumps(row()),
        json.dumps(row("nowhere.png")),
        json.dumps(row("notes.png")),
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_wrong_row_is_named(modaverse, rows: Path) -> None:
    result = modaverse("data", "validate", "rows.jsonl")
    assert result.returncode == 2
    lines = result.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [f"rows.jsonl:{number}" for number in (2, 4, 5)]
    assert "no such file" in lines[1]
    assert "this is a text file" in lines[2]
    assert all("  hint: " in line for line in lines[:-1])
    assert lines[-1] == "rows 5, wrong 3, faults 3; turns 8, media 3, calls 4"


def test_all_of_it_as_json(modaverse, rows: Path) -> None:
    result = modaverse("data", "validate", "rows.jsonl", "--json", "--faults", "1")
    assert result.returncode == 2
    report = json.loads(result.stdout)
    assert [(fault["file"], fault["line"]) for fault in report["faults"]] == [
        ("rows.jsonl", number) for number in (2, 4, 5)
    ]
    assert report["faults"][1]["message"].endswith("nowhere.png: no such file")
    assert all(fault["hint"] for fault in report["faults"])
    sums = {name: value for name, value in report.items() if name != "faults"}
    assert sums == {"files": 1, "rows": 5, "wrong": 3, "turns": 8, "media": 3, "calls": 4}


def test_calls_can_be_checked_against_a_profile(modaverse, tmp_path: Path) -> None:
    calls = [{"model": "T-to-S"}, {"options": {"tempo": 3}}, {"model": "TI-to-I"}, {}]
    lines = []
    for changes in calls:
        value = row()
        value["turns"][1]["parts"][0] |= changes
        lines.append(json.dumps(value))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert modaverse("data", "validate", "rows.jsonl").returncode == 0
    shown = modaverse("data", "validate", "rows.jsonl", "--profile", "mini").stdout.splitlines()
    assert [line.split("]: ")[-1].split("  hint")[0] for line in shown[:1]] == ["nothing answers to T-to-S"]
    assert "options" in shown[1]
    assert "tempo" in shown[1]
    assert "TI-to-I takes a source (image)" in shown[2]
    assert shown[-1].startswith("rows 4, wrong 3, faults 3;")


def test_the_schema_is_printed(modaverse) -> None:
    result = modaverse("data", "schema")
    assert json.loads(result.stdout)["properties"].keys() == {"turns", "about"}


def test_media_may_be_left_unopened(modaverse, rows: Path) -> None:
    result = modaverse("data", "validate", ".", "--no-media")
    assert result.stdout.splitlines()[-1].startswith("rows 5, wrong 1, faults 1;")


def test_what_is_shown_has_a_limit(modaverse, rows: Path) -> None:
    lines = modaverse("data", "validate", "rows.jsonl", "--faults", "1").stdout.splitlines()
    assert len(lines) == 3
    assert lines[1] == "... and 2 more"


def test_sound_rows_end_with_0(modaverse, tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_text(json.dumps(row()) + "\n")
    result = modaverse("data", "validate", "good.jsonl")
    assert result.returncode == 0
    assert result.stdout == "rows 1, wrong 0, faults 0; turns 2, media 0, calls 1\n"


def test_no_rows_at_all(modaverse, tmp_path: Path) -> None:
    result = modaverse("data", "validate", "missing.jsonl")
    assert result.returncode == 2
    assert result.stderr.startswith("error: missing.jsonl does not exist")
