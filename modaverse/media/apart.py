"""Reading media in another process, which can be killed.

Decoders are C code that reads what strangers wrote. A file that makes one hang, crash or take all memory
costs that process and no more: the file is an error, and the next one is read by a new process.

    with MediaProcess(limits) as process:
        media = process.read(path)        # as `read_media`, after all of it was decoded once

What passed here may be decoded in the caller's own process: the same code has read the same bytes.
The process is this module run as a program: paths come in and findings go out, a JSON object on a line each.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from modaverse.context import Media, Modality
from modaverse.errors import MediaError, ModaVerseError
from modaverse.media.decoding import decode, read_media
from modaverse.media.files import MediaLimits, shown

SECONDS = 10.0
"""How long the reading of one file may take."""
_START_SECONDS = 60.0
_ROOM = 256 * 2**20  # bytes besides the decoded values, which may stand in memory twice
_SMALLER = "Give a smaller or shorter version, or export it again with another program."


class MediaProcess:
    """A process that reads media, started when it is first needed. Any thread may use it, one at a time."""

    def __init__(self, limits: MediaLimits | None = None, *, seconds: float = SECONDS) -> None:
        self._limits = limits or MediaLimits()
        self._seconds = seconds
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def read(self, path: Path | str) -> Media:
        """A file as `Media`, once all of it could be decoded.

        Raises:
            MediaError: the file cannot be used, or cannot be read within the time and memory there is.
        """
        with self._turn:
            answer = self._ask(Path(path))
        if "error" in answer:
            raise MediaError(answer["error"], hint=answer["hint"])
        return Media(Modality(answer["modality"]), Path(path), answer["mime"], answer["sha256"])

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def __enter__(self) -> MediaProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, path: Path) -> dict[str, Any]:
        question = json.dumps({"path": os.fspath(path)}).encode() + b"\n"
        child = self._started()
        assert child.stdin is not None
        assert child.stdout is not None
        fault = "reading it made the decoder fail"
        try:
            child.stdin.write(question)
            child.stdin.flush()
            if line := _line(child.stdout, self._seconds):
                answer: dict[str, Any] = json.loads(line)
                return answer
        except BrokenPipeError:
            pass
        except TimeoutError:
            fault = f"reading it takes longer than {self._seconds:g} s"
        self.close()
        return {"error": f"{shown(path)}: {fault}", "hint": _SMALLER}

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        values = json.dumps({"limits": asdict(self._limits), "seconds": self._seconds})
        self._child = subprocess.Popen(
            [sys.executable, "-m", "modaverse.media.apart", values],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Not of the terminal's group, so that Ctrl-C reaches only who handles it.
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._child.stdout is not None
        try:
            ready = _line(self._child.stdout, _START_SECONDS)
        except TimeoutError:
            ready = b""
        if not ready:
            self.close()
            raise MediaError(
                "the process that reads media cannot be started",
                hint="See whether modaverse doctor finds a fault in the installation.",
            )
        return self._child


def _line(pipe: IO[bytes], seconds: float) -> bytes:
    """The next line of a pipe, or nothing where it is closed.

    Raises:
        TimeoutError: none came in time.
    """
    end = time.monotonic() + seconds
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise TimeoutError
        piece = os.read(pipe.fileno(), 65_536)
        if not piece:
            return b""
        line += piece
    return line


# ------------------------------------------------------------------------------- the other process


def _serve(limits: MediaLimits, seconds: float) -> None:
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no answer
    _limit_memory(2 * limits.max_decoded_bytes + _ROOM)
    answers.write(b"{}\n")
    for line in sys.stdin.buffer:
        _limit_time(seconds)
        answers.write(json.dumps(_findings(Path(json.loads(line)["path"]), limits)).encode() + b"\n")


def _findings(path: Path, limits: MediaLimits) -> dict[str, str]:
    try:
        media = read_media(path, limits=limits)
        decode(media, limits)
    except ModaVerseError as error:
        return {"error": error.message, "hint": error.hint}
    except MemoryError:
        return {"error": f"{shown(path)}: decoding it takes more memory than it may", "hint": _SMALLER}
    return {"modality": str(media.modality), "mime": media.mime, "sha256": media.sha256}


def _limit_memory(more: int) -> None:
    """Let this process take `more` bytes than it has now, where the system can see to that."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        status = Path("/proc/self/status").read_text()
        now = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (now + more, now + more))


def _limit_time(seconds: float) -> None:
    """End this process if it is still at the same file when nobody can be waiting for it any more."""
    with contextlib.suppress(ImportError, AttributeError):
        import signal

        signal.alarm(math.ceil(seconds) + 5)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    _serve(MediaLimits(**given["limits"]), given["seconds"])
