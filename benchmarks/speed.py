"""How long a user waits: medians of five, and peak memory, on this machine.

    python benchmarks/speed.py           everything
    python benchmarks/speed.py --help-only

`--help` and a cold `modaverse run` are processes of their own, from start to end. The warm requests share one
process, in which each kind is run once before it is measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PROGRAM = [sys.executable, "-m", "modaverse"]
WARM = {
    "text → image": "Draw a small red cat on a beach.",
    "text → audio": "Let me hear a high, fast bell.",
    "text → video": "Show me a large blue car at night that moves left fast.",
}


@dataclass(frozen=True)
class Measured:
    """Seconds of each run, and the most memory that any of them took, in GB."""

    what: str
    seconds: list[float]
    memory: float

    def __str__(self) -> str:
        low, high = min(self.seconds), max(self.seconds)
        median = statistics.median(self.seconds)
        return f"| {self.what} | {median:.2f} s | {low:.2f}–{high:.2f} s | {self.memory:.2f} GB |"


def timed_process(arguments: list[str]) -> tuple[float, float]:
    """Seconds from start to end of a process, and its peak memory in GB.

    Raises:
        RuntimeError: it ended with an error.
    """
    begin = time.perf_counter()
    process = subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"modaverse {' '.join(arguments)} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1e6


def processes(what: str, repeat: int, arguments: Callable[[int, str], list[str]]) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        runs = [timed_process(arguments(index, folder)) for index in range(repeat)]
    return Measured(what, [seconds for seconds, _ in runs], max(memory for _, memory in runs))


def warm_requests(repeat: int) -> Iterator[Measured]:
    from modaverse import ModaVerse

    modaverse = ModaVerse.from_profile("mini")
    for what, prompt in WARM.items():
        seconds = []
        for index in range(repeat + 1):
            begin = time.perf_counter()
            modaverse.run(prompt, seed=index)
            seconds.append(time.perf_counter() - begin)
        yield Measured(what, seconds[1:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--help-only", action="store_true", help="measure modaverse --help and stop")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}\n")
    print("| | median | range | peak memory |\n|---|---|---|---|")
    print(processes("modaverse --help", options.repeat, lambda index, folder: ["--help"]), flush=True)
    if options.help_only:
        return

    def cold(index: int, folder: str) -> list[str]:
        return ["run", WARM["text → image"], "--out", f"{folder}/{index}", "--seed", str(index)]

    print(processes("modaverse run, text → image, cold", options.repeat, cold), flush=True)
    for measured in warm_requests(options.repeat):
        print(measured, flush=True)


if __name__ == "__main__":
    main()
