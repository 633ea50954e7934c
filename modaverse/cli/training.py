"""What a training run shows: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from modaverse.toybox.recipes.trainer import Progress


def train_part(part: str, runs: Path, *, resume: bool, threads: int | None, steps: int | None) -> None:
    """Train every recipe of a part of `mini`, each in its own folder below `runs`.

    Raises:
        SettingsError: there is no such part.
        ModaVerseError: a loss was not finite, or a checkpoint cannot be used or written.
    """
    import torch

    from modaverse.toybox.recipes.registry import recipes
    from modaverse.toybox.recipes.trainer import train

    if threads is not None:
        torch.set_num_threads(threads)
    with terminated_is_interrupted(), TrainingDisplay() as display:
        for recipe in recipes(part, runs, display.rendering):
            display.begin(recipe.name)
            folder = runs / recipe.name
            train(recipe, folder, report=display.report, resume=resume, stop_after=steps)
            display.end(folder)


class TrainingDisplay:
    """Follows renders and steps. Used as a context manager, so that the terminal is left in order."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._name = ""

    def __enter__(self) -> TrainingDisplay:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def rendering(self, done: int, count: int) -> None:
        """`done` of `count` renders of a pool are made."""
        if self._bars is None:
            print(f"rendered {done:,} of {count:,}", flush=True)
            return
        self._advance("rendering", done, count, "")

    def begin(self, name: str) -> None:
        self._name = name
        self._task = None
        if self._bars is None:
            print(f"training {name}", flush=True)

    def report(self, progress: Progress) -> None:
        """A step that the trainer reports."""
        note = f"loss {progress.loss:.4f}{numbers(progress.measures)}"
        if progress.evaluation is not None:
            line = f"{self._name} {progress.step:,}: evaluation{numbers(progress.evaluation)}"
            self._bars.console.print(line, highlight=False) if self._bars else print(line, flush=True)
        if self._bars is None:
            pace = f"{progress.seconds_per_step:.2f} s a step"
            print(f"{self._name} {progress.step:,} of {progress.steps:,}  {note}  {pace}", flush=True)
            return
        self._advance(self._name, progress.step, progress.steps, note)

    def end(self, folder: Path) -> None:
        line = f"{self._name}: {folder}"
        self._bars.console.print(line, highlight=False) if self._bars else print(line, flush=True)
        self._task = None

    def _advance(self, name: str, done: int, total: int, note: str) -> None:
        if self._bars is None:
            return
        if self._task is None or self._bars.tasks[self._task].description != name:
            self._task = self._bars.add_task(name, total=total, note=note)
        self._bars.update(self._task, completed=done, total=total, note=note)


def numbers(values: Mapping[str, float]) -> str:
    """Named numbers on one line, each with a space before it."""
    return "".join(f"  {name} {value:.3f}" for name, value in values.items())


@contextmanager
def terminated_is_interrupted() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that a run which is told to end saves where it is."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
