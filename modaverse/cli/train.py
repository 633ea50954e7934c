"""`modaverse train`: an adapter and projectors for a profile, from rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand

from modaverse.cli.guard import INTERRUPTED, guarded

if TYPE_CHECKING:
    from typer._click import Context
    from typer._click.formatting import HelpFormatter


class TrainCommand(TyperCommand):
    """Takes every training setting as an option; which there are is read from the settings themselves."""

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        from modaverse.cli.train_settings import described

        with formatter.section("Settings, each as --NAME VALUE or in the file of --settings"):
            formatter.write_dl(described())


PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@guarded
def train(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result, which can then be used as a profile.")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="File of rows (.jsonl), or folder of such; may be repeated.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Profile whose LLM and encoder are used.")] = "mini",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that lies in --out.")] = False,
    settings: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of a process; all, or its share, by default.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that train together: one for each GPU or two CPU cores.")
    ] = 1,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="Say how many would train, and end; no weights are needed.")
    ] = False,
) -> None:
    """Train projectors, LoRA adapter and new tokens on conversations with media and calls.

    Ctrl-C or SIGTERM saves where the run is; the same command with --resume goes on from there.
    """
    from modaverse.cli.processes import spread
    from modaverse.cli.train_settings import reckoned, settings_for, train_profile
    from modaverse.errors import SettingsError

    if parameters:
        print(reckoned(profile, settings, context.args))
        return
    if out is None:
        raise SettingsError("there is no folder for the result", hint="Name one: --out trained.")
    chosen = settings_for(profile, data or (), settings, context.args)
    spread(processes, threads)
    result = train_profile(profile, chosen, out, resume=resume, threads=threads)
    if not result.finished:
        print(f"stopped at step {result.step:,} of {result.steps:,}; --resume goes on from there")
        raise typer.Exit(INTERRUPTED)
    print(f"trained: {out}  (modaverse run --profile {out} ...)")
