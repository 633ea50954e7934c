"""What `modaverse data validate` finds in rows; one fault does not hide those of other rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modaverse.errors import InputError
from modaverse.training.dataset import row_files
from modaverse.training.rows import CallPart, MediaPart, from_json, jsonl_lines
from modaverse.training.sources import SourceReader


@dataclass
class Tally:
    """What was read, and the first fault of each row that has one."""

    rows: int = 0
    turns: int = 0
    media: int = 0
    calls: int = 0
    faults: list[InputError] = field(default_factory=list)


def validated(paths: Sequence[Path], *, media: bool) -> Tally:
    """Read all rows of files and folders, and their media where `media` is set.

    Raises:
        DataError: a file of rows cannot be read at all.
    """
    tally = Tally()
    reader = SourceReader()
    for path in row_files(paths):
        for number, line in jsonl_lines(path):
            where = f"{path}:{number}"
            tally.rows += 1
            try:
                row = from_json(line, where=where)
                parts = [part for turn in row.turns for part in turn.parts]
                uris = [part.uri for part in parts if isinstance(part, MediaPart)]
                tally.turns += len(row.turns)
                tally.media += len(uris)
                tally.calls += sum(isinstance(part, CallPart) for part in parts)
                for uri in uris if media else ():
                    reader.read(uri, path.parent, where)
            except InputError as error:
                tally.faults.append(error)
    return tally
