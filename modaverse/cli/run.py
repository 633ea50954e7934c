"""`modaverse run`: one request, shown as it is answered and saved as a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modaverse.cli.guard import guarded

if TYPE_CHECKING:
    from modaverse.cli.transcript import Display
    from modaverse.pipeline import AnswerStream

ProfileOption = Annotated[str, typer.Option(help="Name of a profile, its TOML file, or a trained folder.")]
SpliceOption = Annotated[
    Literal["wait", "deferred", "none"] | None,
    typer.Option(help="Does the LLM wait for media, write on up to a fixed place, or never see them?"),
]
CandidatesOption = Annotated[
    int | None, typer.Option(min=1, help="Media drawn for each call; kept is what fits its prompt best.")
]
AgreementOption = Annotated[
    float | None,
    typer.Option(min=-1, max=1, help="Ask again where medium and prompt agree less (cosine of embeddings)."),
]
RetriesOption = Annotated[int | None, typer.Option(min=0, help="How often a call is asked again for that.")]


@guarded
def run(
    prompt: Annotated[str, typer.Argument(help="What you want, in words; - reads it from standard input.")],
    media: Annotated[
        list[Path] | None,
        typer.Option("--media", "-m", help="Picture, clip or sound that belongs to it; may be repeated."),
    ] = None,
    profile: ProfileOption = "mini",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the reply; the next free one in outputs/ by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Makes the same again; drawn and shown where it is not given.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the events as JSON, one a line.")] = False,
    constrained: Annotated[
        bool | None,
        typer.Option(help="Keep the LLM within the grammar of calls, or not; the profile says else."),
    ] = None,
    splice: SpliceOption = None,
    candidates: CandidatesOption = None,
    min_agreement: AgreementOption = None,
    max_retries: RetriesOption = None,
) -> None:
    """Answer one request: show the reply as it is made, and save it as a page."""
    from modaverse.cli.output import output_folder
    from modaverse.media import read_media

    text = sys.stdin.read() if prompt == "-" else prompt
    for path in media or ():
        read_media(path)  # before anything large is loaded
    display = display_of(json)

    from modaverse.pipeline import ModaVerse

    with output_folder(out) as folder, ModaVerse.from_profile(profile, folder=folder / "media") as engine:
        stream = engine.stream(
            text,
            media or (),
            seed=seed,
            constrained=constrained,
            splice=splice,
            candidates=candidates,
            min_agreement=min_agreement,
            max_retries=max_retries,
        )
        failed = answer(stream, display)
        display.saved(stream.reply().save(folder))
    if failed:
        raise typer.Exit(1)


def answer(stream: AnswerStream, display: Display) -> bool:
    """Show the events of a stream as they come; True where a generator failed.

    However it ends, the stream is closed, which cancels what is still being made.
    """
    from modaverse.context import GenerationFailed

    failed = False
    try:
        for event in stream:
            failed = failed or isinstance(event, GenerationFailed)
            display.show(event)
    finally:
        display.close()
        stream.close()
    return failed


def display_of(json: bool) -> Display:
    if json:
        from modaverse.cli.records import JsonLines

        return JsonLines(sys.stdout)
    from modaverse.cli.transcript import display_for

    return display_for(sys.stdout)
