"""What a batch job tells while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job is. `earlier` runs answered some of the `rows`; this one `answered` and `failed` others.

    `wrong` rows cannot be answered. `rate` is in rows per second, of this run, and `time_left` in seconds
    (None before the first row is finished). `stages` says for each stage how many rows were in it at a time,
    on average: 1 is one worker kept busy.
    """

    rows: int
    earlier: int
    answered: int
    failed: int
    wrong: int
    in_flight: int
    seconds: float
    rate: float
    time_left: float | None
    stages: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def done(self) -> int:
        """Rows of which is known what becomes of them in this run."""
        return self.earlier + self.answered + self.failed + self.wrong


@dataclass(frozen=True, slots=True)
class SetAside:
    """The results of earlier runs lie in this folder now."""

    folder: Path


@dataclass(frozen=True, slots=True)
class RowWrong:
    """A line that is no row to answer, found before any model was loaded."""

    line: int
    id: str | None
    cause: str
    hint: str


@dataclass(frozen=True, slots=True)
class Checked:
    """All rows were read: how many there are, were answered earlier, are to do, are wrong."""

    rows: int
    answered: int
    to_do: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Started:
    """Models are loaded and `rows` are being answered."""

    rows: int


@dataclass(frozen=True, slots=True)
class RowAnswered:
    """A row's result is in the file."""

    id: str
    line: int
    seconds: float
    media: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class RowFailed:
    """A row could not be answered; the next run tries it again."""

    id: str
    line: int
    cause: str
    hint: str
    progress: Progress


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of this run. `left` rows were not tried; `stopped` because somebody wanted that.

    `abandoned` means that the engine did not end in time, so that the process should.
    """

    progress: Progress
    left: int
    stopped: bool
    abandoned: bool


BatchEvent = SetAside | RowWrong | Checked | Started | RowAnswered | RowFailed | Finished
