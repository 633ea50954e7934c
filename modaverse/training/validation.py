"""What is wrong with files of rows: all of it, with file and line, so that a data set is mended in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modaverse.errors import InputError
from modaverse.media.files import shown
from modaverse.metaresponse import Catalogue
from modaverse.training.dataset import row_files
from modaverse.training.rows import CallPart, MediaPart, Row, examine, jsonl_lines
from modaverse.training.sources import Source, SourceReader


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `line` counts from 1; it is None where the file itself cannot be read."""

    file: Path
    line: int | None
    message: str
    hint: str

    @property
    def where(self) -> str:
        return shown(self.file) if self.line is None else f"{shown(self.file)}:{self.line}"


@dataclass
class Tally:
    """What was read, and everything that is wrong with it."""

    files: int = 0
    rows: int = 0
    turns: int = 0
    media: int = 0
    calls: int = 0
    wrong: int = 0
    """Rows with at least one fault."""
    faults: list[Fault] = field(default_factory=list)


def validate(paths: Sequence[Path], *, media: bool = True, catalogue: Catalogue | None = None) -> Tally:
    """Read all rows of files and folders, and every medium that they name.

    Args:
        media: decode the media too, each once, as training would.
        catalogue: what may be called; without one, any model with any options may.

    Raises:
        DataError: a path does not exist, or a folder holds no rows.
    """
    tally = Tally()
    check = MediaCheck() if media else None
    for path in row_files(paths):
        tally.files += 1
        try:
            for number, line in jsonl_lines(path):
                where = f"{path}:{number}"
                row, faults = examine(line, where=where)
                found: list[InputError] = list(faults)
                tally.rows += 1
                if row is not None:
                    _count(row, tally)
                    found += call_faults(row, catalogue, where) if catalogue is not None else ()
                    found += check.faults(row, path.parent, where) if check is not None else ()
                tally.wrong += bool(found)
                tally.faults += (Fault(path, number, _after(where, e.message), e.hint) for e in found)
        except InputError as error:  # of the file as a whole: the others are still looked at
            tally.faults.append(Fault(path, None, error.message, error.hint))
    return tally


def _count(row: Row, tally: Tally) -> None:
    tally.turns += len(row.turns)
    for turn in row.turns:
        tally.media += sum(isinstance(part, MediaPart) for part in turn.parts)
        tally.calls += sum(isinstance(part, CallPart) for part in turn.parts)


def _after(where: str, message: str) -> str:
    """A message without its place, which a `Fault` has apart."""
    return message.removeprefix(where).removeprefix(":").strip()


class MediaCheck:
    """Decodes media and remembers what came of it, so that each is decoded once however many rows name it."""

    def __init__(self) -> None:
        self._reader = SourceReader()
        self._known: dict[str, InputError | None] = {}

    def faults(self, row: Row, folder: Path, where: str) -> Iterator[InputError]:
        """Why media of a row cannot be used."""
        for part in row.media:
            try:
                source = self._reader.read(part.uri, folder, where)
            except InputError as error:
                yield error
                continue
            fault = self._decoded(source)
            if fault is not None:
                yield fault

    def _decoded(self, source: Source) -> InputError | None:
        if source.identity not in self._known:
            try:
                source.decode()
                self._known[source.identity] = None
            except InputError as error:
                self._known[source.identity] = error
        return self._known[source.identity]


def call_faults(row: Row, catalogue: Catalogue, where: str) -> Iterator[InputError]:
    """Calls that no generator of `catalogue` would take."""
    for index, turn in enumerate(row.turns):
        for place, part in enumerate(turn.parts):
            if isinstance(part, CallPart):
                fault = _call_fault(part, catalogue)
                if fault:
                    yield InputError(
                        f"{where}: turns[{index}].parts[{place}]: {fault}",
                        hint=f"The profile's generators take {catalogue.names}.",
                    )


def _call_fault(call: CallPart, catalogue: Catalogue) -> str:
    spec = catalogue.get(call.model)
    if spec is None:
        return f"nothing answers to {call.model}"
    if len(call.input) > spec.max_input_chars:
        return (
            f"the input has {len(call.input):,} characters, and {call.model} takes {spec.max_input_chars:,}"
        )
    if (spec.source is None) != (call.source is None):
        return f"{call.model} takes {'no source' if spec.source is None else f'a source ({spec.source})'}"
    return catalogue.option_faults(call.model, call.options, "options")
