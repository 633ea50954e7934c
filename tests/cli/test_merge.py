from __future__ import annotations

from pathlib import Path

import pytest

from modaverse.language.model import MultimodalLM
from modaverse.settings import LoraSettings, load_profile
from modaverse.testing import save_tiny_llm


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    base = save_tiny_llm(tmp_path / "base")
    lora = LoraSettings(r=2, alpha=2, dropout=0.0)
    MultimodalLM.build(base, embedding_dim=24, lora=lora).save_pretrained(tmp_path / "trained")
    text = 'extends = "mini"\n[llm]\npath = "../base"\nadapter = "."\n'
    (tmp_path / "trained" / "profile.toml").write_text(text)
    return tmp_path / "trained"


def test_it_leaves_a_profile(modaverse, trained: Path, tmp_path: Path) -> None:
    result = modaverse("merge", "--profile", trained, "--out", "merged", "--dtype", "float16")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "merged: merged  (modaverse run --profile merged ...)\n"
    assert load_profile(tmp_path / "merged").llm.path == tmp_path / "merged" / "llm"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("merge", "--profile", "open", "--out", "x"), "error: open has no adapter that could be merged"),
        (
            ("merge", "--profile", "mini", "--out", "x", "--dtype", "int3"),
            "error: int3 is no type of weights",
        ),
        (("merge", "--profile", "modaverse-7b", "--out", "x"), "error: No LLM lies in "),
        (
            ("merge", "--profile", "trained", "--out", "trained/config.json"),
            "error: {here}/trained/config.json is a file",
        ),
        (("import-checkpoint", "none.pt", "--llm", "none", "--out", "x"), "error: no LLM lies in "),
    ],
)
def test_a_mistake_is_one_line(
    modaverse, trained: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    result = modaverse(*words)
    assert result.returncode in (1, 2)
    assert result.stderr.startswith(message.format(here=tmp_path))
    assert result.stderr.count("\n") == 1


def test_memory_is_shown_without_any_weights(modaverse) -> None:
    result = modaverse("profiles", "open", "--memory", "--positions", "100")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("| open | float32 | bfloat16 | int8 | int4 |\n")
    assert "| 100 positions | 0.0 |" in result.stdout
