"""Answering rows in this process, many at a time, with one `ModaVerse`.

    supply ─► rows in flight ─► LLM, encoder and pool, for all of them together ─► outcomes

A row that waits for a medium holds up no other; what a row says and makes is what it would alone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from modaverse.batch.engine import Supply
from modaverse.batch.identity import profile_identity
from modaverse.batch.values import Answered, Failed, Outcome, Request
from modaverse.context import Done, Event, GenerationFailed, GenerationProgress, MediaReady, Text
from modaverse.errors import ModaVerseError, ModelError, StorageError
from modaverse.many_answers import Row, Together
from modaverse.pipeline import AnswerStream, ModaVerse
from modaverse.reply import Reply

_GENERATED = GenerationProgress | MediaReady | GenerationFailed


@dataclass(slots=True)
class _Held:
    """A row in flight."""

    request: Request
    stream: AnswerStream
    begin: float = field(default_factory=time.perf_counter)
    last: float = field(default_factory=time.perf_counter)
    stages: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def look(self, event: Event | Exception) -> None:
        """Count the time since the last event for the stage that it went to."""
        now = time.perf_counter()
        self.stages["generators" if isinstance(event, _GENERATED) else "llm"] += now - self.last
        self.last = now


class LocalEngine:
    """Implements `engine.Engine`. What `models` makes lies in its folder.

    A row's `seconds` are those from its beginning to its end, in which other rows were answered as well.

    Args:
        rows: requests that are answered at a time; the LLM's memory of each takes room.
    """

    def __init__(self, models: ModaVerse, *, rows: int = 16) -> None:
        self._models = models
        self._rows = rows
        self._together: Together | None = None
        self._cancelled = False

    @property
    def in_flight(self) -> int:
        return self._rows

    def identity(self) -> Mapping[str, str]:
        return profile_identity(self._models.profile)

    def load(self) -> None:
        self._together = self._models.together()

    def answer(self, rows: Supply) -> Iterator[Outcome]:
        together = self._together = self._together or self._models.together()
        held: dict[Row, _Held] = {}
        more = True
        try:
            while (more or held) and not self._cancelled:
                while more and len(held) < self._rows and (not held or rows.ready()):
                    request = next(rows, None)
                    more = request is not None
                    if request is not None:
                        yield from self._admit(together, request, held)
                for row, event in together.step():
                    held[row].look(event)
                    if isinstance(event, Done | Exception):
                        yield _outcome(held.pop(row), event)
        finally:
            together.close()

    def cancel(self) -> None:
        self._cancelled = True
        self.wake()

    def wake(self) -> None:
        """Look for new rows now, also where all in flight wait for media. May be called from any thread."""
        if self._together is not None:
            self._together.wake()

    def close(self) -> None:
        self._models.close()

    def _admit(self, together: Together, request: Request, held: dict[Row, _Held]) -> Iterator[Failed]:
        """Take a row in, or say why it cannot be answered."""
        parts = [part.text if isinstance(part, Text) else part for part in request.parts]
        try:
            stream = self._models.stream(parts, seed=request.seed, **request.options.given())
        except (ModelError, StorageError):
            raise
        except ModaVerseError as error:
            yield _failed(request, error)
        else:
            held[together.admit(stream.steps, stream.transcript)] = _Held(request, stream)


def _outcome(row: _Held, end: Done | Exception) -> Outcome:
    """Raises:
    ModelError, StorageError: no other row can be answered either.
    """
    seconds = row.last - row.begin
    if isinstance(end, ModelError | StorageError):
        raise end
    if isinstance(end, Exception):
        return _failed(row.request, end, seconds, row.stages)
    return outcome_of(row.request.id, row.stream.reply(), seconds, row.stages)


def _failed(
    request: Request, error: Exception, seconds: float = 0.0, stages: Mapping[str, float] | None = None
) -> Failed:
    if isinstance(error, ModaVerseError):
        cause, hint = error.message, error.hint
    else:  # whatever a library makes of one row, the others are answered all the same
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        hint = "The next run tries it again; if it fails again, report it as a bug."
    return Failed(request.id, cause, hint, type(error).__name__, seconds, stages or {})


def outcome_of(row_id: str, reply: Reply, seconds: float, stages: Mapping[str, float]) -> Outcome:
    """What a reply means for its row: it failed if one of its generators did."""
    if not reply.failures:
        return Answered(row_id, reply, seconds, stages)
    first = reply.failures[0]
    calls = reply.meta_responses
    name = calls[first.call].model if first.call < len(calls) else f"call {first.call + 1}"
    return Failed(
        row_id, f"{name} made nothing: {first.cause}", first.hint, "GenerationError", seconds, stages, reply
    )
