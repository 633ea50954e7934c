"""What a batch job costs besides its models: time for each row, and memory, from few rows to many.

    python benchmarks/batch_overhead.py [--rows 1000 10000 100000] [--out FILE]

The engine is the scripted one, which takes no time, so that all of it is the job's own: reading, checking,
writing, the report. Each size runs in a process of its own, twice: the second run finds all rows answered.
Times are CPU times of the process and wall times; memory is the most that was resident.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report


def measure(rows: int) -> dict[str, float]:
    """One job of so many rows, in this process."""
    from modaverse.batch.run import run_batch
    from modaverse.batch.settings import BatchSettings
    from modaverse.batch.testing import ScriptedEngine

    with tempfile.TemporaryDirectory() as name:
        jobs, out = Path(name) / "jobs.jsonl", Path(name) / "out"
        with jobs.open("w", encoding="utf-8") as file:
            for number in range(rows):
                row = {"id": f"row-{number}", "instruction": f"Say what number {number} is like. " * 4}
                file.write(json.dumps(row) + "\n")
        measured: dict[str, float] = {}
        for run in ("all", "none"):
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in run_batch(jobs, out, ScriptedEngine(out / "media", in_flight=16), BatchSettings()):
                pass
            measured[f"{run} wall"] = time.perf_counter() - wall
            measured[f"{run} cpu"] = time.process_time() - cpu
        measured["MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return measured


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child)))
        return
    lines = []
    for rows in options.rows:
        command = [sys.executable, __file__, "--child", str(rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        each = (
            f"{found[name] / rows * 1e3:.3f}" for name in ("all cpu", "all wall", "none cpu", "none wall")
        )
        lines.append([f"{rows:,}", *each, f"{found['MB']:.0f}"])
    header = ("rows", "CPU ms a row", "wall ms a row", "resumed: CPU", "resumed: wall", "peak MB")
    text = report.table(header, lines)
    if options.out:
        title = "What a batch job costs besides its models"
        report.write(options.out, title, [report.machine(["modaverse"]), __doc__ or "", text])
    else:
        print(text)


if __name__ == "__main__":
    main()
