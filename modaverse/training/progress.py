"""What a run tells while it goes on: values for whoever shows them, and a log on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modaverse.errors import StorageError

if TYPE_CHECKING:
    from modaverse.training.curves import Board

StageName = Literal["rows", "features", "projectors", "all"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: `done` of `total` rows, media (of stage `features`) or steps of the optimiser.

    `loss` is the mean over the steps since the last report, a sampled token's cross-entropy in nats.
    `evaluation` is None between evaluations. `rows_per_second` is that of all processes together.
    """

    stage: StageName
    done: int
    total: int
    loss: float | None = None
    evaluation: Mapping[str, float] | None = None
    rows_per_second: float | None = None


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class LogRow:
    """One line of the log: means and sums since the line before, and the parts' learning rates."""

    stage: StageName
    step: int
    epoch: float
    loss: float | None = None
    gradient: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    rows: int | None = None
    positions: int | None = None
    seconds: float | None = None
    evaluation: Mapping[str, float] | None = None


class LossLog:
    """The log of a run, one JSON object a line. A resumed run goes on as if it had never stopped.

    Raises (every method):
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path, board: Board | None = None) -> None:
        self.path = path
        self._board = board

    def begin(self, stage: StageName, step: int) -> None:
        """Forget what a run that was killed did after the checkpoint from which this one goes on."""
        kept: list[dict[str, Any]] = []
        for row in read_log(self.path):
            if row["stage"] == stage and row["step"] > step:
                break
            kept.append(row)
        lines = "".join(json.dumps(row) + "\n" for row in kept)
        scratch = self.path.with_name(self.path.name + ".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_text(lines, encoding="utf-8")
            os.replace(scratch, self.path)
        except OSError as error:
            raise self._unwritable(error) from error
        if self._board is not None:
            self._board.begin(stage, step)

    def add(self, row: LogRow) -> None:
        values = {name: value for name, value in asdict(row).items() if value not in (None, {})}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
            if self._board is not None:
                self._board.add(row)
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(
            f"The log {self.path} cannot be written: {error.strerror or error}",
            hint="Free some space, then resume; the last checkpoint is kept.",
        )


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log, in order; a last line that was cut off by a kill is left out."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
    return rows
