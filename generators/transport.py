"""One POST over HTTP, bounded in time and bytes, and given up as soon as nobody wants its answer.

Python's own client is used as it stands: it follows no redirects, reads no proxy settings and keeps no
connection. What it does not bound (the time of a whole answer, which may come byte by byte) is bounded by
cutting the line.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from modaverse.errors import GenerationCancelled, GenerationError, GenerationTimeout

_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    until: float,
    max_bytes: int,
    cancelled: Callable[[], bool],
) -> Answer:
    """Post `body` to `url`, of which the scheme is http or https.

    Args:
        until: when to give up, on the clock of `time.monotonic`.

    Raises:
        OSError, http.client.HTTPException: the host cannot be reached, or breaks off.
        GenerationTimeout, GenerationCancelled: before the answer was there.
        GenerationError: the answer is larger than `max_bytes`, or packed.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    patience = min(_CONNECT_SECONDS, max(until - time.monotonic(), 0.1))
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=patience, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=patience)
    with contextlib.closing(connection):
        connection.connect()
        with _bounded(connection.sock, host, until, cancelled):
            connection.request("POST", target, body, dict(headers))
            with contextlib.closing(connection.getresponse()) as response:  # which may own the line by now
                content = _read(response, host, max_bytes)
                found = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, found, content)


@contextlib.contextmanager
def _bounded(line: socket.socket, host: str, until: float, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Cut `line` when its time is over or nobody wants the answer, and say that instead of what breaks."""
    line.settimeout(None)
    cut: list[GenerationError] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            if cancelled():
                cut.append(GenerationCancelled(f"{host} is no longer asked", hint="Ask again if wanted."))
            elif time.monotonic() >= until:
                cut.append(
                    GenerationTimeout(
                        f"{host} did not answer in time", hint="Give the card's service a longer timeout."
                    )
                )
            else:
                continue
            with contextlib.suppress(OSError):
                # Not the method of TLS sockets, which takes away from under the reader what it reads with.
                socket.socket.shutdown(line, socket.SHUT_RDWR)
            return

    watcher = threading.Thread(target=look, name="modaverse-line", daemon=True)
    watcher.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if cut:
            raise cut[0] from None
        raise
    finally:
        over.set()
        watcher.join()
    if cut:  # what was read up to there may look whole
        raise cut[0]


def _read(response: http.client.HTTPResponse, host: str, max_bytes: int) -> bytes:
    if response.getheader("Content-Encoding", "identity").lower() != "identity":
        # What is packed may unpack to any size, and it was not asked for.
        raise GenerationError(f"{host} sends a packed answer", hint="Ask whoever runs the service.")
    announced = response.length
    pieces: list[bytes] = []
    size = 0
    while announced is None or announced <= max_bytes:
        piece = response.read(_PIECE)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            break
    if size > max_bytes or (announced or 0) > max_bytes:
        raise GenerationError(
            f"{host} answers with more than {max_bytes / 1e6:g} MB",
            hint="Raise max_mb in the card's service, or ask for less.",
        )
    if announced is not None and size < announced:
        raise http.client.IncompleteRead(b"", announced - size)
    return b"".join(pieces)
