"""A batch job from its file to its results, as a stream of events.

Three threads: one opens the media of rows ahead of the engine, one runs the engine, and the caller's own
writes down what comes back, so that it can answer Ctrl-C whatever the others are at.

What a kill costs: the rows that the engine had taken or that were just being opened. Their media may lie in
the folder already; they are named by their content, and made again under the same names.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from modaverse.batch.check import Plan, check
from modaverse.batch.engine import Engine
from modaverse.batch.entries import answered_entry, encode, failed_entry, fault_entry
from modaverse.batch.events import (
    BatchEvent,
    Checked,
    Finished,
    Progress,
    RowAnswered,
    RowFailed,
    RowWrong,
    SetAside,
    Started,
)
from modaverse.batch.fetch import Fetcher
from modaverse.batch.folder import Folder, begun
from modaverse.batch.index import Index
from modaverse.batch.journal import Journal
from modaverse.batch.pump import GRACE, Pump, Sign
from modaverse.batch.references import References
from modaverse.batch.report import write_report
from modaverse.batch.settings import BatchSettings
from modaverse.batch.values import Answered, Form, Job, MediaRef, Outcome, Request
from modaverse.errors import InputError
from modaverse.media.apart import MediaProcess

Stop = Callable[[], bool]


def run_batch(
    jobs: Path, out: Path, engine: Engine, settings: BatchSettings, *, stop: Stop = lambda: False
) -> Iterator[BatchEvent]:
    """Answer the rows of `jobs` that were not answered yet, into the folder `out`.

    The last event is `Finished`. Once `stop` is true the rows in flight have `GRACE` seconds to finish.

    Raises:
        DataError: the rows, or the results that lie in `out`, cannot be read.
        SettingsError: those results are of a run with other settings or models.
        InputError: another process is writing there.
        ModelError: the engine's models cannot be used.
        StorageError: results cannot be written. What is there stays, and the same call goes on from it.
        KeyboardInterrupt: `stop` became true before anything was answered.
    """
    folder = Folder(out)
    process = MediaProcess(settings.limits, seconds=settings.decode_seconds)
    with folder.locked(), Index() as index, process:
        if settings.fresh and (aside := folder.set_aside()):
            yield SetAside(aside)
        references = open_references(jobs, folder.media, settings, process)
        size = folder.read_into(index)
        folder.read_failures_into(index)
        with folder.new_errors() as draft:
            wrong: list[RowWrong] = []

            def fault(line: int, row_id: str | None, error: InputError, form: Form) -> None:
                draft.add(fault_entry(line, row_id, error), form)
                if len(wrong) < settings.shown_faults:
                    wrong.append(RowWrong(line, row_id, error.message, error.hint))

            plan = check(jobs, index, references, fault, mixed=settings.allow_mixed, stop=stop)
            yield from wrong
            yield Checked(plan.rows, plan.answered, plan.left, plan.faults)
            known = folder.read_record().identities if index.answered() else ()
            identity = apart(engine.identity, stop)
            identities, number = folder.agree(identity, known, mixed=settings.allow_mixed)
            folder.write_record(begun(jobs, plan.rows, plan.answered, identities))
            draft.keep(index, faults=False)
            errors_size = draft.finished()
        index.forget_failures()
        count = folder.read_failures_into(index)
        with Journal(folder.results, size) as results, Journal(folder.errors, errors_size) as errors:
            run = Run(plan, folder, index, results, errors, identity=number, failures=count)
            if plan.left:
                yield from run.events(engine, references, settings.seed, stop)
        if not run.stopped:
            folder.settle_errors(index)
            write_report(folder)
        yield Finished(run.progress(0), run.left, run.stopped, run.abandoned)


def open_references(jobs: Path, media: Path, settings: BatchSettings, process: MediaProcess) -> References:
    """What opens the media of a file of jobs."""
    return References(
        jobs.parent,
        media,
        root=settings.media_root,
        limits=settings.limits,
        fetcher=Fetcher(settings.allow_hosts, max_bytes=settings.limits.max_bytes),
        read=process.read,
    )


class Run:
    """What was done so far in one run, and how outcomes are written down."""

    def __init__(
        self,
        plan: Plan,
        folder: Folder,
        index: Index,
        results: Journal,
        errors: Journal,
        *,
        identity: int,
        failures: int,
    ) -> None:
        self._plan, self._folder, self._index = plan, folder, index
        self._results, self._errors, self._identity = results, errors, identity
        self._begin = time.monotonic()
        self._stages: defaultdict[str, float] = defaultdict(float)
        self._failures = failures
        self.answered = self.failed = 0
        self.stopped = self.abandoned = False

    @property
    def left(self) -> int:
        return self._plan.left - self.answered - self.failed

    def events(self, engine: Engine, references: References, seed: int, stop: Stop) -> Iterator[BatchEvent]:
        """Answer what is to do, and write down each outcome before telling of it."""

        def open_row(job: Job) -> Request:
            parts = tuple(references.open(part) if isinstance(part, MediaRef) else part for part in job.parts)
            return Request(job.id, parts, row_seed(seed, job), job.options)

        deadline = float("inf")
        with Pump(engine, self._plan.rows_to_do(), open_row) as pump:
            while time.monotonic() < deadline:
                if not self.stopped and stop():
                    self.stopped = True
                    deadline = time.monotonic() + GRACE
                    pump.cancel()
                item = pump.take()
                if isinstance(item, BaseException):
                    raise item
                if item is Sign.ENDED:
                    break
                if item is Sign.LOADED:
                    self._begin = time.monotonic()
                    yield Started(self._plan.left)
                elif isinstance(item, tuple):
                    job, outcome = item
                    media = self._write(job, outcome)
                    self._stages["media"] = pump.opening_seconds
                    yield self._told(job, outcome, media, self.progress(pump.in_flight))
            self.abandoned = self.stopped and pump.busy

    def _write(self, job: Job, outcome: Outcome) -> int:
        """Write down what became of a row; the number of media that were made."""
        begin = time.perf_counter()
        media = 0
        if isinstance(outcome, Answered):
            entry = answered_entry(job, outcome, self._folder.path, self._identity)
            self._results.append(encode(entry, job.form))
            self._index.add_answer(job.id, job.digest)
            self.answered += 1
            media = len(entry["media"])
        else:
            entry = failed_entry(job, outcome, self._folder.path, self._identity)
            self._errors.append(encode(entry, job.form))
            self._index.add_failure(job.id, self._failures)
            self._failures += 1
            self.failed += 1
        for stage, seconds in outcome.stages.items():
            self._stages[stage] += seconds
        self._stages["writing"] += time.perf_counter() - begin
        return media

    @staticmethod
    def _told(job: Job, outcome: Outcome, media: int, progress: Progress) -> BatchEvent:
        if isinstance(outcome, Answered):
            return RowAnswered(job.id, job.line, round(outcome.seconds, 3), media, progress)
        return RowFailed(job.id, job.line, outcome.cause, outcome.hint, progress)

    def progress(self, in_flight: int) -> Progress:
        """Where the run is."""
        seconds = time.monotonic() - self._begin
        done = self.answered + self.failed
        rate = done / seconds if seconds > 0 else 0.0
        return Progress(
            rows=self._plan.rows,
            earlier=self._plan.answered,
            answered=self.answered,
            failed=self.failed,
            wrong=self._plan.faults,
            in_flight=in_flight,
            seconds=round(seconds, 3),
            rate=round(rate, 4),
            time_left=round(self.left / rate, 1) if rate else None,
            stages={name: round(spent / seconds, 3) for name, spent in self._stages.items() if seconds > 0},
        )


def row_seed(seed: int, job: Job) -> int:
    """The seed of a row: its own, or one made of its id, so that every run of it gives the same."""
    if job.seed is not None:
        return job.seed
    return int.from_bytes(hashlib.sha256(f"{seed}:{job.id}".encode()).digest()[:4], "big") >> 1


def apart(work: Callable[[], Mapping[str, str]], stop: Stop) -> Mapping[str, str]:
    """What `work` gives, which is done in a thread so that it need not be waited for.

    Raises:
        KeyboardInterrupt: `stop` became true first.
    """
    done: queue.Queue[Mapping[str, str] | BaseException] = queue.Queue()

    def do() -> None:
        try:
            done.put(work())
        except BaseException as error:
            done.put(error)

    threading.Thread(target=do, name="batch-identity", daemon=True).start()
    while not stop():
        try:
            result = done.get(timeout=0.1)
        except queue.Empty:
            continue
        if isinstance(result, BaseException):
            raise result
        return result
    raise KeyboardInterrupt
