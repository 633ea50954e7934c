"""Files that only grow, one line for each finished row, which a killed process leaves readable.

A line goes to the operating system whole, in one write, as soon as its row is finished: from there on a
killed process loses nothing. Against a failing machine the file is synchronised too, at most once in
`SYNC_SECONDS`, since that costs milliseconds each time; rows of the last moments are then computed again.
The media that a line names were synchronised before it was written, each when it was renamed into place.

What a machine that failed, or a disk that was full, left of a last line is cut off when the file is opened.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from modaverse.batch.entries import Entry, decode
from modaverse.errors import DataError, StorageError
from modaverse.media.files import shown

SYNC_SECONDS = 1.0


class Journal:
    """One such file, open for appending. A context manager.

    Args:
        size: bytes of its whole lines; what comes after them is cut off.

    Raises:
        StorageError: it cannot be opened.
    """

    def __init__(self, path: Path, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        with storing(path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.ftruncate(self._descriptor, size)
            os.lseek(self._descriptor, size, os.SEEK_SET)
        self._size = size
        self._synced = clock()

    def append(self, line: bytes) -> None:
        """Write a line, or nothing of it.

        Raises:
            StorageError: it cannot be written (disk full).
        """
        with storing(self.path):
            try:
                written = 0
                while written < len(line):
                    written += os.write(self._descriptor, line[written:])
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                    os.lseek(self._descriptor, self._size, os.SEEK_SET)
                raise
            self._size += len(line)
            if self._clock() - self._synced >= SYNC_SECONDS:
                self.sync()

    def sync(self) -> None:
        """Make sure that what was written outlives the machine's failure.

        Raises:
            StorageError: the disk failed.
        """
        with storing(self.path):
            os.fsync(self._descriptor)
        self._synced = self._clock()

    def close(self) -> None:
        if self._descriptor < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_entries(path: Path) -> Iterator[tuple[Entry, int]]:
    """The entries of a file, each with the place where its line ends; none where there is no file.

    What is left of a line at the end is passed over.

    Raises:
        DataError: a line in the middle was damaged, or the file cannot be read.
    """
    end, broken = 0, 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    if not line.endswith(b"\n"):
                        raise ValueError("the line was cut off")
                    entry = decode(line)
                except ValueError:
                    broken = broken or number
                    continue
                if broken:
                    raise DataError(
                        f"{shown(path)}:{broken}: the line is damaged",
                        hint="Remove it; its row is then computed again.",
                    )
                end += len(line)
                yield entry, end
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(
            f"cannot read {shown(path)}: {error.strerror or error}",
            hint="Check the disk and the permissions.",
        ) from error


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """What a disk refuses inside is a `StorageError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{shown(path)}: cannot be written ({error.strerror or error})",
            hint="Free some space; the same command then goes on.",
        ) from error
