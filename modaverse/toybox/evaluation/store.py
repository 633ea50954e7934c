"""Outcomes on disk, so that a measurement that was killed goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modaverse.errors import DataError, StorageError
from modaverse.toybox.evaluation.row import Outcome


class Outcomes:
    """`outcomes.jsonl` in a run's folder: one line a case, appended as soon as its chunk is done.

    A line that was cut off when the process died is dropped; of two lines with one key the later counts.

    Raises:
        StorageError: the folder cannot be written.
        DataError: the file holds lines that are none of these.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outcomes.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            content = self.path.read_bytes() if self.path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                os.truncate(self.path, len(whole))
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._known: dict[str, tuple[Outcome, float]] = {}
        for number, line in enumerate(whole.splitlines(), start=1):
            key, outcome, seconds = _parsed(line, f"{self.path}:{number}")
            self._known[key] = outcome, seconds

    def find(self, key: str) -> Outcome | None:
        found = self._known.get(key)
        return None if found is None else found[0]

    def seconds(self, key: str) -> float:
        """What the case took, its share of its chunk."""
        return self._known[key][1]

    def append(self, row: str, keys: Sequence[str], outcomes: Sequence[Outcome], seconds: float) -> None:
        """Keep the outcomes of a chunk that took `seconds` in all.

        Raises:
            StorageError: they cannot be written.
        """
        each = seconds / max(1, len(keys))
        lines = []
        for key, outcome in zip(keys, outcomes, strict=True):
            self._known[key] = outcome, each
            record = {
                "row": row,
                "key": key,
                "case": outcome.case,
                "marks": dict(outcome.marks),
                "numbers": dict(outcome.numbers),
                "facts": dict(outcome.facts),
                "seconds": round(each, 4),
            }
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error


def _parsed(line: bytes, where: str) -> tuple[str, Outcome, float]:
    try:
        record: dict[str, Any] = json.loads(line)
        outcome = Outcome(record["case"], record["marks"], record["numbers"], record["facts"])
        return str(record["key"]), outcome, float(record["seconds"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where} is no outcome of a case", hint="Give another folder to --out.") from error


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}", hint="Check the free space, or give --out."
    )
