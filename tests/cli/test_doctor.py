"""`modaverse doctor` finds what is wrong, and goes on to the other checks."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from modaverse.cli import checkup
from modaverse.cli.fit import fit
from modaverse.settings import load_profile

CHECKS = ("python", "packages", "torch", "media", "generators", "profile", "fits", "memory", "disk")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile whose parts all have files, if empty ones."""
    for part in ("llm", "adapter", "encoder"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "model.safetensors").touch()
    (tmp_path / "weights" / "image").mkdir(parents=True)
    (tmp_path / "weights" / "image" / "model_index.json").write_text('{"_class_name": "ZImagePipeline"}')
    path = tmp_path / "whole.toml"
    path.write_text(
        '[llm]\npath = "llm"\nadapter = "adapter"\n[encoder]\npath = "encoder"\n'
        '[generators]\ncards = ["mini-image"]\nroot = "weights"\n'
    )
    return path


def test_a_sound_installation(modaverse, profile: Path) -> None:
    result = modaverse("doctor", "--profile", profile)
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", what] for what in CHECKS]
    assert "whole has its 4 parts" in result.stdout
    assert "PNG, WAV, MP4 are written and read" in result.stdout


def test_parts_that_are_missing_are_named(modaverse, profile: Path) -> None:
    (profile.parent / "adapter" / "model.safetensors").unlink()
    (profile.parent / "weights" / "image" / "model_index.json").unlink()
    result = modaverse("doctor", "--profile", profile)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("BAD profile"))
    assert lines[first].startswith("BAD profile     whole lacks adapter: no weights in /")
    assert lines[first + 1] == "                Train it, or install ModaVerse again."
    assert lines[first + 2].startswith(
        "BAD profile     whole lacks mini-image: generator mini-image: no weights"
    )
    assert lines[first + 3].strip()


def test_an_llm_that_is_not_here_says_how_to_get_it(modaverse, profile: Path) -> None:
    text = profile.read_text().replace('path = "llm"', 'repository = "nobody/llm"\nrevision = "0123abc"', 1)
    profile.write_text(text)
    result = modaverse("doctor", "--profile", profile)
    assert result.returncode == 1
    assert "BAD profile     whole lacks LLM: nobody/llm is not on this machine\n" in result.stdout
    assert "Run: hf download nobody/llm --revision 0123abc\n" in result.stdout


# (bytes of memory, whether it is a GPU's, how the LLM is kept, what doctor says)
FITS = [
    (60e9, False, "float32", "open needs 40.3 GB of 60.0 GB"),
    (25e9, False, "float32", "open is too large: 40.3 GB of 25.0 GB"),
    (60e9, True, "bfloat16", "open needs "),
    (31e9, True, "int4", 'open with llm.quantized = "int4" needs '),
    (5e9, True, "bfloat16", "open is too large: "),
]


@pytest.mark.parametrize(("there", "gpu", "kept", "said"), FITS)
def test_a_profile_that_fits_is_told_from_one_that_is_too_large(
    there: float, gpu: bool, kept: str, said: str
) -> None:
    found = fit(load_profile("open"), round(there), gpu=gpu)
    assert found.kept == kept
    assert str(found).startswith(said)
    assert found.fits == ("needs" in said)


def test_what_is_missing_or_too_old_is_named(modaverse, monkeypatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["no-such-package>=1", "numpy>=999", "pillow"])
    result = modaverse("doctor")
    assert result.returncode == 1
    assert "BAD packages    no-such-package is missing; numpy " in result.stdout
    assert "is not >=999\n                Run pip install --upgrade modaverse." in result.stdout
    assert "ok  media" in result.stdout


def test_a_check_that_breaks_is_a_finding(modaverse, monkeypatch) -> None:
    def broken() -> checkup.Finding:
        raise OSError("libx264.so: cannot open shared object file")

    monkeypatch.setattr(checkup, "media", broken)
    result = modaverse("doctor")
    assert result.returncode == 1
    assert "BAD media       OSError: libx264.so: cannot open shared object file" in result.stdout
    assert "ok  disk" in result.stdout
