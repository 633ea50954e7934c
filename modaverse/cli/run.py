"""`modaverse run`: one request, shown as it is answered and saved as a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modaverse.cli.guard import guarded

if TYPE_CHECKING:
    from modaverse.cli.transcript import Display
    from modaverse.context import Event


@guarded
def run(
    prompt: Annotated[str, typer.Argument(help="What you want, in words; - reads it from standard input.")],
    media: Annotated[
        list[Path] | None,
        typer.Option("--media", "-m", help="Picture, clip or sound that belongs to it; may be repeated."),
    ] = None,
    profile: Annotated[str, typer.Option(help="Name of a profile, its TOML file, or a saved one.")] = "mini",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the reply; the next free one in outputs/ by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Makes the same again; drawn and shown where it is not given.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the events as JSON, one a line.")] = False,
    constrained: Annotated[
        bool, typer.Option(help="Keep what the LLM writes within the grammar of meta-responses.")
    ] = True,
) -> None:
    """Answer one request: show the reply as it is made, and save it as a page."""
    from modaverse.media import read_media

    text = sys.stdin.read() if prompt == "-" else prompt
    for path in media or ():
        read_media(path)  # before anything large is loaded
    folder = out or next_output(Path("outputs"))
    display = display_of(json)

    from modaverse.pipeline import ModaVerse

    engine = ModaVerse.from_profile(profile)
    stream = engine.stream(text, media=media or [], seed=seed, constrained=constrained)
    failed = answer(stream, display)
    display.saved(stream.reply().save(folder))
    if failed:
        raise typer.Exit(1)


def answer(stream: Any, display: Display) -> bool:
    """Show the events of a stream as they come; True where a generator failed.

    However it ends, the stream is closed, which cancels what is still being made.
    """
    failed = False
    try:
        for event in stream:
            failed = failed or is_failure(event)
            display.show(event)
    finally:
        display.close()
        stream.close()
    return failed


def is_failure(event: Event) -> bool:
    from modaverse.context import GenerationFailed

    return isinstance(event, GenerationFailed)


def display_of(json: bool) -> Display:
    if json:
        from modaverse.cli.records import JsonLines

        return JsonLines(sys.stdout)
    from modaverse.cli.transcript import display_for

    return display_for(sys.stdout)


def next_output(parent: Path) -> Path:
    """The first folder 0001, 0002, … below `parent` that does not exist."""
    taken = {path.name for path in parent.iterdir()} if parent.is_dir() else set()
    number = 1
    while f"{number:04d}" in taken:
        number += 1
    return parent / f"{number:04d}"
