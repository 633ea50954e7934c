"""The demonstration ends like every command: with one line and an exit code, never with a traceback."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from modaverse import ModaVerse
from modaverse.errors import ModelNotFound

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"


def test_a_missing_part_of_mini_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModelNotFound("mini has no LLM", hint="Train it.")

    monkeypatch.setattr(ModaVerse, "from_profile", missing)
    with pytest.raises(typer.Exit) as ended:
        runpy.run_path(str(DEMO))["main"]()
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "error: mini has no LLM  hint: Train it.\n"


def test_a_number_that_no_request_has_is_refused() -> None:
    done = subprocess.run([sys.executable, DEMO, "9"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
