"""Where a job is, as its folder tells; whether or not a process is at work on it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from modaverse.batch.folder import Folder
from modaverse.batch.index import Index
from modaverse.batch.journal import read_entries
from modaverse.errors import DataError
from modaverse.media.files import shown


@dataclass(frozen=True, slots=True)
class Status:
    """Rows of a job by what became of them. `rate` (rows per second) and `time_left` (seconds) are those of
    the run that is `running`, and None where none is.
    """

    folder: Path
    jobs: str
    rows: int
    answered: int
    failed: int
    wrong: int
    running: bool
    rate: float | None
    time_left: float | None

    @property
    def left(self) -> int:
        """Rows that were not tried since they are there."""
        return max(0, self.rows - self.answered - self.failed - self.wrong)


def read_status(path: Path) -> Status:
    """The status of the job whose results lie in a folder.

    Raises:
        DataError: none lie there, or they cannot be read.
    """
    folder = Folder(path)
    record = folder.read_record()
    if not record.jobs:
        raise DataError(f"{shown(path)} holds no results of a batch", hint="Name the folder given as --out.")
    running = folder.in_use()
    with Index() as index:
        folder.read_into(index)
        folder.read_failures_into(index)
        answered, failed = index.answered(), index.failed()
    wrong = sum(entry["found"] == "check" for entry, _ in read_entries(folder.errors))
    rate = time_left = None
    if running:
        seconds = max(time.time() - record.started, 1e-3)
        rate = (answered - record.answered) / seconds
        time_left = (record.rows - answered - failed - wrong) / rate if rate > 0 else None
    return Status(path, record.jobs, record.rows, answered, failed, wrong, running, rate, time_left)
