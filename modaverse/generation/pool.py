"""The pool: runs generators beside the LLM, within a memory budget, with deadlines, cancelling and a cache.

    submit(request) ─► cached? ─yes─► Call, finished
                         └no─► waiting ─► admitted ─► thread: load, generate, write ─► Call, finished
                                             │
                     a worker is free, the generator is free, and its weights fit beside those
                     that are in use (idle ones make room, least recently used first: they are
                     parked in the machine's own memory where they can be, or else unloaded)

One lock guards the pool's books; it is never held while a generator loads or runs. A run is one thread for
as long as it takes, so that a generator which ignores its deadline holds up nobody but itself: its caller
gets the timeout at once, and its place among the workers is given to the next.

Time decides when a call runs, never what it makes: what a generator is told is the request alone. The
exception must be asked for: with `batch` above 1, calls that wait and are alike may share a run where that
was measured to be quicker, and sums in another order may round differently.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modaverse.context import Media
from modaverse.errors import (
    GenerationError,
    GenerationOutOfMemory,
    ModaVerseError,
    SettingsError,
)
from modaverse.generation.failures import late, too_large, unexpected
from modaverse.generation.pace import Pace
from modaverse.generation.pending import Call, Job, Run
from modaverse.generation.resident import Resident, Shelf, half_of_memory, residents_of
from modaverse.generation.result_cache import ResultCache, request_key
from modaverse.interfaces import CallSpec, Decoded, GenerationRequest, Generator
from modaverse.media import write_media

_JOIN_SECONDS = 5.0


class GeneratorPool:
    """Generators by the name of the call they answer, run in threads.

    Args:
        generators: one for each `Model`; two for one name are refused.
        folder: where what is made is written.
        memory_budget: bytes that loaded weights may take together; None for no limit.
        parking: bytes of the machine's own memory that idle weights of a GPU may take; half of it by default.
        workers: runs that go on side by side.
        batch: calls that may share a run; with 1, what is made never depends on what else was waiting.
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
        parking: int | None = None,
        workers: int = 2,
        batch: int = 1,
        deadline: float | None = 600.0,
        cache: Path | None = None,
    ) -> None:
        if workers < 1 or batch < 1 or (deadline is not None and deadline <= 0):
            raise SettingsError(
                f"a pool of {workers} workers, a batch of {batch} and a deadline of {deadline} s cannot work",
                hint="Give at least one worker, a batch of at least 1 and a positive deadline.",
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
        self._batch = batch
        self._deadline = deadline
        self._cache = ResultCache(cache)
        self._pace = Pace()
        self._shelf = Shelf(memory_budget, half_of_memory() if parking is None else parking)
        self._state = threading.Condition()
        self._waiting: list[Job] = []
        self._running: list[Run] = []
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
            if not any(job.resident is resident for job in self._jobs()):
                self._enqueue(Job(self._generators[model], resident))

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
        job = Job(
            generator,
            self._residents[request.model],
            call,
            deadline=None if self._deadline is None else time.monotonic() + self._deadline,
            key=request_key(request, _fingerprint(generator), batch=self._batch),
            kind=_kind(generator, request) if self._batch > 1 else None,
        )
        if self._finish_from_cache(job):
            return call
        with self._state:
            if self._closed:
                raise GenerationError("the pool is closed", hint="Open the pipeline again.")
            self._enqueue(job)
        return call

    def close(self) -> None:
        """Cancel what waits or runs, and unload all; returns once the threads are gone, or after 5 s."""
        with self._state:
            self._closed = True
            jobs = self._jobs()
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
            idle = self._shelf.everything(self._in_use())
            for resident in idle:
                self._shelf.remove(resident)
        for resident in idle:
            resident.unload()

    def __enter__(self) -> GeneratorPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ----------------------------------------------------- scheduling (the caller holds self._state)

    def _jobs(self) -> list[Job]:
        return [*self._waiting, *(job for run in self._running for job in run.jobs)]

    def _enqueue(self, job: Job) -> None:
        if not self._shelf.fits_alone(job.resident):
            job.fail(too_large(job, self._shelf.budget))
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
            if job not in self._waiting:  # an older one took it along
                continue
            if job.over:
                self._waiting.remove(job)
            elif self._closed or sum(not run.over for run in self._running) >= self._workers:
                return
            elif self._may_run(job):
                going = self._shelf.plan(job.resident, self._in_use())
                if going is None or (blocked and job.resident not in self._shelf):
                    blocked = True
                else:
                    self._start(Run(self._alike(job)), going)

    def _may_run(self, job: Job) -> bool:
        """Whether its generator has a place free, and nobody is just moving its weights away."""
        if any(job.resident in run.moving for run in self._running):
            return False
        return sum(run.resident is job.resident for run in self._running) < job.resident.concurrency

    def _alike(self, job: Job) -> list[Job]:
        """The job, and those that wait and can share its run, where that is quicker."""
        if job.kind is None:
            return [job]
        waiting = [other for other in self._waiting if not other.over]
        alike = [other for other in waiting if other.kind == job.kind and other.model == job.model]
        alike = alike[: self._batch]
        return alike[: self._pace.share(f"{job.model} {job.kind}", len(alike))]

    def _in_use(self) -> set[Resident]:
        return {run.resident for run in self._running}

    def _start(self, run: Run, going: list[Resident]) -> None:
        for job in run.jobs:
            self._waiting.remove(job)
        self._running.append(run)
        self._evict(run, going)
        self._shelf.put(run.resident)
        name = f"modaverse-{run.jobs[0].model}"
        thread = threading.Thread(target=self._work, args=(run,), name=name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _evict(self, run: Run, going: Iterable[Resident]) -> None:
        """Leave the moving itself, which takes time, to the run's thread."""
        for resident in going:
            run.moving.add(resident)
            run.moves += self._shelf.set_aside(resident, run.resident)

    def _wake(self) -> None:
        with self._state:
            self._admit()
            self._state.notify_all()

    # ------------------------------------------------------------------------ the run's own thread

    def _work(self, run: Run) -> None:
        try:
            self._make(run)
        finally:
            with self._state:
                self._running.remove(run)
                self._threads.discard(threading.current_thread())
                self._wake()

    def _make(self, run: Run) -> None:
        """Make all of a run, and what failed in parts once more where that may help."""
        error = self._attempt(run, run.jobs)
        if isinstance(error, GenerationOutOfMemory) and not run.over:
            # A second attempt can have less to do, and less beside it in memory.
            with self._state:
                self._evict(run, self._shelf.idle(self._in_use()))
            half = (len(run.jobs) + 1) // 2
            parts = [run.jobs[:half], run.jobs[half:]]
        elif error is not None and len(run.jobs) > 1:
            parts = [[job] for job in run.jobs]  # one of them may be to blame, and only it is to fail
        else:
            parts = []
            _fail(run.jobs, error)
        for part in parts:
            _fail(part, self._attempt(run, part))

    def _attempt(self, run: Run, jobs: Sequence[Job]) -> BaseException | None:
        """Load and generate for those of `jobs` that are still wanted; what went wrong, if anything did."""
        try:
            self._clear(run)
            jobs = [job for job in jobs if not job.over and not self._finish_from_cache(job)]
            if jobs:
                self._load(run)
                self._generate([job for job in jobs if job.call is not None and not job.over])
        except BaseException as error:  # whatever a plug-in raises is that call's failure, not the pool's
            return error
        return None

    def _clear(self, run: Run) -> None:
        """Take other weights out of the way."""
        while run.moves:
            run.moves.pop(0)()
        with self._state:
            run.moving.clear()
            self._wake()

    def _load(self, run: Run) -> None:
        try:
            run.generator.load()
        except BaseException:
            with self._state:
                self._shelf.remove(run.resident)
            raise
        with self._state:
            self._shelf.put(run.resident)

    def _generate(self, jobs: Sequence[Job]) -> None:
        calls = [job.call for job in jobs if job.call is not None]
        if not calls:
            return
        began = time.monotonic()
        made = _generated(jobs[0].generator, calls)
        if jobs[0].kind is not None and not any(call.done for call in calls):
            self._pace.note(f"{jobs[0].model} {jobs[0].kind}", len(calls), time.monotonic() - began)
        for job, call, decoded in zip(jobs, calls, made, strict=True):
            if call.done:
                continue
            try:
                media = write_media(decoded, self.folder)
            except ModaVerseError as error:
                job.fail(error)
                continue
            self._cache.keep(job.key, media)
            call.finish(media=media)

    def _finish_from_cache(self, job: Job) -> bool:
        """Whether an equal request was answered before, perhaps while this one was waiting."""
        known: Media | None = self._cache.find(job.key, self.folder)
        if known is None or job.call is None:
            return False
        job.call.finish(media=known)
        return True

    # ----------------------------------------------------------------------------------- deadlines

    def _keep_time(self) -> None:
        """Fail calls whose deadline passes, wherever they are."""
        with self._state:
            while not self._closed:
                now = time.monotonic()
                upcoming = None
                for job in self._jobs():
                    if job.deadline is None or job.over:
                        continue
                    if job.deadline <= now:
                        job.fail(late(job, self._deadline))
                    elif upcoming is None or job.deadline < upcoming:
                        upcoming = job.deadline
                self._admit()
                if upcoming is None:  # the next call starts another clock: this one would keep the pool alive
                    self._clock = None
                    return
                self._state.wait(upcoming - now)


def _generated(generator: Any, calls: Sequence[Call]) -> list[Decoded]:
    """One result for each call: each hears of every step, and the run stops once nobody wants any."""

    def progress(step: int, steps: int) -> None:
        for call in calls:
            call.step(step, steps)

    def cancelled() -> bool:
        return all(call.done for call in calls)

    requests = [call.request for call in calls]
    if len(requests) == 1:
        return [generator.generate(requests[0], progress=progress, cancelled=cancelled)]
    return list(generator.generate_together(requests, progress=progress, cancelled=cancelled))


def _fingerprint(generator: Generator) -> str | None:
    """None as well where it cannot be told: loading will say what is wrong with the files."""
    try:
        return getattr(generator, "fingerprint", None)
    except (ModaVerseError, OSError):
        return None


def _kind(generator: Any, request: GenerationRequest) -> str | None:
    return generator.batch_key(request) if hasattr(generator, "batch_key") else None


def _fail(jobs: Iterable[Job], error: BaseException | None) -> None:
    for job in jobs if error is not None else ():
        job.fail(error if isinstance(error, ModaVerseError) else unexpected(job, error))
