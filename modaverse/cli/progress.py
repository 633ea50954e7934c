"""Bars on a terminal, lines elsewhere: how long work is followed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bars:
    """A bar for each task, or a line for each report. A context manager: it leaves the terminal in order."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, name: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` steps of the task `name`."""
        if self._progress is None:
            self.line(f"{name} {done:,} of {total:,}{'  ' if note else ''}{note}")
            return
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)

    def line(self, text: str) -> None:
        """A line that stays."""
        if self._progress is None:
            print(text, flush=True)
        else:
            self._progress.console.print(text, highlight=False, markup=False)


def numbers(values: Mapping[str, float]) -> str:
    """Named numbers on one line, two spaces between them."""
    return "  ".join(f"{name} {value:.3f}" for name, value in values.items())


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


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """A function that is True once SIGINT or SIGTERM came, for work that ends by itself between two steps.

    A second Ctrl-C interrupts at once.
    """
    asked = False

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
