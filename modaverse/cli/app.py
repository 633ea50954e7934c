"""The commands and what each is called. Only this module knows all of them."""

from __future__ import annotations

from typing import Annotated

import typer

from modaverse.cli.batch import batch
from modaverse.cli.chat import chat
from modaverse.cli.data import data
from modaverse.cli.doctor import doctor
from modaverse.cli.eval import evaluate
from modaverse.cli.generators import generators
from modaverse.cli.import_checkpoint import import_checkpoint
from modaverse.cli.merge import merge
from modaverse.cli.profiles import profiles
from modaverse.cli.run import run
from modaverse.cli.toybox import toybox
from modaverse.cli.train import PASS_ON, TrainCommand, train

app = typer.Typer(
    name="modaverse",
    help="Any-to-any requests: media and text in, text and generated media out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: drawing boxes would double the time it takes
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(chat)
app.command()(profiles)
app.command()(doctor)
app.command(cls=TrainCommand, context_settings=PASS_ON)(train)
app.command("eval")(evaluate)
app.command()(merge)
app.command("import-checkpoint")(import_checkpoint)
app.add_typer(batch)
app.add_typer(data)
app.add_typer(generators)
app.add_typer(toybox)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"modaverse {version('modaverse')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass
