"""What `modaverse eval` shows: a bar while it measures, and the table."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modaverse.cli.progress import terminated_is_interrupted
from modaverse.errors import SettingsError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from modaverse.toybox.evaluation.measuring import Measurement, Progress
    from modaverse.toybox.evaluation.row import Row


def run_evaluation(
    profile: str,
    names: str | None,
    folder: Path,
    *,
    limit: int | None,
    seed: int,
    threads: int | None,
    markdown: Path | None,
    json: bool,
    wrong: int,
    elsewhere: Mapping[str, Path],
) -> None:
    """Measure, show the table, and write it where it is wanted.

    Raises:
        SettingsError: there is no such row or part.
        ModelNotFound: a part that a row needs is not there.
        StorageError: the folder or the file cannot be written.
    """
    import torch

    from modaverse.media import write_bytes
    from modaverse.settings import load_profile
    from modaverse.toybox.evaluation import report
    from modaverse.toybox.evaluation.measuring import measure
    from modaverse.toybox.evaluation.parts import Parts

    if threads is not None:
        torch.set_num_threads(threads)
    rows = rows_named(names)
    parts = Parts(load_profile(profile), folder, elsewhere=elsewhere)
    with terminated_is_interrupted(), EvaluationDisplay() as display:
        measurement = measure(rows, parts, folder, limit=limit, seed=seed, report=display.report)
    if markdown is not None:
        write_bytes(report.markdown(measurement).encode(), markdown)
    if json:
        print(json_module.dumps(report.record(measurement), ensure_ascii=False))
    else:
        show(measurement)
        for line in report.examples(measurement, wrong) if wrong else ():
            print(line)


def rows_named(names: str | None) -> Sequence[Row]:
    from modaverse.toybox.evaluation.measuring import chosen
    from modaverse.toybox.evaluation.table import ROWS

    if names is None:
        return ROWS
    return chosen(ROWS, [name.strip() for name in names.split(",") if name.strip()])


def elsewhere(options: Sequence[str]) -> dict[str, Path]:
    """`name=FOLDER` options.

    Raises:
        SettingsError: one of them is not of that form.
    """
    folders = {}
    for option in options:
        name, sign, folder = option.partition("=")
        if not (name and sign and folder):
            raise SettingsError(f"--part {option} names no folder", hint="Write it as image=FOLDER.")
        folders[name] = Path(folder)
    return folders


def show_rows(names: str | None) -> None:
    from modaverse.toybox.evaluation.report import bar_text

    for row in rows_named(names):
        print(f"{row.name}  ({row.count} cases; {', '.join(row.needs)})\n    {row.title}")
        for bar in row.bars:
            print(f"      {bar.title} {bar_text(bar)}".rstrip())


def show(measurement: Measurement) -> None:
    """The table, as wide as the terminal, or as it needs to be in a file."""
    from rich.console import Console
    from rich.table import Table

    from modaverse.toybox.evaluation.report import HEADINGS, caveat, cells

    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=140)
    table = Table()
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in ("bar", "measured", "cases") else "left")
    before = ""
    for line in measurement.lines:
        title, *rest = cells(line)
        if before and title != before:
            table.add_section()
        table.add_row("" if title == before else title, *rest, style="red" if line.holds is False else None)
        before = title
    console.print(table)
    if caveat(measurement):
        console.print(caveat(measurement), style="bold")
    barred = [line for line in measurement.lines if line.holds is not None]
    minutes = sum(measurement.seconds.values()) / 60
    held = len(barred) - len(measurement.failing)
    console.print(f"{held} of {len(barred)} bars hold; measured in {minutes:.1f} minutes.")


class EvaluationDisplay:
    """Follows the rows on stderr: a bar each on a terminal, and otherwise a line now and then."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> EvaluationDisplay:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bars = Progress(*columns, console=Console(stderr=True))
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def report(self, progress: Progress) -> None:
        if self._bars is None:
            print(f"{progress.row}: {progress.done} of {progress.count}", file=sys.stderr, flush=True)
            return
        if progress.row not in self._tasks:
            self._tasks[progress.row] = self._bars.add_task(progress.row, total=progress.count)
        self._bars.update(self._tasks[progress.row], completed=progress.done)
