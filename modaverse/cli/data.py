"""`modaverse data`: rows of training and evaluation data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from modaverse.cli.guard import guarded

data = typer.Typer(name="data", help="Rows of training data.", no_args_is_help=True)


@data.command()
@guarded
def validate(
    paths: Annotated[list[Path], typer.Argument(help="Files of rows (.jsonl), or folders with such files.")],
    media: Annotated[bool, typer.Option(help="Decode the media that the rows name.")] = True,
    profile: Annotated[
        str | None, typer.Option(help="Check that this profile's generators take the calls.")
    ] = None,
    faults: Annotated[int, typer.Option(min=1, help="How many faults to show in full.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print everything, all faults too, as JSON.")] = False,
) -> None:
    """Check every row and every file: form, calls, and that the media can be decoded."""
    from modaverse.cli.data_report import show_json, show_tally
    from modaverse.data.calls import calls_of
    from modaverse.settings import load_profile
    from modaverse.training.validation import validate

    catalogue = None if profile is None else calls_of(load_profile(profile))
    tally = validate(paths, media=media, catalogue=catalogue)
    if json:
        show_json(tally)
    else:
        show_tally(tally, limit=faults)
    if tally.faults:
        raise typer.Exit(2)


@data.command()
@guarded
def schema() -> None:
    """Print the JSON Schema of a row."""
    from importlib import resources

    print((resources.files("modaverse.training") / "row.schema.json").read_text("utf-8"), end="")


_Files = Annotated[list[Path], typer.Argument(help="Files in other formats; shards of one set together.")]
_Out = Annotated[Path, typer.Option(help="File of rows to write (.jsonl).")]
_Format = Annotated[
    str | None,
    typer.Option(
        help="modaverse, llava, coco, csv or webdataset; known by the content where it is not given."
    ),
]
_Media = Annotated[
    Path | None, typer.Option(help="Folder that paths in the files count from; their own by default.")
]
_Seed = Annotated[int, typer.Option(min=0, help="Decides which wordings are taken.")]
_Skip = Annotated[bool, typer.Option("--skip-wrong", help="Leave out entries that cannot be used.")]
_Wordings = Annotated[Path | None, typer.Option(help="Folder of wordings, instead of those that come along.")]


@data.command()
@guarded
def convert(
    files: _Files,
    out: _Out,
    format: _Format = None,
    media: _Media = None,
    wordings: _Wordings = None,
    seed: _Seed = 0,
    skip_wrong: _Skip = False,
) -> None:
    """Make rows of the released instructions.json, LLaVA's conversations, or lists of captions.

    Captions (COCO's JSON, CSV, WebDataset tars) become requests to describe. Media stay where they are; those
    of tars are unpacked beside the rows.
    """
    from modaverse.cli.data_making import Job, convert_files

    convert_files(Job(files, out, format, media, wordings, seed, skip_wrong))


@data.command()
@guarded
def build(
    files: _Files,
    out: _Out,
    kinds: Annotated[str, typer.Option(help="Which rows, with commas between.")] = "input,reasoning,output",
    per_medium: Annotated[int, typer.Option(min=1, help="Rows of each kind for a medium.")] = 1,
    format: _Format = None,
    media: _Media = None,
    wordings: _Wordings = None,
    seed: _Seed = 0,
    skip_wrong: _Skip = False,
    endpoint: Annotated[
        str | None, typer.Option(help="URL of a chat endpoint that writes the rows, as https://HOST/v1.")
    ] = None,
    model: Annotated[str, typer.Option(help="The endpoint's model.")] = "",
    key_from: Annotated[
        str, typer.Option(help="Environment variable that holds the endpoint's key.")
    ] = "OPENAI_API_KEY",
    cache: Annotated[
        Path | None, typer.Option(help="Folder of replies; OUT with .replies by default.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 4,
    retries: Annotated[int, typer.Option(min=0, help="How often a request is tried again.")] = 6,
    price_in: Annotated[float, typer.Option(min=0, help="Dollars for a million tokens of requests.")] = 0.0,
    price_out: Annotated[float, typer.Option(min=0, help="Dollars for a million tokens of replies.")] = 0.0,
) -> None:
    """Make rows of captioned media: to describe them, to reason about them, and to make them.

    The sentences come from wordings or, with --endpoint, from an LLM that is told the captions. Its replies
    are kept, so that the same command goes on where it was interrupted.
    """
    from modaverse.cli.data_making import Job, build_asking, build_from_wordings

    job = Job(files, out, format, media, wordings, seed, skip_wrong, kinds, per_medium)
    if endpoint is None:
        build_from_wordings(job)
        return
    from modaverse.data.chat_endpoint import Endpoint

    key = os.environ.get(key_from)
    asked = Endpoint(endpoint, model, key, retries=retries, prices=(price_in, price_out))
    build_asking(job, asked, cache or out.with_name(f"{out.name}.replies"), concurrency=concurrency)
