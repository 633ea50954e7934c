"""Folders for files that are needed only while something is in flight."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_LOCK = ".lock"


class OwnFolder:
    """A new folder below `base`, of this process alone. Those of processes that were killed are removed."""

    def __init__(self, base: Path | None = None, *, prefix: str = "modaverse-") -> None:
        base = base or Path(tempfile.gettempdir())
        _sweep(base, prefix)
        hidden = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=base))
        lock = os.open(hidden / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock: int | None = lock
        # Only now is it to be seen: an unlocked one would be taken for that of a killed process.
        self.path = hidden.rename(base / hidden.name.removeprefix("."))

    def remove(self) -> None:
        """Remove it with all that is in it; may be called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _sweep(base: Path, prefix: str) -> None:
    for lock in base.glob(f"{prefix}*/{_LOCK}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(descriptor)


class Scratch:
    """Folders below `root`, one after the other: a new one is begun after `turn` pieces of work, and an old
    one removed once nothing is in flight that began before its end. So what is in flight finds its files
    there without anybody counting them, and nothing piles up. Used by one thread.
    """

    def __init__(self, root: Path, *, turn: int = 256) -> None:
        self._root = root
        self._turn = turn
        self._number = 0  # of the folder that is written to
        self._begun = 0
        self._in_flight: Counter[int] = Counter()  # by the folder in which they began
        self._oldest = 0
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        """Where new files go. Any thread may ask."""
        return self._root / f"{self._number:06d}"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While something is in flight: files that are written from here on stay."""
        if self._begun == self._turn:
            self._begun = 0
            self._number += 1
            self.folder.mkdir(exist_ok=True)
        self._begun += 1
        number = self._number
        self._in_flight[number] += 1
        try:
            yield
        finally:
            self._in_flight[number] -= 1
            self._remove_old()

    def _remove_old(self) -> None:
        while self._oldest < self._number and not self._in_flight[self._oldest]:
            shutil.rmtree(self._root / f"{self._oldest:06d}", ignore_errors=True)
            del self._in_flight[self._oldest]
            self._oldest += 1
