"""Media are fetched from allowed hosts at public addresses, and from nowhere else."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from modaverse.batch.fetch import MAX_REDIRECTS, Fetcher, is_public
from modaverse.errors import MediaError


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
        *("::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1"),
    ],
)
def test_addresses_of_this_side_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


class Server(http.server.BaseHTTPRequestHandler):
    """Paths say what comes: /data/N bytes, /to?URL leads on, /round to itself, /cut promises more, /404."""

    asked: list[str] = []  # noqa: RUF012  of the one server of a test

    def do_GET(self) -> None:
        Server.asked.append(self.path)
        kind, _, rest = self.path[1:].replace("?", "/", 1).partition("/")
        if kind == "to":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
        elif kind == "round":
            self.send_response(307)
            self.send_header("Location", "round")
            self.end_headers()
        elif kind in ("data", "cut"):
            body = b"x" * int(rest)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + (5 if kind == "cut" else 0)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_error(404)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Server.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def local(*hosts: str, addresses: dict[str, list[str]] | None = None, **options: Any) -> Fetcher:
    """A fetcher for which this machine alone is the internet."""
    table = {"media.test": ["127.0.0.1"], "inner.test": ["10.0.0.1"]} | (addresses or {})
    return Fetcher(
        hosts or ("media.test",),
        max_bytes=options.pop("max_bytes", 1000),
        resolve=lambda host, port: table.get(host, []),
        admitted=lambda address: address == "127.0.0.1",
        **options,
    )


def test_it_fetches_what_lies_there(port: int) -> None:
    assert local().fetch(f"http://media.test:{port}/data/1000") == b"x" * 1000
    assert local().fetch(f"http://media.test:{port}/to?/data/3") == b"xxx"
    assert local("*.test").fetch(f"http://MEDIA.test:{port}/data/3") == b"xxx"


def test_what_may_not_be_fetched_is_not_asked_for(port: int) -> None:
    at = f":{port}/data/3"
    table = [
        (local("other.test"), f"http://media.test{at}", "not fetched from media.test"),
        (local("*.test"), f"http://inner.test{at}", "inner.test is 10.0.0.1, which is no public address"),
        (local("*.test"), f"http://none.test{at}", "none.test is nowhere"),
        (
            local(addresses={"media.test": ["127.0.0.1", "10.0.0.1"]}),
            f"http://media.test{at}",
            "media.test is 10.0.0.1",
        ),
        (local("*.test"), f"http://test{at}", "not fetched from test"),
        (local("media.test"), f"http://media.test.evil.org{at}", "not fetched from media.test.evil.org"),
        (local("media.test"), f"http://media.test@evil.org{at}", "not fetched from evil.org"),
        (Fetcher(["localhost"], max_bytes=9), f"http://localhost{at}", "which is no public address"),
    ]
    for fetcher, url, message in table:
        with pytest.raises(MediaError, match=message) as caught:
            fetcher.fetch(url)
        assert caught.value.hint
    assert Server.asked == []


def test_each_redirect_is_looked_at(port: int) -> None:
    for onward, message in (
        (f"http://inner.test:{port}/data/1", "inner.test is 10.0.0.1"),
        (f"http://other.org:{port}/data/1", "not fetched from other.org"),
        ("file:///etc/passwd", "no URL that is fetched"),
        (f"//inner.test:{port}/data/1", "inner.test is 10.0.0.1"),
    ):
        with pytest.raises(MediaError, match=message):
            local("*.test").fetch(f"http://media.test:{port}/to?{onward}")
    assert all(path.startswith("/to") for path in Server.asked)


def test_it_does_not_go_round_in_circles(port: int) -> None:
    with pytest.raises(MediaError, match=f"more than {MAX_REDIRECTS} times"):
        local().fetch(f"http://media.test:{port}/round")
    assert len(Server.asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data/1001", "it has more than 0.0 MB"),
        ("cut/3", "ended too early|cannot be fetched"),
        ("gone", "media.test answers 404"),
    ],
)
def test_what_comes_wrong_is_said(port: int, path: str, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        local().fetch(f"http://media.test:{port}/{path}")


def test_who_does_not_answer_is_not_waited_for() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(MediaError, match="cannot be fetched"):
            local(seconds=0.2).fetch(f"http://media.test:{port}/data/1")
