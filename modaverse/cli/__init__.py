"""The command line: thin commands over the Python API, which they import only when they run."""

from __future__ import annotations


def main() -> None:
    """Entry point of the `modaverse` command."""
    from modaverse.cli.app import app

    app(prog_name="modaverse")
