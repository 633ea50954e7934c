"""A job on a local Ray cluster of several workers, of which some are killed while it runs."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modaverse.batch.events import BatchEvent, Finished, RowAnswered, RowFailed
from modaverse.batch.local import LocalEngine
from modaverse.batch.run import run_batch
from modaverse.batch.settings import BatchSettings
from modaverse.batch.testing import ScriptedParts
from modaverse.errors import SettingsError

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from modaverse.batch.cluster.engine import ClusterSettings, RayEngine

CAT = '<meta>{{"Model": "T-to-I", "Input": "a cat {}"}}</meta>'
ROWS = 60
KILLED_AT = 15  # rows that are answered when a worker of each kind is killed


def entries(path: Path) -> dict[str, dict[str, Any]]:
    """Entries by id, of which each stands there once."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    by_id = {entry["id"]: entry for entry in lines}
    assert len(by_id) == len(lines)
    return by_id


def said(entry: dict[str, Any]) -> tuple[Any, ...]:
    return entry["text"], entry["parts"], entry["seed"], entry["usage"], entry["finish_reason"]


def kill(pids: Path) -> int:
    """End one of the workers that left their numbers there, as the system would."""
    alive = [path.name for path in pids.iterdir() if Path("/proc", path.name).exists()]
    pid = int(alive[0])
    os.kill(pid, signal.SIGKILL)
    return pid


class Job:
    """Rows of which half make a picture, one that kills every LLM worker, and one every generator worker."""

    def __init__(self, folder: Path) -> None:
        self.jobs, self.out = folder / "jobs.jsonl", folder / "out"
        self.parts = ScriptedParts(folder / "pids", seconds=0.002)
        rows = [
            {"id": str(number), "instruction": f"Row {number}{CAT.format(number) * (number % 2)}"}
            for number in range(ROWS)
        ]
        rows += [
            {"id": "bad row", "instruction": "something deadly"},
            {"id": "bad call", "instruction": CAT.format("deadly")},
        ]
        self.jobs.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        self.events: list[BatchEvent] = []
        self.killed: list[int] = []
        self.left: list[str] = []
        self.reports_home = True
        self.llm_workers = 0

    def run(self, engine: RayEngine) -> Iterator[BatchEvent]:
        for event in run_batch(self.jobs, self.out, engine, BatchSettings()):
            self.events.append(event)
            yield event


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """The job, run with two workers of each kind."""
    made = Job(tmp_path_factory.mktemp("ray"))
    settings = ClusterSettings(llm_workers=2, generator_workers=2)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as temporary:
        patch.setattr(tempfile, "tempdir", temporary)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "1")  # what others want is nothing to the engine
        engine = RayEngine(made.parts, made.out / "media", settings, rows=4)
        try:
            answered = 0
            for event in made.run(engine):
                answered += isinstance(event, RowAnswered)
                if answered == KILLED_AT and not made.killed:
                    made.killed = [kill(made.parts.pids / name) for name in ("llm", "generators")]
                    made.reports_home = os.environ["RAY_USAGE_STATS_ENABLED"] != "0"
        except SettingsError as error:
            if str(error).startswith("no Ray cluster") and os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
                pytest.skip(f"Ray gives itself 30 s to start, and this machine is too busy for that: {error}")
            raise
        finally:
            engine.close()
        made.left = sorted(path.name for path in Path(temporary).iterdir())
        made.llm_workers = len(list((made.parts.pids / "llm").iterdir()))
        yield made


class Here(LocalEngine):
    """An engine whose models are no files."""

    def identity(self) -> dict[str, str]:
        return {}


def test_every_row_comes_to_its_end_once(job: Job) -> None:
    assert len(job.killed) == 2
    results, errors = entries(job.out / "results.jsonl"), entries(job.out / "errors.jsonl")
    assert set(results) == {str(number) for number in range(ROWS)}
    assert set(errors) == {"bad row", "bad call"}
    told = [event.id for event in job.events if isinstance(event, RowAnswered | RowFailed)]
    assert sorted(told) == sorted([*results, *errors])
    assert isinstance(job.events[-1], Finished)
    assert (job.out / "report.html").is_file()


def test_what_keeps_killing_workers_is_named(job: Job) -> None:
    errors = entries(job.out / "errors.jsonl")
    assert errors["bad row"]["kind"] == "WorkerDied"
    cause = errors["bad row"]["cause"]
    assert cause.startswith("3 workers died answering it, the last of them with nothing else to do: process ")
    assert len(cause) < 250  # of the page that Ray writes
    assert errors["bad call"]["kind"] == "GenerationError"
    assert "T-to-I made nothing: 3 workers died making it" in errors["bad call"]["cause"]
    assert job.llm_workers >= 1 + 3  # two began and four died, so dead ones were replaced


def test_rows_are_answered_as_on_one_machine(job: Job, tmp_path: Path) -> None:
    lines = job.jobs.read_text().splitlines()
    job.jobs.write_text("".join(f"{line}\n" for line in lines if "deadly" not in line))
    with job.parts.generators(tmp_path / "media") as pool:
        engine = Here(job.parts.language(tmp_path / "media", pool), rows=4)
        list(run_batch(job.jobs, tmp_path, engine, BatchSettings()))
    here, there = entries(tmp_path / "results.jsonl"), entries(job.out / "results.jsonl")
    assert {name: said(entry) for name, entry in here.items()} == {
        name: said(entry) for name, entry in there.items()
    }
    for entry in there.values():
        for path in entry["media"]:
            assert (job.out / path).read_bytes() == (tmp_path / path).read_bytes()


def test_nothing_is_left_behind_or_sent_home(job: Job) -> None:
    assert job.left == []
    assert not job.reports_home


def test_a_client_address_is_refused(tmp_path: Path) -> None:
    engine = RayEngine(ScriptedParts(tmp_path), tmp_path, ClusterSettings(address="ray://head:10001"))
    with pytest.raises(SettingsError, match="Ray client"):
        engine.identity()
    engine.close()
