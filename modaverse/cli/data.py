"""`modaverse data`: rows of training and evaluation data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modaverse.cli.guard import guarded

data = typer.Typer(name="data", help="Rows of training data.", no_args_is_help=True)


@data.callback()
def _group() -> None:
    """Keeps `validate` a command of its own while it is the only one."""


@data.command()
@guarded
def validate(
    paths: Annotated[list[Path], typer.Argument(help="Files of rows (.jsonl), or folders with such files.")],
    media: Annotated[bool, typer.Option(help="Open the media that the rows name.")] = True,
    faults: Annotated[int, typer.Option(min=1, help="How many faults to show in full.")] = 20,
) -> None:
    """Check every row: its form, its calls, and that its media can be read."""
    from modaverse.cli.validation import validated

    tally = validated(paths, media=media)
    for fault in tally.faults[:faults]:
        print(f"{fault.message}  hint: {fault.hint}")
    if len(tally.faults) > faults:
        print(f"... and {len(tally.faults) - faults:,} more")
    print(
        f"rows {tally.rows:,}, wrong {len(tally.faults):,}; "
        f"turns {tally.turns:,}, media {tally.media:,}, calls {tally.calls:,}"
    )
    if tally.faults:
        raise typer.Exit(2)
