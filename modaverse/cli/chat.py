"""`modaverse chat`: a conversation whose context is kept, on a terminal or from a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modaverse.cli.guard import complain, guarded
from modaverse.cli.run import (
    AgreementOption,
    CandidatesOption,
    ProfileOption,
    RetriesOption,
    SpliceOption,
    answer,
    display_of,
)

if TYPE_CHECKING:
    from modaverse.pipeline import Chat

HELP = "Write a request and Enter.  /media FILE gives a file to the next request.  /quit or Ctrl-D ends."


@guarded
def chat(
    profile: ProfileOption = "mini",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the chat, the next in outputs/ by default; a chat there goes on."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the first request; then one more each.")
    ] = None,
    splice: SpliceOption = None,
    candidates: CandidatesOption = None,
    min_agreement: AgreementOption = None,
    max_retries: RetriesOption = None,
) -> None:
    """Talk: each request knows what was said and made before. Reads requests line by line."""
    from modaverse.cli.output import output_folder
    from modaverse.pipeline import ModaVerse

    with output_folder(out) as folder, ModaVerse.from_profile(profile, folder=folder / "media") as engine:
        held = (folder / "chat.json").exists()
        conversation = engine.load_chat(folder) if held else engine.load().chat()
        code = converse(
            conversation,
            folder,
            seed,
            splice=splice,
            candidates=candidates,
            min_agreement=min_agreement,
            max_retries=max_retries,
        )
    if code:
        raise typer.Exit(code)


def converse(chat: Chat, folder: Path, seed: int | None, **options: Any) -> int:
    """Answer requests until there are no more, with the options of `Chat.stream`; the exit code of the last
    error or failed generator, or 0.

    The chat is saved after each answer. What goes wrong with one request is said, and the chat goes on as
    if it had not been made; so it does after Ctrl-C.
    """
    from modaverse.errors import ModaVerseError

    code = 0
    media: list[Path] = []
    for line in lines():
        try:
            if line.startswith("/"):
                if line == "/quit":
                    break
                command(line, media)
                continue
            display = display_of(json=False)
            if answer(chat.stream(line, media, seed=seed, **options), display):
                code = 1
            media, seed = [], None if seed is None else seed + 1
            chat.save(folder)
        except ModaVerseError as error:
            complain(error)
            code = error.exit_code
        except KeyboardInterrupt:
            print("(given up; the chat is as it was before this request)", file=sys.stderr)
    if chat.context.turns:
        print(f"saved: {folder}")
    return code


def command(line: str, media: list[Path]) -> None:
    """Obey a line that begins with a slash.

    Raises:
        InputError: there is no such command, or the file cannot be used.
    """
    from modaverse.errors import InputError
    from modaverse.media import read_media

    name, _, argument = line.partition(" ")
    if name == "/media" and argument:
        media.append(read_media(Path(argument.strip()).expanduser()).path)
    elif name == "/help":
        print(HELP)
    else:
        raise InputError(f"there is no command {line}", hint=HELP)


def lines() -> Iterator[str]:
    """Requests as they are typed, or the lines of what stands for a keyboard; empty ones are passed over."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    import readline  # noqa: F401 - gives input() a history and arrow keys

    print(HELP)
    while True:
        try:
            line = input("\n> ").strip()
        except EOFError:
            print()
            return
        if line:
            yield line
