"""`modaverse batch`: thousands of requests from a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer.core import TyperGroup

from modaverse.cli.guard import INTERRUPTED, guarded

if TYPE_CHECKING:
    from typer._click import Context


class BatchGroup(TyperGroup):
    """Takes `modaverse batch JOBS` for `modaverse batch run JOBS`."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


batch = typer.Typer(
    name="batch",
    cls=BatchGroup,
    help="Answer all requests of a file: modaverse batch JOBS.jsonl --out DIR.",
    no_args_is_help=True,
)

FolderArgument = Annotated[Path, typer.Argument(help="Folder that was given as --out.")]


@batch.command()
@guarded
def run(
    jobs: Annotated[Path, typer.Argument(help="File of rows (.jsonl), in our form or OpenAI's.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; the same one goes on with a job.")],
    profile: Annotated[str, typer.Option(help="Profile that answers, its TOML file, or a folder.")] = "mini",
    seed: Annotated[int, typer.Option(min=0, help="For rows without a seed, together with their id.")] = 0,
    rows: Annotated[int, typer.Option(min=1, help="Rows that each LLM answers at a time.")] = 16,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Who answers: this process, or workers of a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster that is running: auto, or HOST:PORT.")
    ] = None,
    llm_workers: Annotated[int | None, typer.Option(min=1, help="Ray workers with an LLM.")] = None,
    generator_workers: Annotated[int | None, typer.Option(min=1, help="Ray workers with generators.")] = None,
    llm_gpus: Annotated[float | None, typer.Option(min=0, help="GPUs, or part of one, for each LLM.")] = None,
    generator_gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs, or part of one, for each worker with generators.")
    ] = None,
    worker_cpus: Annotated[float | None, typer.Option(min=0, help="Cores of each Ray worker.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look for rows that are wrong.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Move earlier results aside, and begin anew.")
    ] = False,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Go on although settings, models or rows were changed.")
    ] = False,
    media_root: Annotated[
        Path | None, typer.Option(help="Folder below which media lie; that of the rows by default.")
    ] = None,
    allow_hosts: Annotated[
        list[str] | None, typer.Option(help="Host from which media may be fetched; may be repeated.")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="Most bytes of a medium.")] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Most pixels of a picture.")] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Most frames of a clip.")] = None,
    max_seconds: Annotated[float | None, typer.Option(min=0.001, help="Longest clip or sound.")] = None,
    decode_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds that reading one medium may take.")
    ] = 10.0,
    json: Annotated[bool, typer.Option("--json", help="Print events as JSON, one a line.")] = False,
) -> None:
    """Answer all rows that have no answer yet. The same command goes on after Ctrl-C, a crash or a full disk.

    Ends with 1 where rows failed or are wrong; they are in errors.jsonl, and are tried again the next time.
    """
    from modaverse.batch.settings import BatchSettings
    from modaverse.cli.batch_job import answer_all, cluster_with, look_only, profile_with

    limits = {
        "max_bytes": max_bytes,
        "max_pixels": max_pixels,
        "max_frames": max_frames,
        "max_seconds": max_seconds,
    }
    cluster = cluster_with(
        engine,
        {
            "address": address,
            "llm_workers": llm_workers,
            "generator_workers": generator_workers,
            "llm_gpus": llm_gpus,
            "generator_gpus": generator_gpus,
            "worker_cpus": worker_cpus,
        },
    )
    known, media_limits = profile_with(profile, limits)
    settings = BatchSettings(
        fresh, allow_mixed, seed, media_root, tuple(allow_hosts or ()), media_limits, decode_seconds
    )
    if dry_run:
        raise typer.Exit(look_only(jobs, out, settings, json=json))
    finished = answer_all(jobs, out, known, settings, rows=rows, json=json, cluster=cluster)
    if finished.stopped and cluster is not None:
        raise typer.Exit(INTERRUPTED)  # the models are elsewhere, and are told
    if finished.stopped:
        # What was being made is given up. A model in the middle of a step would be waited for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    if finished.progress.failed or finished.progress.wrong:
        raise typer.Exit(1)


@batch.command()
@guarded
def status(
    folder: FolderArgument,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show where a job is, whether or not it is running."""
    from modaverse.batch.status import read_status
    from modaverse.cli.batch_job import show_status

    show_status(read_status(folder), json=json)


@batch.command()
@guarded
def report(folder: FolderArgument) -> None:
    """Write report.html from the results that are there, as a job does at its end."""
    from modaverse.batch.folder import Folder
    from modaverse.batch.report import write_report
    from modaverse.batch.status import read_status

    read_status(folder)  # which says what is wrong with a folder that has none
    print(write_report(Folder(folder)))
