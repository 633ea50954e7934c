"""Many answers at once: what several of them need next is done for all of them together.

    row 0   needs a token ──────┐
    row 1   needs a token ──────┴─► one step of the LLM
    row 2   needs an embedding ───► one run of the encoder, with those of other rows
    row 3   needs a medium ·······► goes on as soon as its generator is finished, and holds up nobody

Each row is the orchestrator's own answer, stopped where it says what it needs (`interfaces.Need`). Calls are
submitted as soon as they close, so that the pool has those of all rows before it; rows come and go at any
time. What a row says and makes is what it would say and make alone with the same seed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

from modaverse.context import Event
from modaverse.interfaces import (
    BatchLanguageModel,
    EmbeddingsNeeded,
    MediumNeeded,
    Need,
    TokenNeeded,
    Transcript,
)
from modaverse.orchestrator import Orchestrator

N = TypeVar("N", bound=Need)
Steps = Generator[Event | Need]
"""An answer, as `Orchestrator.steps` gives it."""


class Row:
    """One answer among others; `need` is what it stopped for."""

    def __init__(self, steps: Steps, transcript: Transcript) -> None:
        self.steps = steps
        self.transcript = transcript
        self.need: Need | None = None


News = tuple[Row, Event | Exception]
"""What happened in a row. After `Done`, or an exception, nothing more does."""


class Together:
    """Answers under way. One thread drives it; `wake` may come from any.

        together = Together(orchestrator)
        conversation = orchestrator.conversation()
        together.admit(orchestrator.steps(conversation, parts, settings), conversation.transcript)
        while together:
            for row, event in together.step(): ...

    With a `BatchLanguageModel` tokens are made together; any other LLM makes them row by row.

    Args:
        orchestrator: has the LLM, the encoder and the pool that all rows share.
    """

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        language = orchestrator.language
        self._language = language if isinstance(language, BatchLanguageModel) else None
        self._rows: dict[Row, None] = {}  # in the order in which they came
        self._new: list[Row] = []
        self._finished: SimpleQueue[Row | None] = SimpleQueue()  # rows whose call is; None wakes a step

    def __len__(self) -> int:
        """Rows under way."""
        return len(self._rows)

    def admit(self, steps: Steps, transcript: Transcript) -> Row:
        """Let an answer be a row: its steps, of which none was taken yet, and what it is written to. The next
        step sees to it.
        """
        row = Row(steps, transcript)
        self._rows[row] = None
        self._new.append(row)
        return row

    def step(self) -> list[News]:
        """Let every row go on that can, by one token at most, and say what happened. Waits only where all
        rows wait for media, until one is made or somebody calls `wake`.

        What goes wrong in a row ends that row, and is news; what is raised concerns all of them.
        """
        news = list(self._resume(self._begun()))
        news += self._resume(self._encoded())
        news += self._resume(self._decoded())
        return news

    def cancel(self, row: Row) -> None:
        """Give a row up: its calls are cancelled, and its conversation is as it was before the request."""
        if row in self._rows:
            row.steps.close()
            self._end(row)

    def close(self) -> None:
        """Give up all rows."""
        for row in list(self._rows):
            self.cancel(row)

    def wake(self) -> None:
        """Let a step that waits come back."""
        self._finished.put(None)

    # ------------------------------------------------------------------------------ what rows need

    def _begun(self) -> list[Row]:
        """Rows that are new, and those whose medium is there."""
        rows, self._new = self._new, []
        busy = bool(rows) or any(not isinstance(row.need, MediumNeeded) for row in self._rows)
        try:
            while True:
                row = self._finished.get(block=not busy and bool(self._rows))
                busy = True
                if row is not None and row in self._rows:
                    rows.append(row)
        except Empty:
            return rows

    def _encoded(self) -> list[Row]:
        """Rows that needed embeddings. Where the encoder fails, each asks again for its own."""
        rows = self._needing(EmbeddingsNeeded)
        media = [medium for _, need in rows for medium in need.media]
        with suppress(Exception):  # one of the media is to blame, and only its row is to fail
            self._orchestrator.embeddings.media(media)
        return [row for row, _ in rows]

    def _decoded(self) -> list[Row]:
        """Rows that needed a token, and have it."""
        rows = self._needing(TokenNeeded)
        if self._language is None or not rows:
            return [row for row, _ in rows]
        drawn = {id(need) for need in self._language.step([need for _, need in rows])}
        return [row for row, need in rows if id(need) in drawn]

    def _needing(self, kind: type[N]) -> list[tuple[Row, N]]:
        return [(row, row.need) for row in self._rows if isinstance(row.need, kind)]

    # -------------------------------------------------------------------------------------- going on

    def _resume(self, rows: Iterable[Row]) -> Iterator[News]:
        for row in rows:
            try:
                yield from self._go_on(row)
            except Exception as error:  # whatever it is, the other rows have nothing to do with it
                self._end(row)
                yield row, error

    def _go_on(self, row: Row) -> Iterator[News]:
        """What happens in a row until it needs something again, or is at its end."""
        row.need = None
        for step in row.steps:
            if not isinstance(step, Need):
                yield row, step
                continue
            row.need = step
            if isinstance(step, MediumNeeded):
                step.pending.when_done(partial(self._finished.put, row))
            return
        self._end(row)

    def _end(self, row: Row) -> None:
        self._rows.pop(row, None)
        if self._language is not None:
            self._language.release(row.transcript)
