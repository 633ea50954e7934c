"""`modaverse data convert` and `build`: what they do with their options, and what they show."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from modaverse.errors import InputError, SettingsError

if TYPE_CHECKING:
    from modaverse.data.building import Recipe
    from modaverse.data.captions import Captioned
    from modaverse.data.chat_endpoint import Endpoint
    from modaverse.data.entries import Places
    from modaverse.training.rows import Row

SHOWN = 20
"""Faults that are shown in full."""


@dataclass(frozen=True, slots=True)
class Job:
    """The options that `convert` and `build` have in common; see their help."""

    files: Sequence[Path]
    out: Path
    format: str | None
    media: Path | None
    wordings: Path | None
    seed: int
    skip_wrong: bool
    kinds: str = "input"
    per_medium: int = 1

    def recipe(self) -> Recipe:
        """
        Raises:
            SettingsError: there is no such kind of row.
        """
        from modaverse.data.building import Kind, Recipe

        names = list(dict.fromkeys(name.strip() for name in self.kinds.split(",")))
        for name in names:
            if name not in list(Kind):
                raise SettingsError(f"there is no kind of row {name!r}", hint=f"There are {', '.join(Kind)}.")
        return Recipe(tuple(map(Kind, names)), self.per_medium, self.seed)

    def places(self, file: Path) -> Places:
        from modaverse.data.entries import Places

        return Places(self.media or file.parent, self.out.parent)

    def captioned(self) -> Iterator[Captioned | InputError]:
        from modaverse.data.formats import read_captions

        return read_captions(self.files, self.places, self.format)


def convert_files(job: Job) -> None:
    """Write the rows of other formats, and say what came of it."""
    from modaverse.data.building import build
    from modaverse.data.formats import read_rows
    from modaverse.data.wordings import Wordings

    wordings, recipe = Wordings.load(job.wordings), job.recipe()

    def describe(captioned: Iterable[Captioned | InputError]) -> Iterable[Row | InputError]:
        return build(captioned, job.out.parent, wordings, recipe)

    _write(job, read_rows(job.files, job.places, describe, job.format))


def build_from_wordings(job: Job) -> None:
    """Write rows of captioned media, and say what came of it."""
    from modaverse.data.building import build
    from modaverse.data.wordings import Wordings

    _write(job, build(job.captioned(), job.out.parent, Wordings.load(job.wordings), job.recipe()))


def build_asking(job: Job, endpoint: Endpoint, cache: Path, *, concurrency: int) -> None:
    """Write rows that an endpoint makes; say what came of it and what it cost even where it was in vain."""
    from modaverse.cli.progress import terminated_is_interrupted
    from modaverse.data.asking import Prompts, ask_for_rows
    from modaverse.data.chat_endpoint import ChatClient

    if not endpoint.model:
        raise SettingsError("no model is named", hint="Name one of the endpoint's with --model.")
    client = ChatClient(endpoint, cache)
    rows = ask_for_rows(
        job.captioned(),
        job.out.parent,
        client,
        Prompts.load(job.wordings),
        job.recipe(),
        concurrency=concurrency,
        report=_progress(),
    )
    try:
        with terminated_is_interrupted():
            _write(job, rows)
    finally:
        print(client.bill.line(endpoint.prices))


def _progress() -> Callable[[int], None]:
    """A line on stderr each hundred rows."""

    def report(done: int) -> None:
        if done % 100 == 0:
            print(f"{done:,} rows", file=sys.stderr, flush=True)

    return report


def _write(job: Job, rows: Iterable[Row | InputError]) -> None:
    from modaverse.data.formats import write_rows

    written = write_rows(job.out, rows, skip_wrong=job.skip_wrong)
    for fault in written.faults[:SHOWN]:
        print(" ".join(f"{fault.message}  hint: {fault.hint}".splitlines()))
    if len(written.faults) > SHOWN:
        print(f"... and {len(written.faults) - SHOWN:,} more")
    if written.faults and not job.skip_wrong:
        print(f"nothing was written; {len(written.faults):,} wrong  (--skip-wrong leaves them out)")
        raise typer.Exit(2)
    left = f", {len(written.faults):,} left out" if written.faults else ""
    print(f"{job.out}: {written.rows:,} rows{left}")
