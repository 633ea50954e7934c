"""A call that a pool has taken, and the pool's own note of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from modaverse.context import Media
from modaverse.errors import GenerationCancelled, GenerationError, ModaVerseError
from modaverse.generation.resident import Resident
from modaverse.interfaces import GenerationRequest, Generator


class Call:
    """One request on its way. Any number of threads may look at it."""

    def __init__(self, request: GenerationRequest, wake: Callable[[], None]) -> None:
        self.request = request
        self._wake = wake
        self._changed = threading.Condition()
        self._steps: list[tuple[int, int]] = []
        self._media: Media | None = None
        self._error: ModaVerseError | None = None
        self._finished = False
        self._told: list[Callable[[], object]] = []  # whom to tell when it is finished

    @property
    def done(self) -> bool:
        return self._finished

    def events(self) -> Iterator[tuple[int, int]]:
        """(step, steps) after each step so far and as they come, until the call is finished."""
        seen = 0
        finished = False
        while not finished:
            with self._changed:
                while not self._finished and len(self._steps) == seen:
                    self._changed.wait()
                news = self._steps[seen:]
                finished = self._finished
            yield from news
            seen += len(news)

    def result(self, timeout: float | None = None) -> Media:
        """What was made; waits for it.

        Raises:
            GenerationError: why nothing was made; StorageError where it could not be written.
            TimeoutError: `timeout` seconds passed; the call goes on.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._finished, timeout):
                raise TimeoutError(f"{self.request.model} is still at work after {timeout:g} s")
        if self._error is not None:
            raise self._error
        if self._media is None:
            raise GenerationError(f"{self.request.model} made nothing", hint="Report this as a bug.")
        return self._media

    def when_done(self, call: Callable[[], object]) -> None:
        """Call `call` once, in some thread, when the call is finished; at once where it is. It must be quick,
        and ask nothing of the pool, which may be waiting for it."""
        with self._changed:
            if not self._finished:
                self._told.append(call)
                return
        call()

    def cancel(self) -> None:
        """Nobody wants it any more. Returns at once; the generator stops after its present step."""
        self.finish(
            error=GenerationCancelled(
                f"{self.request.model} was cancelled", hint="Ask again if it is wanted."
            )
        )
        self._wake()

    def step(self, step: int, steps: int) -> None:
        with self._changed:
            if not self._finished:
                self._steps.append((step, steps))
                self._changed.notify_all()

    def finish(self, *, media: Media | None = None, error: ModaVerseError | None = None) -> None:
        """The first to finish a call decides how; later ones change nothing."""
        with self._changed:
            if self._finished:
                return
            self._media, self._error, self._finished = media, error, True
            self._changed.notify_all()
        for call in self._told:
            call()


@dataclass(eq=False)
class Job:
    """A call, or a preload (no call), with what the pool must know to run it.

    `key` is its result's in the cache; jobs of one generator with the same `kind` can share a run.
    """

    generator: Generator
    resident: Resident
    call: Call | None = None
    deadline: float | None = None
    key: str | None = None
    kind: str | None = None

    @property
    def model(self) -> str:
        return self.generator.spec.model

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.call is not None and self.call.done

    def fail(self, error: ModaVerseError) -> None:
        if self.call is not None:
            self.call.finish(error=error)


@dataclass(eq=False)
class Run:
    """Jobs that one thread sees to together: one, or several of a kind.

    `moves` takes other weights out of the way first: those of the residents in `moving`.
    """

    jobs: list[Job]
    moves: list[Callable[[], None]] = field(default_factory=list)
    moving: set[Resident] = field(default_factory=set)

    @property
    def generator(self) -> Generator:
        return self.jobs[0].generator

    @property
    def resident(self) -> Resident:
        return self.jobs[0].resident

    @property
    def over(self) -> bool:
        return all(job.over for job in self.jobs)
