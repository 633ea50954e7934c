"""What answers rows. An engine may hold many at once and give them back in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from modaverse.batch.values import Outcome, Request


class Supply(Protocol):
    """The rows to answer, as an engine takes them."""

    def __iter__(self) -> Iterator[Request]: ...

    def __next__(self) -> Request:
        """The next row; waits for its media to be opened. Ends when there are no more, or the job stops."""
        ...

    def ready(self) -> bool:
        """Whether `next` answers at once, so that an engine with rows in flight need not wait for it."""
        ...


class Engine(Protocol):
    """Answers rows.

    `load` and `answer` run in one thread; `cancel` comes from another.
    """

    @property
    def in_flight(self) -> int:
        """The most rows that it takes before it has given an outcome back for the first of them."""
        ...

    def identity(self) -> Mapping[str, str]:
        """What decides the answers (profile, weights, version), each thing under its name.

        Raises:
            ModelNotFound: something is missing that can be seen to be missing without loading it.
        """
        ...

    def load(self) -> None:
        """Load what answering needs.

        Raises:
            ModelError: it cannot be used.
        """
        ...

    def answer(self, rows: Supply) -> Iterator[Outcome]:
        """One outcome for each row, in any order, each as soon as it is there.

        A row that fails is an outcome. What is raised ends the job: results cannot be written
        (`StorageError`), or a model cannot be used (`ModelError`).
        """
        ...

    def cancel(self) -> None:
        """Give up the rows in flight; `answer` ends soon. May be called from any thread."""
        ...

    def close(self) -> None:
        """Let go of models and workers."""
        ...
