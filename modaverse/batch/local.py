"""Answering rows in this process, one after the other, with one `ModaVerse`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from modaverse.batch.engine import Supply
from modaverse.batch.identity import profile_identity
from modaverse.batch.values import Answered, Failed, Outcome, Request
from modaverse.context import GenerationFailed, GenerationProgress, MediaReady, Text
from modaverse.errors import GenerationError, InputError, ModelError, StorageError
from modaverse.pipeline import ModaVerse
from modaverse.reply import Reply


class LocalEngine:
    """Implements `engine.Engine`. What `models` makes lies in its folder."""

    in_flight = 1

    def __init__(self, models: ModaVerse) -> None:
        self._models = models
        self._cancelled = False

    def identity(self) -> Mapping[str, str]:
        return profile_identity(self._models.profile)

    def load(self) -> None:
        self._models.load()

    def answer(self, rows: Supply) -> Iterator[Outcome]:
        for row in rows:
            begin = time.perf_counter()
            stages: defaultdict[str, float] = defaultdict(float)
            try:
                reply = self._reply(row, stages)
            except (InputError, GenerationError) as error:
                seconds = time.perf_counter() - begin
                yield Failed(row.id, error.message, error.hint, type(error).__name__, seconds, stages)
            except (ModelError, StorageError):
                raise
            except Exception as error:
                # Whatever a library makes of one row, the others are answered all the same.
                cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
                seconds = time.perf_counter() - begin
                hint = "The next run tries it again; if it fails again, report it as a bug."
                yield Failed(row.id, cause, hint, type(error).__name__, seconds, stages)
            else:
                if reply is None:
                    return
                yield outcome_of(row.id, reply, time.perf_counter() - begin, stages)

    def cancel(self) -> None:
        self._cancelled = True

    def close(self) -> None:
        self._models.close()

    def _reply(self, row: Request, stages: defaultdict[str, float]) -> Reply | None:
        """The reply to a row, or None where it was given up."""
        parts = [part.text if isinstance(part, Text) else part for part in row.parts]
        stream = self._models.stream(parts, seed=row.seed, **row.options.given())
        last = time.perf_counter()
        try:
            for event in stream:
                now = time.perf_counter()
                generated = isinstance(event, GenerationProgress | MediaReady | GenerationFailed)
                stages["generators" if generated else "llm"] += now - last
                last = now
                if self._cancelled:
                    return None
            return stream.reply()
        finally:
            stream.close()


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
