"""What one call of an answer takes: waiting for its source, drawing several, looking at them, asking again.

    plain                                   pool.submit ────────────────────────────────► medium
    its source is still being made          source ─► pool.submit ──────────────────────► medium
    candidates, or an agreement is wanted   pool.submit × n ─► encoder ─► best ─┬ enough ► medium
                                                 ▲                             └ other seeds, at most
                                                 └────────────────────────────── `max_retries` times

A plain call is the pool's own. Whatever takes several steps has a thread, so that it goes on while the LLM
writes, and so that a call whose source is in the making waits for that one alone.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Protocol

from modaverse.context import Choice, Media
from modaverse.errors import GenerationCancelled, GenerationError, ModaVerseError, SettingsError
from modaverse.interfaces import GenerationRequest, PendingCall, Pool

Judge = Callable[[Sequence[Media], str], list[float]]
"""How well each medium agrees with a prompt."""


@dataclass(frozen=True, slots=True)
class Choosing:
    """How what is made is chosen: of `candidates` drawn with different seeds the one is kept that agrees best
    with its prompt; below `min_agreement` the call is asked again, at most `max_retries` times.
    """

    candidates: int = 1
    min_agreement: float | None = None
    max_retries: int = 1

    def __post_init__(self) -> None:
        if self.candidates < 1 or self.max_retries < 0 or not -1 <= (self.min_agreement or 0) <= 1:
            raise SettingsError(
                f"{self.candidates} candidates, an agreement of {self.min_agreement} and {self.max_retries} "
                "retries make no sense",
                hint="Draw 1 candidate or more, want an agreement of -1 to 1, and retry 0 times or more.",
            )

    @property
    def looks(self) -> bool:
        """Whether anything that is made is compared with its prompt."""
        return self.candidates > 1 or self.min_agreement is not None


class Order(PendingCall, Protocol):
    """A call on its way, however many generations it takes. One reader may look at its `events`."""

    @property
    def choice(self) -> Choice | None:
        """How what was made was chosen, where it was."""
        ...


def order(
    pool: Pool, request: GenerationRequest, choosing: Choosing, judge: Judge, *, source: Order | None = None
) -> Order:
    """Start a call; returns at once. With `source`, what that one makes is what this one starts from."""
    if "seed" in request.options:
        choosing = Choosing()  # the LLM said which one it wants
    if source is None and not choosing.looks:
        try:
            return _Plain(pool.submit(request))
        except ModaVerseError as error:
            return _Refused(error)
    return _Errand(lambda errand: _make(errand, pool, request, choosing, judge, source))


def call_seed(seed: int, index: int) -> int:
    """The seed of call number `index` of an answer: 31 bits, so that any generator takes it."""
    return _derived(f"call:{seed}:{index}")


def candidate_seed(seed: int, index: int) -> int:
    """The seed of a call's candidate number `index`; the first is what would be drawn alone."""
    return seed if index == 0 else _derived(f"candidate:{seed}:{index}")


def _derived(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


class _Plain:
    """One generation."""

    choice = None

    def __init__(self, pending: PendingCall) -> None:
        self._pending = pending
        self.events, self.result, self.cancel = pending.events, pending.result, pending.cancel

    @property
    def done(self) -> bool:
        return self._pending.done

    def when_done(self, call: Callable[[], object]) -> None:
        self._pending.when_done(call)


class _Refused:
    """A call that could not even be started."""

    done = True
    choice = None

    def __init__(self, error: ModaVerseError) -> None:
        self._error = error

    def events(self) -> Iterator[tuple[int, int]]:
        return iter(())

    def when_done(self, call: Callable[[], object]) -> None:
        call()

    def result(self) -> Media:
        raise self._error

    def cancel(self) -> None:
        pass


class _Errand:
    """A call of several steps, in a thread of its own."""

    def __init__(self, work: Callable[[_Errand], Media]) -> None:
        self.choice: Choice | None = None
        self._work = work
        self._outcome: Future[Media] = Future()
        self._news: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._parts: list[PendingCall] = []
        self._cancelled = False
        threading.Thread(target=self._run, name="modaverse-errand", daemon=True).start()

    @property
    def done(self) -> bool:
        return self._outcome.done()

    def when_done(self, call: Callable[[], object]) -> None:
        self._outcome.add_done_callback(lambda _: call())

    def events(self) -> Iterator[tuple[int, int]]:
        while (step := self._news.get()) is not None:
            yield step
        self._news.put(None)

    def result(self) -> Media:
        return self._outcome.result()

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
        for part in self._parts:
            part.cancel()

    def submit(self, pool: Pool, request: GenerationRequest) -> PendingCall:
        """Start one generation of this call.

        Raises:
            GenerationCancelled: nobody wants the call any more.
            GenerationError: it cannot be started.
        """
        with self._lock:
            if self._cancelled:
                raise GenerationCancelled(f"{request.model} was cancelled", hint="Ask again if it is wanted.")
            self._parts.append(pool.submit(request))
            return self._parts[-1]

    def report(self, step: int, steps: int) -> None:
        self._news.put((step, steps))

    def _run(self) -> None:
        try:
            self._outcome.set_result(self._work(self))
        except BaseException as error:  # whoever asks for the outcome gets it
            self._outcome.set_exception(error)
        finally:
            self._news.put(None)


def _make(
    errand: _Errand,
    pool: Pool,
    request: GenerationRequest,
    choosing: Choosing,
    judge: Judge,
    source: Order | None,
) -> Media:
    if source is not None:
        request = replace(request, source=_made_by(source))
    if not choosing.looks:
        return _draw(errand, pool, [request])[0]
    wanted = -1.0 if choosing.min_agreement is None else choosing.min_agreement
    judged: list[tuple[float, Media]] = []
    retries = 0
    while True:
        first = retries * choosing.candidates
        seeds = [candidate_seed(request.seed, first + index) for index in range(choosing.candidates)]
        try:
            made = _draw(errand, pool, [replace(request, seed=seed) for seed in seeds])
        except ModaVerseError:
            if not judged:
                raise
            break  # what was drawn before is better than nothing
        judged += zip(judge(made, request.prompt), made, strict=True)
        if max(map(_agreement, judged)) >= wanted or retries == choosing.max_retries:
            break
        retries += 1
    agreement, media = max(judged, key=_agreement)
    errand.choice = Choice(agreement, len(judged), retries, agreement >= wanted)
    return media


def _agreement(judged: tuple[float, Media]) -> float:
    return judged[0]


def _made_by(source: Order) -> Media:
    try:
        return source.result()
    except ModaVerseError as error:
        raise GenerationError(
            f"what it starts from was not made: {error.message}", hint=error.hint
        ) from error


def _draw(errand: _Errand, pool: Pool, requests: Sequence[GenerationRequest]) -> list[Media]:
    """What is made of `requests`, side by side; those that fail are left out.

    Raises:
        ModaVerseError: why the first one failed, where all do.
    """
    calls = [errand.submit(pool, request) for request in requests]
    for place, call in enumerate(calls):
        for step, steps in call.events():
            errand.report(place * steps + step, len(calls) * steps)
    made: list[Media] = []
    failures: list[ModaVerseError] = []
    for call in calls:
        try:
            made.append(call.result())
        except ModaVerseError as error:
            failures.append(error)
    if not made:
        raise failures[0]
    return made
