"""The pool: runs generators beside the LLM, within a memory budget, with deadlines, cancelling and a cache.

    submit(request) ─► cached? ─yes─► Call, finished
                         └no─► waiting ─► admitted ─► thread: load, generate, write ─► Call, finished
                                             │
                     a worker is free, the generator is free, and its weights fit beside those
                     that are in use (idle ones are evicted, least recently used first)

One lock guards the pool's books; it is never held while a generator loads or runs. A call is one thread for
as long as it runs, so that a generator which ignores its deadline holds up nobody but itself: its caller
gets the timeout at once, and its place among the workers is given to the next.

Time decides when a call runs, never what it makes: what a generator is told is the request alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from modaverse.context import Media
from modaverse.errors import (
    GenerationCancelled,
    GenerationError,
    GenerationOutOfMemory,
    GenerationTimeout,
    ModaVerseError,
    SettingsError,
)
from modaverse.interfaces import CallSpec, GenerationRequest, Generator
from modaverse.media import write_media
from modaverse.resident import Resident, Shelf, residents_of
from modaverse.result_cache import ResultCache, request_key

_JOIN_SECONDS = 5.0


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
        """Call `call` once, in some thread, when the call is finished; at once where it is."""
        with self._changed:
            if not self._finished:
                self._told.append(call)
                return
        call()

    def cancel(self) -> None:
        """Nobody wants it any more. Returns at once; the generator stops after its present step."""
        self._finish(
            error=GenerationCancelled(
                f"{self.request.model} was cancelled", hint="Ask again if it is wanted."
            )
        )
        self._wake()

    def _step(self, step: int, steps: int) -> None:
        with self._changed:
            if not self._finished:
                self._steps.append((step, steps))
                self._changed.notify_all()

    def _finish(self, *, media: Media | None = None, error: ModaVerseError | None = None) -> None:
        """The first to finish a call decides how; later ones change nothing."""
        with self._changed:
            if self._finished:
                return
            self._media, self._error, self._finished = media, error, True
            self._changed.notify_all()
        for call in self._told:
            call()


class GeneratorPool:
    """Generators by the name of the call they answer, run in threads.

    Args:
        generators: one for each `Model`; two for one name are refused.
        folder: where what is made is written.
        memory_budget: bytes that loaded weights may take together; None for no limit.
        workers: calls that run side by side.
        deadline: seconds that a call may take from its submission, loading included; None for no limit.
        cache: folder of a cache that outlives the process; None keeps results for this process only.

    Raises:
        SettingsError: two generators answer the same call, or a number makes no sense.
    """

    def __init__(
        self,
        generators: Iterable[Generator],
        folder: Path,
        *,
        memory_budget: int | None = None,
        workers: int = 2,
        deadline: float | None = 600.0,
        cache: Path | None = None,
    ) -> None:
        if workers < 1 or (deadline is not None and deadline <= 0):
            raise SettingsError(
                f"a pool of {workers} workers with a deadline of {deadline} s cannot work",
                hint="Give at least one worker and a positive deadline.",
            )
        self._generators: dict[str, Generator] = {}
        for generator in generators:
            if generator.spec.model in self._generators:
                raise SettingsError(
                    f"two generators answer {generator.spec.model}",
                    hint="Keep one card for each kind of call.",
                )
            self._generators[generator.spec.model] = generator
        self._residents = residents_of(self._generators)
        self.folder = folder
        self._workers = workers
        self._deadline = deadline
        self._cache = ResultCache(cache)
        self._shelf = Shelf(memory_budget)
        self._state = threading.Condition()
        self._waiting: list[_Job] = []
        self._running: list[_Job] = []
        self._threads: set[threading.Thread] = set()
        self._clock: threading.Thread | None = None
        self._closed = False

    @property
    def catalogue(self) -> Mapping[str, CallSpec]:
        """What may be called."""
        return MappingProxyType({model: generator.spec for model, generator in self._generators.items()})

    def preload(self, model: str) -> None:
        """Begin to load the generator of `model`, because a call of it is being written.

        Returns at once. A failure shows when the call itself is made; a name that nothing answers is
        ignored here, because the parser says what is wrong with it.
        """
        resident = self._residents.get(model)
        with self._state:
            if resident is None or self._closed or resident in self._shelf:
                return
            if not any(job.resident is resident for job in (*self._waiting, *self._running)):
                self._enqueue(_Job(self._generators[model], resident, None, None, None))

    def submit(self, request: GenerationRequest) -> Call:
        """Start a call; returns at once.

        Raises:
            GenerationError: nothing answers `request.model`, or the pool is closed.
        """
        generator = self._generators.get(request.model)
        if generator is None:
            raise GenerationError(
                f"no generator answers {request.model}", hint=f"There are: {', '.join(self._generators)}."
            )
        call = Call(request, self._wake)
        key = request_key(request, _fingerprint(generator))
        known = self._cache.find(key, self.folder)
        if known is not None:
            call._finish(media=known)
            return call
        deadline = None if self._deadline is None else time.monotonic() + self._deadline
        with self._state:
            if self._closed:
                raise GenerationError("the pool is closed", hint="Open the pipeline again.")
            self._enqueue(_Job(generator, self._residents[request.model], call, deadline, key))
        return call

    def close(self) -> None:
        """Cancel what waits or runs, and unload all; returns once the threads are gone, or after 5 s."""
        with self._state:
            self._closed = True
            jobs = [*self._waiting, *self._running]
            threads = [*self._threads, *([self._clock] if self._clock else [])]
            self._waiting.clear()
            self._state.notify_all()
        for job in jobs:
            if job.call is not None:
                job.call.cancel()
        until = time.monotonic() + _JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._state:
            idle = self._shelf.idle(self._in_use())
        for resident in idle:
            self._shelf.remove(resident)
            resident.unload()

    def __enter__(self) -> GeneratorPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ----------------------------------------------------- scheduling (the caller holds self._state)

    def _enqueue(self, job: _Job) -> None:
        if not self._shelf.fits_alone(job.resident):
            job.fail(_too_large(job, self._shelf.budget))
            return
        self._waiting.append(job)
        if job.deadline is not None and self._clock is None:
            self._clock = threading.Thread(target=self._keep_time, name="modaverse-clock", daemon=True)
            self._clock.start()
        self._admit()
        self._state.notify_all()

    def _admit(self) -> None:
        """Start every waiting job that may start, oldest first.

        A job whose weights do not fit beside those in use holds back younger ones that would have to
        load as well, so that it is not overtaken for ever.
        """
        blocked = False
        for job in list(self._waiting):
            if job.over:
                self._waiting.remove(job)
            elif self._closed or sum(not other.over for other in self._running) >= self._workers:
                return
            elif self._may_run(job):
                going = self._shelf.plan(job.resident, self._in_use())
                if going is None or (blocked and job.resident not in self._shelf):
                    blocked = True
                else:
                    self._start(job, going)

    def _may_run(self, job: _Job) -> bool:
        """Whether its generator has a place free, and nobody is just evicting it."""
        if any(job.resident in other.evicting for other in self._running):
            return False
        return sum(other.resident is job.resident for other in self._running) < job.resident.concurrency

    def _in_use(self) -> set[Resident]:
        return {job.resident for job in self._running}

    def _start(self, job: _Job, going: list[Resident]) -> None:
        self._waiting.remove(job)
        self._running.append(job)
        self._evict(job, going)
        self._shelf.put(job.resident)
        thread = threading.Thread(target=self._work, args=(job,), name=f"modaverse-{job.model}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _evict(self, job: _Job, going: list[Resident]) -> None:
        """Leave the unloading itself, which takes time, to the job's thread."""
        job.evicting.extend(going)
        for resident in going:
            self._shelf.remove(resident)

    def _wake(self) -> None:
        with self._state:
            self._admit()
            self._state.notify_all()

    # ------------------------------------------------------------------------ the job's own thread

    def _work(self, job: _Job) -> None:
        try:
            media = self._make(job)
            if job.call is not None and media is not None:
                job.call._finish(media=media)
        except ModaVerseError as error:
            job.fail(error)
        except Exception as error:  # whatever a plug-in raises is one call's failure, not the pool's
            job.fail(_unexpected(job, error))
        finally:
            with self._state:
                self._running.remove(job)
                self._threads.discard(threading.current_thread())
                self._wake()

    def _make(self, job: _Job) -> Media | None:
        try:
            return self._attempt(job)
        except GenerationOutOfMemory:
            if job.over:
                raise
        # What a second attempt can change is what else lies in memory.
        with self._state:
            self._evict(job, self._shelf.idle(self._in_use()))
        return self._attempt(job)

    def _attempt(self, job: _Job) -> Media | None:
        self._unload_evicted(job)
        call = job.call
        if job.over:
            return None
        self._load(job)
        if call is None or call.done:
            return None
        made = job.generator.generate(call.request, progress=call._step, cancelled=lambda: call.done)
        if call.done:
            return None
        media = write_media(made, self.folder)
        self._cache.keep(job.key, media)
        return media

    def _unload_evicted(self, job: _Job) -> None:
        for resident in job.evicting:
            resident.unload()
        with self._state:
            job.evicting.clear()
            self._wake()

    def _load(self, job: _Job) -> None:
        try:
            job.generator.load()
        except BaseException:
            with self._state:
                self._shelf.remove(job.resident)
            raise
        with self._state:
            self._shelf.put(job.resident)

    # ----------------------------------------------------------------------------------- deadlines

    def _keep_time(self) -> None:
        """Fail calls whose deadline passes, wherever they are."""
        with self._state:
            while not self._closed:
                now = time.monotonic()
                upcoming = None
                for job in (*self._waiting, *self._running):
                    if job.deadline is None or job.over:
                        continue
                    if job.deadline <= now:
                        job.fail(_late(job, self._deadline))
                    elif upcoming is None or job.deadline < upcoming:
                        upcoming = job.deadline
                self._admit()
                self._state.wait(None if upcoming is None else upcoming - now)


class _Job:
    """A call, or a preload (no call), with what the pool must know to run it."""

    def __init__(
        self,
        generator: Generator,
        resident: Resident,
        call: Call | None,
        deadline: float | None,
        key: str | None,
    ) -> None:
        self.generator = generator
        self.resident = resident
        self.call = call
        self.deadline = deadline
        self.key = key
        self.evicting: list[Resident] = []

    @property
    def model(self) -> str:
        return self.generator.spec.model

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.call is not None and self.call.done

    def fail(self, error: ModaVerseError) -> None:
        if self.call is not None:
            self.call._finish(error=error)


def _fingerprint(generator: Generator) -> str | None:
    """None as well where it cannot be told: loading will say what is wrong with the files."""
    try:
        return getattr(generator, "fingerprint", None)
    except (ModaVerseError, OSError):
        return None


def _late(job: _Job, seconds: float | None) -> GenerationTimeout:
    return GenerationTimeout(
        f"{job.model} did not finish within {seconds:g} s",
        hint="Ask for fewer steps or a smaller size, or give the pool a longer deadline.",
    )


def _too_large(job: _Job, budget: int | None) -> GenerationOutOfMemory:
    needed, given = job.resident.memory_bytes / 1e9, (budget or 0) / 1e9
    return GenerationOutOfMemory(
        f"{job.model} needs {needed:.1f} GB, and the memory budget is {given:.1f} GB",
        hint="Raise memory_budget, or choose a smaller generator or precision.",
    )


def _unexpected(job: _Job, error: Exception) -> GenerationError:
    return GenerationError(
        f"{job.model} failed: {type(error).__name__}: {error}", hint="Report this to the generator's author."
    )
