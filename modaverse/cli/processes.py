"""Commands that train by several processes: each runs the same command, and the first shows how it goes."""

from __future__ import annotations

import os
import sys

import typer


def spread(processes: int, threads: int | None) -> None:
    """Go on in `processes` processes of `threads` threads, and end with their exit code.

    Does nothing for a single process, and in those that were started so or by torchrun.
    """
    from modaverse.training.launch import is_launched, launch

    if processes > 1 and not is_launched():
        command = [sys.executable, "-m", "modaverse", *sys.argv[1:]]
        raise typer.Exit(launch(command, processes, threads=threads))


def is_first() -> bool:
    """True in the process that shows how it goes."""
    return os.environ.get("RANK", "0") == "0"
