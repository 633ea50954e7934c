"""Does a batch job survive kill -9 at any moment, with every row answered once and no file cut off?

    python benchmarks/kill.py [--kills 20] [--rows 500] [--profile NAME] [--seed 0] [--out FILE]

A job is started again and again, and killed each time at a random moment; when it is finished nevertheless,
another one is begun. Without a profile its engine is the scripted one, and the rows that it begins are
counted; with one it is `modaverse batch`. Ends with 1 where anything was lost, done twice or cut off.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import report

IN_FLIGHT = 4
UNWRITTEN = IN_FLIGHT + 2
"""Rows that a kill may cost: those that the engine holds, one that waits to be written, one being written."""
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGP8z8DAwMDAxMDAwMDA"
    "AAANHQEDasKb6QAAAABJRU5ErkJggg=="
)


def write_rows(path: Path, count: int) -> None:
    """Rows of words, of pictures to draw, with a medium now and then, and a few that are wrong or fail."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            row: dict[str, object] = {"id": f"row-{number}", "instruction": f"say {number}"}
            if number % 4 == 1:
                row["instruction"] = f"draw {number}"
            if number % 50 == 2:
                row["media"] = [PIXEL]
            if number % 100 == 3:
                row["instruction"] = "fail"
            if number % 100 == 4:
                row["media"] = ["nowhere.png"]
            file.write(json.dumps(row) + "\n")


def work(folder: Path) -> None:
    """One run of the job on the scripted engine, in the process that is killed."""
    from modaverse.batch.run import run_batch
    from modaverse.batch.settings import BatchSettings
    from modaverse.batch.testing import ScriptedEngine
    from modaverse.batch.values import Request

    begun = os.open(folder / "begun", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(row: Request) -> None:
        os.write(begun, f"{row.id}\n".encode())

    out = folder / "out"
    engine = ScriptedEngine(out / "media", in_flight=IN_FLIGHT, seconds=0.001, before=note)
    for _ in run_batch(folder / "jobs.jsonl", out, engine, BatchSettings()):
        pass


def command(folder: Path, profile: str | None) -> list[str]:
    if profile is None:
        return [sys.executable, __file__, "--child", str(folder)]
    jobs, out = str(folder / "jobs.jsonl"), str(folder / "out")
    return [sys.executable, "-m", "modaverse", "batch", jobs, "--out", out, "--profile", profile]


def entries(path: Path) -> list[dict[str, object]]:
    """The whole lines of a file. A last line that was cut off is no fault before the next run."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def faults_of(out: Path) -> list[str]:
    """What must not be, at any moment: an id twice, a file cut off under its final name, a medium missing."""
    faults = []
    results = entries(out / "results.jsonl")
    twice = [name for name, count in Counter(entry["id"] for entry in results).items() if count > 1]
    if twice:
        faults.append(f"answered twice: {twice[:5]}")
    for path in (out / "media").glob("[!.]*"):
        if not path.stem.endswith(hashlib.sha256(path.read_bytes()).hexdigest()[:16]):
            faults.append(f"{path.name} is not what its name says")
    for entry in results:
        media = entry["media"]
        if not isinstance(media, list) or not all((out / str(path)).is_file() for path in media):
            faults.append(f"{entry['id']}: a medium is missing")
    return faults


def finished(folder: Path, rows: int) -> list[str]:
    """What must hold in the end: every id stands once, in one file or the other."""
    out = folder / "out"
    ids = Counter(
        str(entry["id"]) for name in ("results.jsonl", "errors.jsonl") for entry in entries(out / name)
    )
    expected = {f"row-{number}" for number in range(rows)}
    wrong = [name for name in expected | ids.keys() if ids[name] != 1 or name not in expected]
    return [f"not exactly once: {sorted(wrong)[:5]}"] if wrong else []


def killed(start: list[str], results: Path, more: int, pause: float) -> bool:
    """Run a command and kill it `pause` seconds after `more` rows were added; False where it ended before."""
    goal = lines_of(results) + more
    with subprocess.Popen(start, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if lines_of(results) >= goal:
                time.sleep(pause)
                process.kill()
                process.wait()
                return True
            time.sleep(0.002)
        if process.returncode not in (0, 1):
            raise SystemExit(f"the job ended with {process.returncode}")
    return False


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--profile")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work(options.child)
        return 0
    draw = random.Random(options.seed)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = folder / "out"
        write_rows(folder / "jobs.jsonl", options.rows)
        start = command(folder, options.profile)
        kills = recomputed = 0
        while True:
            # By rows and not by the clock, so that a busy machine is not killed while it starts each time;
            # none more is a moment of the start or, towards the end, one after the last row.
            more = draw.randrange(0, max(2, options.rows * 3 // 2 // options.kills))
            pause = draw.uniform(0, 0.05) if more else draw.uniform(0, 1)
            if kills < options.kills and killed(start, out / "results.jsonl", more, pause):
                kills += 1
                faults += faults_of(out)
                continue
            code = subprocess.run(start, stdout=subprocess.DEVNULL, check=False).returncode
            faults += [] if code in (0, 1) else [f"the last run ended with {code}"]
            faults += faults_of(out) + finished(folder, options.rows)
            recomputed += again(folder, options.rows)
            if kills == options.kills:
                break
            out.rename(folder / f"out-{kills}")
        if recomputed > kills * UNWRITTEN:
            faults.append(f"{recomputed} rows were begun again after {kills} kills")
    row = (options.rows, kills, recomputed if options.profile is None else "not counted", len(faults))
    text = report.table(("rows", "kills", "rows begun again", "faults"), [row])
    print("\n".join([text, *faults]))
    if options.out:
        where = report.machine(["modaverse"])
        report.write(options.out, "Killing batch jobs", [where, __doc__ or "", text, *faults])
    return 1 if faults else 0


def again(folder: Path, rows: int) -> int:
    """How many rows were begun more than once; rows that fail are begun in each run."""
    path = folder / "begun"
    if not path.exists():
        return 0
    begun = Counter(path.read_text().split())
    path.unlink()
    failing = {f"row-{number}" for number in range(3, rows, 100)}
    return sum(count - 1 for name, count in begun.items() if name not in failing)


if __name__ == "__main__":
    sys.exit(main())
