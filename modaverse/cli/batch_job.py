"""What `modaverse batch` does with its options, and how a job is watched: bars, lines or JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from modaverse.assembly import media_limits
from modaverse.batch.check import check
from modaverse.batch.cluster.engine import ClusterSettings, RayEngine
from modaverse.batch.cluster.parts import ProfileParts
from modaverse.batch.engine import Engine
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
from modaverse.batch.index import Index
from modaverse.batch.local import LocalEngine
from modaverse.batch.run import open_references, run_batch
from modaverse.batch.settings import BatchSettings
from modaverse.batch.status import Status
from modaverse.batch.values import Form
from modaverse.cli.progress import Bars, asked_to_stop
from modaverse.cli.records import JsonLines, record
from modaverse.errors import InputError, SettingsError
from modaverse.media import MediaLimits
from modaverse.media.apart import MediaProcess
from modaverse.pipeline import ModaVerse
from modaverse.settings import MediaSettings, Profile, load_profile

LINE_SECONDS = 10.0
"""A log gets a line about the progress so often; a terminal's bar moves all the time."""

_SHARING = 8  # calls that may share a run of their generator, where the profile does not say


class View(Protocol):
    """Shows what a job tells."""

    def show(self, event: BatchEvent) -> None: ...


def profile_with(name: str, limits: Mapping[str, float | None]) -> tuple[Profile, MediaLimits]:
    """A profile with those media limits that are given instead of its own, and all limits.

    Raises:
        SettingsError: there is no such profile.
    """
    profile = load_profile(name)
    values = profile.media.model_dump() | {name: value for name, value in limits.items() if value is not None}
    profile = profile.model_copy(update={"media": MediaSettings(**values)})
    return profile, media_limits(profile)


def sharing_runs(profile: Profile) -> Profile:
    """A profile in which calls of several rows may share runs of generators, unless it says otherwise."""
    generators = profile.generators
    if "batch" in generators.model_fields_set:
        return profile
    return profile.model_copy(update={"generators": generators.model_copy(update={"batch": _SHARING})})


def cluster_with(engine: str, given: Mapping[str, Any]) -> ClusterSettings | None:
    """What was said of a cluster, where one is wanted.

    Raises:
        SettingsError: something was said, and none is wanted.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if engine == "ray":
        return ClusterSettings(**said)
    if said:
        option = next(iter(said)).replace("_", "-")
        raise SettingsError(
            f"--{option} says something of a cluster, and there is none",
            hint="Say --engine ray as well, or leave it out.",
        )
    return None


def engine_for(profile: Profile, media: Path, rows: int, cluster: ClusterSettings | None) -> Engine:
    """What answers rows: models of this process, or the workers of a cluster."""
    profile = sharing_runs(profile)
    if cluster is None:
        return LocalEngine(ModaVerse.from_profile(profile, folder=media), rows=rows)
    return RayEngine(ProfileParts(profile), media, cluster, rows=rows)


def answer_all(
    jobs: Path,
    out: Path,
    profile: Profile,
    settings: BatchSettings,
    *,
    rows: int,
    json: bool,
    cluster: ClusterSettings | None = None,
) -> Finished:
    """Run a job, and show how it goes.

    Raises:
        ModaVerseError: what `run_batch` raises.
    """
    engine = engine_for(profile, out / "media", rows, cluster)
    finished: Finished | None = None
    with asked_to_stop() as stop, Bars() as bars:
        view: View = JsonView() if json else LineView(bars, out)
        for event in run_batch(jobs, out, engine, settings, stop=stop):
            view.show(event)
            finished = event if isinstance(event, Finished) else finished
    if finished is None:
        raise RuntimeError("a job ended without an end")
    if not finished.stopped:
        engine.close()
    return finished


def look_only(jobs: Path, out: Path, settings: BatchSettings, *, json: bool) -> int:
    """Look for rows that are wrong, show them, and give the exit code.

    Raises:
        DataError: the file cannot be read.
    """
    with asked_to_stop() as stop, Bars() as bars, Index() as index, MediaProcess() as process:
        view: View = JsonView() if json else LineView(bars, out)
        references = open_references(jobs, out, settings, process)
        count = 0

        def fault(line: int, row_id: str | None, error: InputError, form: Form) -> None:
            nonlocal count
            count += 1
            if json or count <= settings.shown_faults:
                view.show(RowWrong(line, row_id, error.message, error.hint))

        plan = check(jobs, index, references, fault, stop=stop)
        view.show(Checked(plan.rows, plan.answered, plan.left, plan.faults))
    return 2 if plan.faults else 0


class JsonView:
    """Events as JSON, one a line."""

    def __init__(self) -> None:
        self._lines = JsonLines(sys.stdout)

    def show(self, event: BatchEvent) -> None:
        self._lines.write(record(event))


class LineView:
    """A bar on a terminal; lines now and then elsewhere. What went wrong has a line of its own."""

    def __init__(self, bars: Bars, out: Path) -> None:
        self._bars = bars
        self._out = out
        self._next = 0.0
        self._seconds = 0.1 if sys.stdout.isatty() else LINE_SECONDS

    def show(self, event: BatchEvent) -> None:
        match event:
            case SetAside(folder=folder):
                self._bars.line(f"earlier results lie in {folder}")
            case RowWrong(cause=cause, hint=hint):
                self._bars.line(f"wrong: {cause}  hint: {hint}")
            case Checked():
                self._bars.line(
                    f"rows {event.rows:,}: answered {event.answered:,}, to do {event.to_do:,}, "
                    f"wrong {event.wrong:,}"
                )
            case Started(rows=rows):
                self._bars.line(f"answering {rows:,} rows")
            case RowFailed(id=row_id, cause=cause, hint=hint, progress=progress):
                self._bars.line(f"failed: {row_id}: {cause}{'  hint: ' if hint else ''}{hint}")
                self._advance(progress)
            case RowAnswered(progress=progress):
                self._advance(progress)
            case Finished():
                self._end(event)

    def _advance(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self._next or progress.done == progress.rows:
            self._next = now + self._seconds
            self._bars.advance("rows", progress.done, progress.rows, _note(progress))

    def _end(self, event: Finished) -> None:
        progress = event.progress
        self._bars.line(
            f"answered {progress.earlier + progress.answered:,}, failed {progress.failed:,}, "
            f"wrong {progress.wrong:,} of {progress.rows:,} rows, in {_time(progress.seconds)}"
        )
        if progress.failed or progress.wrong:
            self._bars.line(f"what went wrong: {self._out / 'errors.jsonl'}")
        if event.stopped:
            self._bars.line(f"stopped; the same command goes on with the {event.left:,} rows that are left")
        else:
            self._bars.line(f"saved: {self._out / 'report.html'}")


def _note(progress: Progress) -> str:
    facts = [f"answered {progress.answered:,}", f"failed {progress.failed:,}", f"{progress.rate:.2f}/s"]
    if progress.time_left is not None:
        facts.append(f"{_time(progress.time_left)} left")
    facts += [f"{name} {share:.2f}" for name, share in progress.stages.items()]
    return "  ".join(facts)


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 100:
        return f"{seconds:.1f} s"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s"


def show_status(status: Status, *, json: bool) -> None:
    """Print where a job is."""
    if json:
        JsonLines(sys.stdout).write({**record(status), "left": status.left})
        return
    print(f"{status.jobs}: {'running' if status.running else 'not running'}")
    print(
        f"rows {status.rows:,}: answered {status.answered:,}, failed {status.failed:,}, "
        f"wrong {status.wrong:,}, left {status.left:,}"
    )
    if status.rate is not None:
        left = "" if status.time_left is None else f", {_time(status.time_left)} left"
        print(f"{status.rate:.2f} rows/s{left}")
