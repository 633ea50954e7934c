"""Several processes on this machine that train together, without a launcher of its own.

For several machines there are `torchrun` and `accelerate launch`, which start the same command. On one, a
process for each GPU is what one wants; and on a CPU, processes of one thread each do more than one process of
many threads, which wait for each other after every operation.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 30.0


def is_launched() -> bool:
    """True in a process that was started together with others."""
    return "RANK" in os.environ


def launch(command: Sequence[str], processes: int, *, threads: int | None = None) -> int:
    """Run `command` in `processes` processes that find each other; returns the exit code that counts.

    SIGINT and SIGTERM are handed on to all. When one process fails, the others are ended. The first process
    has the terminal; what another one says on stderr is shown if it was the one that failed.

    Args:
        threads: of each process; an even share of the cores by default.
    """
    threads = threads or max(1, (os.cpu_count() or 1) // processes)
    with tempfile.TemporaryDirectory(prefix="modaverse-") as scratch:
        errors = [os.path.join(scratch, str(rank)) for rank in range(processes)]
        workers: list[subprocess.Popen[bytes]] = []
        with _signals_for(workers):
            port = _free_port()
            for rank in range(processes):
                environment = _environment(rank, processes, port, threads)
                workers.append(_start(command, environment, None if rank == 0 else errors[rank]))
            failed = _wait(workers)
        if failed:  # not the first one, whose words were seen
            with open(errors[failed], encoding="utf-8", errors="replace") as file:
                sys.stderr.write(file.read())
    return _exit_code(workers[failed or 0])


def _environment(rank: int, processes: int, port: int, threads: int) -> Mapping[str, str]:
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads),
    }
    if sys.platform == "linux":  # not whatever the host's name resolves to
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return environment


def _start(
    command: Sequence[str], environment: Mapping[str, str], errors: str | None
) -> subprocess.Popen[bytes]:
    if errors is None:
        return subprocess.Popen(command, env=environment)
    with open(errors, "wb") as file:
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=file)


def _wait(workers: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Until all have ended; the rank of the one that failed first, if one did."""
    failed: int | None = None
    deadline = float("inf")
    while failed is None or any(worker.poll() is None for worker in workers):
        running = any(worker.poll() is None for worker in workers)
        if failed is None:
            failed = next((rank for rank, worker in enumerate(workers) if worker.poll()), None)
            if failed is not None:
                deadline = time.monotonic() + _GRACE_SECONDS
                _signal(workers, signal.SIGTERM)
            elif not running:
                return None
        elif time.monotonic() > deadline:
            _signal(workers, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    return failed


def _signal(workers: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)


@contextmanager
def _signals_for(workers: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Hand SIGTERM on. SIGINT from a terminal reaches the whole group by itself; one from elsewhere does not,
    and a worker that gets it twice would not save, so SIGTERM is what is handed on in both cases."""

    def hand_on(number: int, _: FrameType | None) -> None:
        _signal(workers, signal.SIGTERM)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_code(worker: subprocess.Popen[bytes]) -> int:
    """As a shell says it: 128 and the signal's number where one ended the process."""
    code = worker.returncode
    return code if code >= 0 else 128 - code


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
