"""What lies in datasets/: sound rows, small, and just what the commands in its card make."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from modaverse.cli.sampling import sample_scene, write_sample
from modaverse.data.building import Recipe, build
from modaverse.data.captions import read_table
from modaverse.data.entries import Places
from modaverse.data.wordings import Wordings
from modaverse.media import sniff
from modaverse.toybox.world import is_held_out
from modaverse.training.rows import Row, read_jsonl, to_json
from modaverse.training.validation import validate

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "datasets" / "toybox-small"


def listed() -> list[dict[str, str]]:
    with (FOLDER / "captions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_and_every_file_is_sound() -> None:
    tally = validate([FOLDER])
    assert tally.faults == []
    assert tally.rows == 144


def test_the_card_counts_right() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    kinds = Counter(row.about["kind"] for row in read_jsonl(FOLDER / "rows.jsonl"))
    media = Counter(sniff(path)[0].value for path in (FOLDER / "media").iterdir())
    assert dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", card, re.MULTILINE)) == {
        k: str(n) for k, n in kinds.items()
    }
    for name, modality in (("pictures", "image"), ("clips", "video"), ("sounds", "audio")):
        assert f"| {name} | {media[modality]} |" in card


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 1_500_000


def test_every_medium_is_listed_and_named_by_rows() -> None:
    files = {f"media/{path.name}" for path in (FOLDER / "media").iterdir()}
    assert {line["file"] for line in listed()} == files
    assert {part.uri for row in read_jsonl(FOLDER / "rows.jsonl") for part in row.media} == files


def test_the_rows_are_what_the_captions_make() -> None:
    captions = read_table(FOLDER / "captions.csv", Places(FOLDER, FOLDER))
    rows = [row for row in build(captions, FOLDER, Wordings.load(), Recipe()) if isinstance(row, Row)]
    text = "".join(f"{to_json(row)}\n" for row in rows)
    assert text == (FOLDER / "rows.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["cat-1.png", "bell.wav"])
def test_a_medium_is_what_its_seed_renders(tmp_path: Path, name: str) -> None:
    seed = next(int(line["seed"]) for line in listed() if line["file"] == f"media/{name}")
    kind = {".png": "image", ".wav": "audio"}[Path(name).suffix]
    scene = sample_scene(kind, {"thing": re.split(r"\W", name)[0]}, seed)
    assert not is_held_out(scene)  # those are for evaluation alone
    write_sample(scene, seed, tmp_path / name)
    assert (tmp_path / name).read_bytes() == (FOLDER / "media" / name).read_bytes()
