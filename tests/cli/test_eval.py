"""`modaverse eval` with a judge that has learnt nothing, on renders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from modaverse.context import Modality
    from modaverse.toybox.judge import Judge, new_net

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("judge")
    for modality in (Modality.IMAGE, Modality.AUDIO):
        Judge({modality: new_net(modality)}).save_net(folder, modality)
    return folder


def test_measures_and_goes_on(modaverse: Command, judge: Path, tmp_path: Path) -> None:
    def run(*options: str) -> CompletedProcess[str]:
        return modaverse("eval", "--rows", "judge-image,judge-audio", "--part", f"judge={judge}", *options)

    quick = run("--limit", "6", "--json", "--markdown", "docs/table.md")
    assert quick.returncode == 0, quick.stderr
    measured = json.loads(quick.stdout)
    assert not measured["full"]
    assert {line["row"] for line in measured["lines"]} == {"judge-image", "judge-audio"}
    assert all(line["value"] is not None for line in measured["lines"])
    assert "judge-image: 6 of 6" in quick.stderr
    table = (tmp_path / "docs" / "table.md").read_text()
    assert "quick look" in table
    assert "| the judge on pictures | thing, fresh renders | ≥ 99 % |" in table
    kept = (tmp_path / "runs" / "eval" / "outcomes.jsonl").read_text().splitlines()
    assert len(kept) == 12
    again = run("--limit", "7", "--wrong", "1")
    assert again.returncode == 0
    assert "judge-image: 6 of 7" in again.stderr
    assert "bars hold" in again.stdout
    assert "not the full measurement" in again.stdout
    assert "wrong\n  0" in again.stdout


def test_what_is_missing_is_named(modaverse: Command, judge: Path, tmp_path: Path) -> None:
    result = modaverse("eval", "--rows", "judge-video", "--part", f"judge={judge}")
    assert result.returncode == 1
    assert "video.safetensors" in result.stderr
    assert "--rows" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--rows", "judge-smell"), "judge-smell"),
        (("--part", "judge"), "judge"),
        (("--part", "nose=/tmp"), "nose"),
    ],
)
def test_what_cannot_be_is_refused(modaverse: Command, options: tuple[str, ...], named: str) -> None:
    result = modaverse("eval", *options)
    assert result.returncode == 2
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_rows_can_be_looked_up(modaverse: Command) -> None:
    result = modaverse("eval", "--list", "--rows", "outside-*")
    assert result.returncode == 0
    assert "outside-words  (500 cases; language, encoder)" in result.stdout
    assert "answered honestly, without a generator ≥ 90 %" in result.stdout
