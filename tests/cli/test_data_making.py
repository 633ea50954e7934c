"""`modaverse data convert` and `build`, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest

SMALL = Path(__file__).parents[2] / "datasets" / "toybox-small"


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return Path(copytree(SMALL, tmp_path / "small"))


def test_captions_are_converted_to_requests_to_describe(modaverse, small: Path, tmp_path: Path) -> None:
    result = modaverse("data", "convert", "small/captions.csv", "--out", "made/rows.jsonl")
    assert (result.returncode, result.stdout) == (0, "made/rows.jsonl: 48 rows\n")
    assert {row["about"]["kind"] for row in rows(tmp_path / "made" / "rows.jsonl")} == {"input"}
    assert modaverse("data", "validate", "made", "--no-media").returncode == 0
    assert "../small/media/cat-1.png" in (tmp_path / "made" / "rows.jsonl").read_text()


def test_wrong_entries_are_shown_and_may_be_left_out(modaverse, tmp_path: Path) -> None:
    good = {"instruction": "Draw", "media": {}, "meta_response": {"modality": "image", "prompt": "a cat"}}
    (tmp_path / "instructions.json").write_text(json.dumps([good, {}, good]))
    command = ("data", "convert", "instructions.json", "--out", "rows.jsonl")
    result = modaverse(*command)
    assert result.returncode == 2
    assert result.stdout.startswith("instructions.json: entry 2 lacks instruction, meta_response  hint: ")
    assert not (tmp_path / "rows.jsonl").exists()
    result = modaverse(*command, "--skip-wrong")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "rows.jsonl: 2 rows, 1 left out")


def test_kinds_and_numbers_are_chosen(modaverse, small: Path) -> None:
    command = ("data", "build", "small/captions.csv", "--out", "small/more.jsonl", "--kinds", "output,input")
    assert modaverse(*command, "--per-medium", "2").stdout == "small/more.jsonl: 192 rows\n"
    assert {row["about"]["kind"] for row in rows(small / "more.jsonl")} == {"input", "output"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--kinds", "smell"), "there is no kind of row 'smell'"),
        (("--format", "llava"), "llava is no list of captions"),
        (("--wordings", "nowhere"), "nowhere/input.toml is no readable TOML"),
        (("--endpoint", "http://127.0.0.1:9/v1"), "no model is named"),
        (("--endpoint", "nowhere", "--model", "m"), "no URL of an endpoint"),
    ],
)
def test_what_cannot_be_is_one_line(modaverse, small: Path, options: tuple[str, ...], message: str) -> None:
    result = modaverse("data", "build", "small/captions.csv", "--out", "x.jsonl", *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_key_comes_from_the_environment_and_the_bill_is_shown(
    modaverse, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    asked = ("--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--key-from", "MY_KEY", "--retries", "0")
    result = modaverse("data", "build", "small/captions.csv", "--out", "x.jsonl", *asked, "--price-in", "1")
    assert result.returncode == 1
    assert result.stdout == "0 requests, 0 + 0 tokens, $0.0000\n"
    assert result.stderr.startswith("error: The endpoint 127.0.0.1 does not answer (")
    assert "sk-secret" not in result.stdout + result.stderr
