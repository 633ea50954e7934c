"""`modaverse doctor` finds what is wrong, and goes on to the other checks."""

from __future__ import annotations

from importlib import metadata

from modaverse.cli import checkup


def test_a_sound_installation(modaverse) -> None:
    result = modaverse("doctor")
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", what] for what in ("python", "packages", "torch", "media", "generators", "memory", "disk")
    ]
    assert "PNG, WAV, MP4 are written and read" in result.stdout


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
