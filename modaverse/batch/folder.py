"""The folder of results, what lies in it, who may write there, and what two runs into it must agree on.

results.jsonl   an entry for each row that was answered, added as it was finished and never changed
errors.jsonl    an entry for each row that is wrong or failed; those of rows answered since are dropped
media/          what was made, and given media that were no files
report.html     all of it to look through
run.json        profiles and weights of the runs, and how the last one began
earlier/        what lay here before runs with `--fresh`
.lock           held by the one process that writes here
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from modaverse.batch.entries import Entry, decode, encode
from modaverse.batch.index import Index
from modaverse.batch.journal import read_entries, storing
from modaverse.batch.values import Form
from modaverse.errors import DataError, InputError, SettingsError
from modaverse.media import write_bytes
from modaverse.media.files import shown

_RESULTS = ("results.jsonl", "errors.jsonl", "report.html", "run.json", "media")


@dataclass(frozen=True, slots=True)
class Record:
    """What run.json holds. `identities` has one table for each kind of run whose answers lie here; an entry
    names its own by its number. `rows` and `answered` are those at the beginning of the last run, which began
    at `started` (seconds since 1970).
    """

    jobs: str = ""
    rows: int = 0
    answered: int = 0
    started: float = 0.0
    identities: tuple[Mapping[str, str], ...] = field(default=(), hash=False)


class Folder:
    """A folder of results. Reading needs nothing else; writing needs `locked`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results.jsonl"
        self.errors = path / "errors.jsonl"
        self.media = path / "media"
        self.report = path / "report.html"
        self._record = path / "run.json"
        self._lock = path / ".lock"
        self._draft = path / "errors.jsonl.part"

    # ---------------------------------------------------------------------------------- who writes

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and be the only one who writes there. The system lets go for a killed process.

        Raises:
            InputError: another process is writing there.
            StorageError: the folder cannot be made.
        """
        with storing(self.path):
            self.media.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
                raise InputError(
                    f"{shown(self.path)}: another process is writing there (number {holder})",
                    hint="Wait for it, or name another folder with --out.",
                ) from None
            with storing(self.path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            self._sweep()
            yield
        finally:
            os.close(descriptor)

    def in_use(self) -> bool:
        """Whether a process is writing there just now."""
        try:
            descriptor = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _sweep(self) -> None:
        """Remove what a killed process had not finished writing; nothing refers to it."""
        with storing(self.path):
            self._draft.unlink(missing_ok=True)
            for path in (*self.media.glob(".*"), *self.path.glob(".report-*")):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def set_aside(self) -> Path | None:
        """Move all results to earlier/0001, 0002, …, and give its path; None where there are none.

        Raises:
            StorageError: they cannot be moved.
        """
        there = [self.path / name for name in _RESULTS if (self.path / name).exists()]
        if not self.results.exists() and not self.errors.exists():
            return None
        with storing(self.path):
            earlier = self.path / "earlier"
            earlier.mkdir(exist_ok=True)
            taken = [int(path.name) for path in earlier.iterdir() if path.name.isdigit()]
            place = earlier / f"{max(taken, default=0) + 1:04d}"
            place.mkdir()
            for path in there:
                path.rename(place / path.name)
            self.media.mkdir()
        return place

    # ------------------------------------------------------------------------------ what lies there

    def read_into(self, index: Index) -> int:
        """Tell the index which rows were answered; bytes of the whole lines of results.jsonl.

        Raises:
            DataError: the file is damaged.
        """
        whole = 0
        for entry, end in read_entries(self.results):
            index.add_answer(entry["id"], entry["digest"])
            whole = end
        return whole

    def read_failures_into(self, index: Index) -> int:
        """Tell the index the last failure of each row; the number of entries in errors.jsonl.

        Raises:
            DataError: the file is damaged.
        """
        count = 0
        for entry, _ in read_entries(self.errors):
            if entry["found"] == "run":
                index.add_failure(entry["id"], count)
            count += 1
        return count

    @contextlib.contextmanager
    def new_errors(self) -> Iterator[ErrorsDraft]:
        """An errors.jsonl in the making, which takes the place of the old one when it is `finished`.

        Raises:
            StorageError: it cannot be written.
        """
        with storing(self._draft):
            draft = ErrorsDraft(self._draft, self.errors)
            try:
                yield draft
            finally:
                draft.close()

    def settle_errors(self, index: Index) -> None:
        """Drop from errors.jsonl the rows that were answered, and all but the last failure of each other.

        Raises:
            StorageError: it cannot be written; the old one stays.
        """
        with self.new_errors() as draft:
            draft.keep(index, faults=True)
            draft.finished()

    # ---------------------------------------------------------------------------- what runs agree on

    def read_record(self) -> Record:
        """What run.json says; an empty record where there is none.

        Raises:
            DataError: it cannot be read.
        """
        try:
            values = json.loads(self._record.read_bytes())
            values["identities"] = tuple(values["identities"])
            return Record(**values)
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{shown(self._record)} cannot be read: {error}", hint="Begin anew with --fresh."
            ) from error

    def write_record(self, record: Record) -> None:
        """
        Raises:
            StorageError: it cannot be written.
        """
        write_bytes((json.dumps(asdict(record), indent=2) + "\n").encode(), self._record)

    def agree(
        self, identity: Mapping[str, str], known: tuple[Mapping[str, str], ...], *, mixed: bool
    ) -> tuple[tuple[Mapping[str, str], ...], int]:
        """The identities of a run's answers and the `known` ones, and this one's number among them.

        Raises:
            SettingsError: the answers that lie here were made otherwise, and `mixed` does not allow that.
        """
        if identity in known and (mixed or len(known) == 1):
            return known, known.index(identity)
        if known and not mixed:
            differing = differences(known[-1], identity)
            raise SettingsError(
                f"{shown(self.path)} has answers of another run: {'; '.join(differing)}",
                hint="Name another folder, begin anew with --fresh, or go on with --allow-mixed.",
            )
        return (*known, identity), len(known)


class ErrorsDraft:
    """The lines of errors.jsonl, written anew beside it."""

    def __init__(self, path: Path, target: Path) -> None:
        self._path, self._target = path, target
        self._file = path.open("wb")

    def add(self, entry: Entry, form: Form) -> None:
        self._file.write(encode(entry, form))

    def keep(self, index: Index, *, faults: bool) -> None:
        """Copy from the old file the last failure of each row that was not answered since; with `faults`,
        also what is wrong with lines.
        """
        if not self._target.exists():
            return
        with self._target.open("rb") as old:
            for number, line in enumerate(old):
                try:
                    entry = decode(line)
                except ValueError:
                    continue  # what is left of a last line
                if entry["found"] == "check":
                    wanted = faults
                else:
                    known = index.find(entry["id"])
                    wanted = (
                        known is not None
                        and known.digest is None
                        and known.line is not None
                        and known.failure == number
                    )
                if wanted:
                    self._file.write(line)

    def finished(self) -> int:
        """Put it in the place of the old file; its size in bytes."""
        size = self._file.tell()
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._path, self._target)
        return size

    def close(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two identities, each as "name was A and is B"."""
    names = sorted(before.keys() | now.keys())
    return [
        f"{name} was {before.get(name, 'absent')} and is {now.get(name, 'absent')}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def begun(jobs: Path, rows: int, answered: int, identities: tuple[Mapping[str, str], ...]) -> Record:
    """The record of a run that begins now."""
    return Record(str(jobs), rows, answered, round(time.time(), 3), identities)
