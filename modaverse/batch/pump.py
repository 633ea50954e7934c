"""Two threads that keep an engine busy: one opens the media of rows ahead of it, one runs it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from modaverse.batch.engine import Engine
from modaverse.batch.values import Failed, Job, Outcome, Request
from modaverse.errors import InputError

GRACE = 1.2
"""Seconds that rows in flight have to finish when a job is stopped."""
_LOOK = 0.1  # seconds between looks at whether to stop, while there is nothing to do


class Sign(Enum):
    """What a pump says besides outcomes."""

    LOADED = "the engine is ready to answer"
    ENDED = "the engine has answered all that it took"


Item = Sign | tuple[Job, Outcome] | BaseException


class Rows:
    """Rows that are ready for the engine, at most `ahead` of them; implements `engine.Supply`."""

    def __init__(self, ahead: int) -> None:
        self._queue: queue.Queue[Request | None] = queue.Queue(ahead)
        self._closed = threading.Event()

    def put(self, request: Request | None) -> bool:
        """Add a row, or None for the end; False where nobody wants it any more."""
        while not self._closed.is_set():
            try:
                self._queue.put(request, timeout=_LOOK)
                return True
            except queue.Full:
                continue
        return False

    def close(self) -> None:
        """No row is given out any more."""
        self._closed.set()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def ready(self) -> bool:
        return self.closed or not self._queue.empty()

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        while not self.closed:
            try:
                request = self._queue.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if request is None:
                self.close()
                break
            return request
        raise StopIteration


class Pump:
    """Runs `engine` on `jobs`, each made a request by `open_row`. A context manager.

    What comes of it is taken from it item by item: `Sign.LOADED`, the outcome of each row, `Sign.ENDED`; or
    what one of the threads raised.
    """

    def __init__(self, engine: Engine, jobs: Iterable[Job], open_row: Callable[[Job], Request]) -> None:
        self._engine = engine
        self._jobs = jobs
        self._open_row = open_row
        self._rows = Rows(max(1, engine.in_flight))
        # An engine waits until its last outcome but one is written, so that a kill costs no more than that.
        self._items: queue.Queue[Item | Outcome] = queue.Queue(1)
        self._flying: dict[str, Job] = {}
        self.opening_seconds = 0.0
        self._threads = [
            threading.Thread(target=self._open_rows, name="batch-media", daemon=True),
            threading.Thread(target=self._answer, name="batch-engine", daemon=True),
        ]

    def __enter__(self) -> Pump:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self.cancel()
        if error is not None:
            self._threads[1].join(GRACE)

    @property
    def in_flight(self) -> int:
        """Rows that were opened and have no outcome yet."""
        return len(self._flying)

    @property
    def busy(self) -> bool:
        """Whether the engine is still at work."""
        return self._threads[1].is_alive()

    def take(self) -> Item | None:
        """The next item; None where there is none for a moment."""
        try:
            item = self._items.get(timeout=_LOOK)
        except queue.Empty:
            return None
        if isinstance(item, Sign | tuple | BaseException):
            return item
        return self._flying.pop(item.id), item

    def cancel(self) -> None:
        """Give up what is in flight. Rows that were finished can still be taken."""
        self._rows.close()
        self._engine.cancel()

    def _open_rows(self) -> None:
        try:
            for job in self._jobs:
                if self._rows.closed:
                    return
                begin = time.perf_counter()
                try:
                    request = self._open_row(job)
                except InputError as error:
                    kind = type(error).__name__
                    failed = Failed(job.id, error.message, error.hint, kind, time.perf_counter() - begin)
                    self._items.put((job, failed))
                    continue
                finally:
                    self.opening_seconds += time.perf_counter() - begin
                self._flying[job.id] = job
                if not self._rows.put(request):
                    return
            self._rows.put(None)
        except BaseException as error:
            self._items.put(error)

    def _answer(self) -> None:
        try:
            self._engine.load()
            self._items.put(Sign.LOADED)
            for outcome in self._engine.answer(self._rows):
                self._items.put(outcome)
            self._items.put(Sign.ENDED)
        except BaseException as error:
            self._items.put(error)
