"""Which rows there are and what became of them, for any number of rows in little memory.

It lies in a private temporary database, of which SQLite keeps two megabytes in memory and the rest in a file
that vanishes with it. Nothing in it has to last: it is read from the files each time.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an id: its line in the file of jobs (None while that was not read), the digest of the
    row that was answered (None where none was), and the number of its last failure (-1 for none).
    """

    line: int | None
    digest: str | None
    failure: int


class Index:
    """Rows by id. Any thread may use it. A context manager."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(
            "CREATE TABLE rows (id TEXT PRIMARY KEY, line INTEGER, digest TEXT, "
            "failure INTEGER NOT NULL DEFAULT -1) WITHOUT ROWID"
        )

    def find(self, row_id: str) -> Known | None:
        """What is known of an id."""
        found = self._run("SELECT line, digest, failure FROM rows WHERE id = ?", row_id)
        return Known(*found[0]) if found else None

    def add_line(self, row_id: str, line: int) -> None:
        """The row stands in this line of the file of jobs."""
        self._set("line", row_id, line)

    def add_answer(self, row_id: str, digest: str) -> None:
        """The row was answered; `digest` is that of the row as it then was."""
        self._set("digest", row_id, digest)

    def add_failure(self, row_id: str, number: int) -> None:
        """The row failed; `number` is that of the entry that says so, later ones having higher numbers."""
        self._set("failure", row_id, number)

    def forget_failures(self) -> None:
        """Before the entries of failures are read anew, and have other numbers."""
        self._run("UPDATE rows SET failure = -1 WHERE failure >= 0")

    def answered(self) -> int:
        """How many rows were answered."""
        return int(self._run("SELECT count(*) FROM rows WHERE digest IS NOT NULL")[0][0])

    def failed(self) -> int:
        """How many rows failed and were not answered since."""
        return int(self._run("SELECT count(*) FROM rows WHERE digest IS NULL AND failure >= 0")[0][0])

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set(self, column: str, row_id: str, value: str | int) -> None:
        self._run(
            f"INSERT INTO rows (id, {column}) VALUES (?1, ?2) "
            f"ON CONFLICT (id) DO UPDATE SET {column} = excluded.{column}",
            row_id,
            value,
        )

    def _run(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()
