"""Fetching a medium by its URL, from hosts that the user named and from nowhere else.

A row is written by somebody else, so that its URL may aim at what only this machine can reach. Therefore a
host must be allowed by its name, every address that the name stands for must be a public one, the connection
goes to just the address that was looked at, and all of it is done again for each redirect. Proxies and
credentials of this machine take no part.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from urllib.parse import SplitResult, urljoin, urlsplit

from modaverse.errors import MediaError

MAX_REDIRECTS = 5
SECONDS = 60.0
"""How long a medium may take to come."""

Resolve = Callable[[str, int], Iterable[str]]
"""The addresses of a host, as text."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DOWNLOAD = "Download the file and give its path."


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet: no private, local, shared or reserved one."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64, RFC 6052
            inner = ipaddress.IPv4Address(ip.packed[-4:])
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def resolve(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver gives."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in found))


class Fetcher:
    """Fetches from `hosts`: names, or `*.example.org` for all below one.

    `resolve` and `admitted` (which addresses may be connected to) are for tests.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        max_bytes: int,
        seconds: float = SECONDS,
        resolve: Resolve = resolve,
        admitted: Callable[[str], bool] = is_public,
    ) -> None:
        self._hosts = tuple(host.lower().rstrip(".") for host in hosts)
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._resolve, self._admitted = resolve, admitted

    def check(self, url: str) -> SplitResult:
        """A URL in its parts, without asking anybody.

        Raises:
            MediaError: it is no http(s) URL, or its host is not allowed.
        """
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise MediaError(f"{url!r} is no URL ({error})", hint="Write https://HOST/PATH.") from None
        if parts.scheme not in ("http", "https") or not host or not url.isprintable():
            raise MediaError(f"{url!r} is no URL that is fetched", hint="Write https://HOST/PATH.")
        if not any(_matches(host.lower().rstrip("."), pattern) for pattern in self._hosts):
            raise MediaError(
                f"{url}: media are not fetched from {host}",
                hint=f"Download the file and give its path, or allow it with --allow-hosts {host}.",
            )
        return parts

    def fetch(self, url: str) -> bytes:
        """What lies there.

        Raises:
            MediaError: it may not be fetched, cannot be, or is too large.
        """
        end = time.monotonic() + self._seconds
        place = url
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._get(place, end)
            if isinstance(answer, bytes):
                return answer
            place = urljoin(place, answer)
        raise MediaError(f"{url}: it leads on more than {MAX_REDIRECTS} times", hint=_DOWNLOAD)

    def _get(self, url: str, end: float) -> bytes | str:
        """The content, or the address that it leads on to."""
        parts = self.check(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            connection = self._connect(parts.scheme, host, port, end, url)
            try:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("GET", path, headers={"Accept-Encoding": "identity"})
                response = connection.getresponse()
                if response.status in _REDIRECTS and (onward := response.getheader("Location")):
                    return onward
                if response.status != 200:
                    raise MediaError(f"{url}: {host} answers {response.status}", hint=_DOWNLOAD)
                return self._read(response, connection, end, url)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MediaError(f"{url}: it cannot be fetched ({reason})", hint=_DOWNLOAD) from error

    def _connect(self, scheme: str, host: str, port: int, end: float, url: str) -> http.client.HTTPConnection:
        addresses = list(self._resolve(host, port))
        private = [address for address in addresses if not self._admitted(address)]
        if private or not addresses:
            raise MediaError(
                f"{url}: {host} is {private[0] if private else 'nowhere'}, which is no public address",
                hint=_DOWNLOAD,
            )
        connection = http.client.HTTPConnection(host, port)
        plain = socket.create_connection((addresses[0], port), timeout=_left(end))
        try:
            connection.sock = (
                ssl.create_default_context().wrap_socket(plain, server_hostname=host)
                if scheme == "https"
                else plain
            )
        except BaseException:
            plain.close()
            raise
        return connection

    def _read(
        self,
        response: http.client.HTTPResponse,
        connection: http.client.HTTPConnection,
        end: float,
        url: str,
    ) -> bytes:
        data = bytearray()
        while True:
            if connection.sock is not None:
                connection.sock.settimeout(_left(end))
            _left(end)
            piece = response.read1(2**16)
            if not piece:
                break
            data += piece
            if len(data) > self._max_bytes:
                raise MediaError(
                    f"{url}: it has more than {self._max_bytes / 1e6:,.1f} MB",
                    hint="Give a smaller version, or raise the media limit max_bytes.",
                )
        if response.length:
            raise MediaError(f"{url}: the connection ended too early", hint=_DOWNLOAD)
        return bytes(data)


def _matches(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("it takes too long")
    return left
