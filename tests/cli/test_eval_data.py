"""`modaverse eval --data` on a tiny LLM that has learnt nothing, and two runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest
import torch

from modaverse.imagebind import ImageBind, ImageBindConfig, ImageBindEncoder
from modaverse.language.model import MultimodalLM
from modaverse.settings import LoraSettings, ProjectorSettings
from modaverse.testing import save_tiny_llm

SMALL = Path(__file__).parents[2] / "datasets" / "toybox-small"
TRUNKS = {
    f"{trunk}_{name}": value
    for trunk in ("vision", "audio", "text")
    for name, value in (("embed_dim", 16), ("num_blocks", 1), ("num_heads", 2))
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of random models."""
    folder = tmp_path_factory.mktemp("models")
    config = ImageBindConfig(
        out_embed_dim=16,
        text_vocab_size=8,
        image_size=16,
        vision_patch=8,
        audio_clips=1,
        audio_stride=16,
        **TRUNKS,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ImageBindEncoder(ImageBind(config, modalities=("vision", "audio"))).save_pretrained(
            folder / "encoder"
        )
    lm = MultimodalLM.build(
        save_tiny_llm(folder / "llm"),
        embedding_dim=16,
        projector=ProjectorSettings(k=2),
        lora=LoraSettings(r=2, alpha=2, dropout=0.0),
    )
    lm.save_pretrained(folder / "adapter")
    (folder / "profile.toml").write_text(
        'name = "tiny"\n[llm]\npath = "llm"\nadapter = "adapter"\n[encoder]\npath = "encoder"\n'
        '[generators]\ncards = ["mini-image", "mini-video", "mini-audio"]\n[answer]\nmax_new_tokens = 4\n'
    )
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Four rows: a picture in words, a sound for it, the picture from words, and a clip among others."""
    folder = Path(copytree(SMALL, tmp_path / "small"))
    path = folder / "rows.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:3], lines[7]]), encoding="utf-8")
    return path


def test_measured_gone_on_with_and_compared(modaverse, models: Path, rows: Path, tmp_path: Path) -> None:
    command = ("eval", "--data", rows, "--profile", models)
    first = modaverse(*command, "--out", "a", "--json", "--markdown", "a.md", "--limit", "2")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert (report["profile"], report["answers"]) == ("tiny", 2)
    found = {(line["direction"], line["measure"]): line for line in report["lines"]}
    assert found["all", "tokens"]["count"] == 2
    assert found["image → audio", "modality"]["value"] == 0
    assert 0 < found["all", "loss"]["low"] <= found["all", "loss"]["value"]
    assert ("all", "meaning") not in found  # this encoder reads no text
    assert "| image → audio |" in (tmp_path / "a.md").read_text()
    assert (tmp_path / "a" / "evaluation.png").read_bytes().startswith(b"\x89PNG")

    again = modaverse(*command, "--out", "a", "--wrong", "1")
    assert "4 answers, kept in a; a/evaluation.png" in again.stdout
    assert "data: 2 of 4" in again.stderr
    assert "image → audio" in again.stdout
    assert "rows.jsonl:2.1\n  request: " in again.stdout

    assert modaverse(*command, "--out", "b", "--constrained").returncode == 0
    both = modaverse("eval", "--compare", "a", "--compare", "b", "--out", "c")
    assert both.returncode == 0, both.stderr
    assert "second − first" in both.stdout
    assert "first: a (tiny)" in both.stdout
    assert (tmp_path / "c" / "evaluation.png").is_file()
    values = json.loads(modaverse("eval", "--compare", "a", "--compare", "b", "--json").stdout)
    loss = next(change for change in values["changes"] if change["measure"] == "loss")
    assert loss["change"]["value"] == pytest.approx(0, abs=1e-5)  # reading does not depend on the mask
    assert loss["change"]["count"] == 4


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--data", "nowhere.jsonl"), "nowhere.jsonl does not exist"),
        (("--compare", "a"), "--compare takes two runs, and there is one"),
        (("--compare", "a", "--compare", "b"), "cannot read a"),
    ],
)
def test_what_cannot_be_is_one_line(modaverse, options: tuple[str, ...], named: str) -> None:
    result = modaverse("eval", *options)
    assert result.returncode == 2
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1
