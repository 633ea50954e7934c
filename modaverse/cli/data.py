"""`modaverse data`: rows of training and evaluation data."""

from __future__ import annotations

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
    from modaverse.cli.data_report import catalogue_of, show_json, show_tally
    from modaverse.training.validation import validate

    tally = validate(paths, media=media, catalogue=None if profile is None else catalogue_of(profile))
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
