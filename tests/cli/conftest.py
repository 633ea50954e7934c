"""Runs the command line as a user does, and on a terminal where that matters."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Result = subprocess.CompletedProcess[str]


@pytest.fixture
def modaverse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Call `modaverse ARGUMENTS…` in this process, in a folder of its own."""
    from modaverse.cli import main

    def call(*arguments: str | Path) -> Result:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["modaverse", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, errors = capfd.readouterr()
        return Result(sys.argv, int(ended.value.code or 0), out, errors)

    return call


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Result]:
    """Run a script in a process of its own."""

    def run(script: str, *arguments: str) -> Result:
        command = [sys.executable, "-c", script, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def on_terminal(tmp_path: Path) -> Callable[[str], str]:
    """Run Python code with a pseudo-terminal of 80 × 24 as its output; what the terminal received."""

    def run(code: str) -> str:
        parent, child = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stdin=child,
            stdout=child,
            stderr=child,
            env=environment,
        )
        os.close(child)
        received = b""
        while True:
            try:
                piece = os.read(parent, 65_536)
            except OSError:  # Linux says so when the other side is closed
                break
            if not piece:
                break
            received += piece
        os.close(parent)
        assert process.wait(30) == 0, received.decode()
        return received.decode().replace("\r\n", "\n")

    return run
