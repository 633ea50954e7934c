"""`modaverse batch`: what it shows, how it ends, and that Ctrl-C leaves a job that goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from modaverse.batch.testing import ScriptedEngine
from modaverse.cli import batch_job


def write(path: Path, *rows: dict[str, Any] | str) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def row(row_id: str, instruction: str = "say", **more: Any) -> dict[str, Any]:
    return {"id": row_id, "instruction": instruction, **more}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted engine in place of models."""

    def engine(models: Any, **_: Any) -> ScriptedEngine:
        return ScriptedEngine(models.folder, identity={"temperature": str(models.profile.answer.temperature)})

    monkeypatch.setattr(batch_job, "LocalEngine", engine)


def test_a_dry_run_names_wrong_rows_and_loads_nothing(modaverse, tmp_path: Path) -> None:
    jobs = write(tmp_path / "jobs.jsonl", row("a"), row("a"), row("b", media=["none.png"]), "{")
    result = modaverse("batch", jobs, "--out", "out", "--dry-run")
    lines = result.stdout.splitlines()
    assert result.returncode == 2
    assert [line.partition(": ")[2].partition(":")[2][:1] for line in lines[:3]] == ["2", "3", "4"]
    assert all("hint: " in line for line in lines[:3])
    assert lines[3] == "rows 4: answered 0, to do 1, wrong 3"
    assert not (tmp_path / "out").exists()
    assert modaverse("batch", write(jobs, row("a")), "--out", "out", "--dry-run").returncode == 0


@pytest.mark.usefixtures("scripted")
def test_a_job_its_status_and_its_report(modaverse, tmp_path: Path) -> None:
    jobs = write(tmp_path / "jobs.jsonl", row("a", "draw"), row("b", "fail"), "{")
    result = modaverse("batch", jobs, "--out", "out")
    assert result.returncode == 1
    assert "failed: b: the script says so  hint: Change the script." in result.stdout
    assert "answered 1, failed 1, wrong 1 of 3 rows" in result.stdout
    assert "saved: out/report.html" in result.stdout
    write(jobs, row("a", "draw"), row("b", "say"))
    again = modaverse("batch", "run", jobs, "--out", "out")
    assert again.returncode == 0
    assert "rows 2: answered 1, to do 1, wrong 0" in again.stdout
    assert "answered 2, failed 0, wrong 0 of 2 rows" in again.stdout
    status = modaverse("batch", "status", "out").stdout
    assert "not running" in status
    assert "rows 2: answered 2, failed 0, wrong 0, left 0" in status
    values = json.loads(modaverse("batch", "status", "out", "--json").stdout)
    assert (values["type"], values["answered"], values["left"], values["running"]) == ("Status", 2, 0, False)
    (tmp_path / "out" / "report.html").unlink()
    assert modaverse("batch", "report", "out").stdout == "out/report.html\n"
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.usefixtures("scripted")
def test_events_as_json(modaverse, tmp_path: Path) -> None:
    jobs = write(tmp_path / "jobs.jsonl", row("a"), row("b", "fail"))
    result = modaverse("batch", jobs, "--out", "out", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["type"] for event in events] == [
        "Checked",
        "Started",
        "RowAnswered",
        "RowFailed",
        "Finished",
    ]
    assert events[3]["progress"]["failed"] == 1
    assert events[3]["cause"] == "the script says so"


@pytest.mark.usefixtures("scripted")
def test_other_settings_are_refused(modaverse, tmp_path: Path) -> None:
    jobs = write(tmp_path / "jobs.jsonl", row("a"))
    assert modaverse("batch", jobs, "--out", "out").returncode == 0
    own = tmp_path / "own.toml"
    own.write_text('extends = "mini"\n[answer]\ntemperature = 0.7\n')
    result = modaverse("batch", jobs, "--out", "out", "--profile", own)
    assert result.returncode == 2
    assert "temperature was 0.0 and is 0.7" in result.stderr
    assert modaverse("batch", jobs, "--out", "out", "--profile", own, "--allow-mixed").returncode == 0
    assert modaverse("batch", jobs, "--out", "out", "--profile", own, "--fresh").returncode == 0
    assert modaverse("batch", jobs, "--out", "out", "--profile", own, "--max-bytes", "10").returncode == 0


def test_what_cannot_be_used_is_one_line(modaverse, tmp_path: Path) -> None:
    for arguments, message in (
        (("batch", "none.jsonl", "--out", "out", "--dry-run"), "cannot read none.jsonl"),
        (("batch", "none.jsonl", "--out", "out", "--profile", "nobody"), "there is no profile nobody"),
        (("batch", "none.jsonl", "--out", "out", "--llm-workers", "2"), "--llm-workers says something of"),
        (("batch", "status", "nowhere"), "holds no results"),
    ):
        result = modaverse(*arguments)
        assert result.returncode == 2
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_help_names_both_ways_to_call_it(modaverse) -> None:
    assert "modaverse batch JOBS.jsonl --out DIR" in modaverse("batch", "--help").stdout
    assert "--allow-mixed" in modaverse("batch", "jobs.jsonl", "--help").stdout


STUBBORN = """
import sys, time
from modaverse.batch.testing import ScriptedEngine
from modaverse.cli import batch_job, main

class Stubborn(ScriptedEngine):
    def cancel(self):
        pass  # as a model in the middle of a long step

batch_job.LocalEngine = lambda models, **_: Stubborn(models.folder)
sys.argv = ["modaverse", "batch", "jobs.jsonl", "--out", "out"]
main()
"""


@pytest.mark.slow
def test_ctrl_c_ends_it_soon_and_says_how_to_go_on(tmp_path: Path) -> None:
    write(tmp_path / "jobs.jsonl", row("a"), row("b", "wait for ever"), row("c"))
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    results = tmp_path / "out" / "results.jsonl"
    while process.poll() is None and not (results.exists() and results.read_bytes()):
        time.sleep(0.01)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert time.monotonic() - begin < 15  # 1.3 s where the machine is not busy
    assert "stopped; the same command goes on with the 2 rows that are left" in out
    assert errors == ""
    assert json.loads(results.read_text())["id"] == "a"
