"""Rows from an endpoint: asked with care, paid once, gone on with after a fault, and the key told nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modaverse.data.asking import Prompts, ask_for_rows
from modaverse.data.building import Kind, Recipe
from modaverse.data.captions import Captioned
from modaverse.data.chat_endpoint import ChatClient, Endpoint
from modaverse.errors import GenerationError, InputError, SettingsError
from modaverse.training.rows import CallPart, MediaPart, Row

KEY = "sk-secret-0123"
ITEMS = [Captioned(name, (f"caption of {name}",), name) for name in ("red.png", "tone.wav", "film.mp4")]
Body = dict[str, Any]
Behave = Callable[[int, Body], tuple[int, dict[str, str], object]]


def said(content: object, *, tokens: tuple[int, int] = (100, 20)) -> tuple[int, dict[str, str], object]:
    text = content if isinstance(content, str) else json.dumps(content)
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return 200, {}, {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}


def exchange(_: int, body: Body) -> tuple[int, dict[str, str], object]:
    """A good reply to each kind of task."""
    task = body["messages"][1]["content"]
    prompt = None if "stays null" in task else f"prompt for {task.splitlines()[-1]}"
    return said({"request": "Please?", "answer": "Here:", "prompt": prompt, "after": "Done."})


class Server:
    """An endpoint on this machine; `behave` decides each reply."""

    def __init__(self) -> None:
        self.behave: Behave = exchange
        self.asked: list[Body] = []
        self.keys: set[str | None] = set()
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with owner._lock:
                    owner.asked.append(body)
                    number = len(owner.asked)
                    owner.keys.add(self.headers["Authorization"])
                    owner._now += 1
                    owner.most = max(owner.most, owner._now)
                status, headers, value = owner.behave(number, body)
                with owner._lock:
                    owner._now -= 1
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                for name, text in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


class Asker:
    """Asks for all rows with one client after the other, as runs of the command would."""

    def __init__(self, server: Server, media: Path, cache: Path) -> None:
        self._server, self._media, self._cache = server, media, cache
        self.waits: list[float] = []
        self.line = ""

    def __call__(
        self, *, concurrency: int = 1, kinds: tuple[Kind, ...] = tuple(Kind), **options: Any
    ) -> list[Any]:
        endpoint = Endpoint(self._server.url, "m", KEY, prices=(1.0, 10.0), **options)
        client = ChatClient(endpoint, self._cache, sleep=self.waits.append)
        rows = ask_for_rows(
            ITEMS, self._media, client, Prompts.load(), Recipe(kinds), concurrency=concurrency
        )
        try:
            return list(rows)
        finally:
            self.line = client.bill.line(endpoint.prices)


@pytest.fixture
def ask(server: Server, media: Path, tmp_path: Path) -> Asker:
    return Asker(server, media, tmp_path / "replies")


def test_rows_of_the_three_kinds_in_the_order_of_the_media(server: Server, ask: Asker) -> None:
    rows = ask(concurrency=4)
    assert [row.about["kind"] for row in rows] == [*Kind] * 3
    assert [row.media[0].uri for row in rows] == [item.uri for item in ITEMS for _ in Kind]
    for row in rows:
        calls = [part for part in row.turns[1].parts if isinstance(part, CallPart)]
        given = [part for part in row.turns[0].parts if isinstance(part, MediaPart)]
        match row.about["kind"]:
            case "input":
                assert (len(given), calls) == (1, [])
            case "reasoning":
                assert len(given) == len(calls) == 1
                assert (
                    calls[0].model != {"png": "T-to-I", "wav": "T-to-A", "mp4": "T-to-V"}[given[0].uri[-3:]]
                )
            case "output":
                assert given == []
                assert calls[0].input == f"prompt for caption of {row.media[0].uri}"
    assert all(body["model"] == "m" for body in server.asked)
    assert server.keys == {f"Bearer {KEY}"}


def test_what_was_paid_is_not_asked_again_and_the_bill_says_so(server: Server, ask: Asker) -> None:
    first = ask()
    assert ask.line == "9 requests, 900 + 180 tokens, $0.0027"
    again = ask()
    assert (again, len(server.asked)) == (first, 9)
    assert ask.line == "0 requests, 0 + 0 tokens, $0.0000; 9 from the cache instead of $0.0027"


def test_a_run_that_failed_goes_on_where_it_was(server: Server, ask: Asker) -> None:
    def broken(number: int, body: Body) -> tuple[int, dict[str, str], object]:
        return exchange(number, body) if number <= 4 else (400, {}, {"error": {"message": "no more"}})

    server.behave = broken
    with pytest.raises(GenerationError, match="answers 400: no more"):
        ask()
    assert ask.line.startswith("4 requests")
    server.behave = exchange
    assert len(ask()) == 9
    assert "5 requests" in ask.line
    assert "4 from the cache" in ask.line


def test_a_damaged_reply_in_the_cache_is_asked_for_again(server: Server, ask: Asker, tmp_path: Path) -> None:
    first = ask()
    for path in list(tmp_path.rglob("*.json"))[:2]:
        path.write_bytes(path.read_bytes()[:9])
    assert ask() == first
    assert len(server.asked) == 11


def test_what_can_help_is_tried_again_after_a_while(server: Server, ask: Asker) -> None:
    replies: list[tuple[int, dict[str, str], object]] = [
        (503, {}, b"busy"),
        (429, {"Retry-After": "17"}, {}),
        (429, {"Retry-After": "soon"}, {}),
    ]
    server.behave = lambda number, body: replies.pop(0) if replies else exchange(number, body)
    assert len(ask(kinds=(Kind.INPUT,))) == 3
    assert [round(wait) >= least for wait, least in zip(ask.waits, (0, 17, 2), strict=True)] == [True] * 3
    assert all(wait <= 60 for wait in ask.waits)


def test_after_some_tries_it_gives_up(server: Server, ask: Asker) -> None:
    server.behave = lambda number, body: (500, {}, b"")
    with pytest.raises(GenerationError, match="answers 500") as caught:
        ask(retries=2)
    assert len(server.asked) >= 3
    assert "kept" in caught.value.hint


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((401, {}, {"error": {"message": f"wrong key {KEY}"}}), r"401: wrong key \(key\)$"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "answers 302"),
        ((404, {}, b"<html>"), "answers 404$"),
        ((200, {}, b"<html>"), "something else than a chat"),
        ((200, {}, {"choices": []}), "something else than a chat"),
        ((200, {}, {"choices": [{"message": {"content": None}}]}), "something else than a chat"),
    ],
)
def test_what_cannot_help_ends_at_once(server: Server, ask: Asker, reply: Any, message: str) -> None:
    server.behave = lambda number, body: reply
    with pytest.raises(GenerationError, match=message) as caught:
        ask(kinds=(Kind.INPUT,))
    assert KEY not in str(caught.value) + caught.value.hint
    assert ask.waits == []


def test_a_reply_of_another_form_is_asked_for_anew_and_then_left_out(server: Server, ask: Asker) -> None:
    wrong: list[object] = [
        "I'd rather not.",
        {"request": "Please?", "answer": "Here:", "prompt": "a prompt where none belongs"},
        '```json\n{"request": "Please?", "answer": "A cat.", "prompt": null}\n```',
        *[
            '{"request": "", "answer": "x"}',
            '{"request": 3, "answer": "x"}',
            '{"request": "\\ud800", "answer": "x"}',
        ],
    ]
    server.behave = lambda number, body: said(wrong.pop(0)) if wrong else exchange(number, body)
    first, second, third = ask(kinds=(Kind.INPUT,))
    assert isinstance(first, Row)
    assert isinstance(second, InputError)
    assert "tone.wav: input: a reply of which request is no text" in second.message
    assert isinstance(third, Row)
    assert len({body["seed"] for body in server.asked[:3]}) == 3


def test_only_so_many_requests_are_under_way(server: Server, ask: Asker) -> None:
    together = threading.Barrier(3)

    def meet(number: int, body: Body) -> tuple[int, dict[str, str], object]:
        together.wait(timeout=30)  # none is answered until three are there
        return exchange(number, body)

    server.behave = meet
    assert len(ask(concurrency=3)) == 9
    assert server.most == 3


def test_the_key_stays_where_it_belongs(server: Server, ask: Asker, tmp_path: Path) -> None:
    ask()
    assert KEY not in repr(Endpoint(server.url, "m", KEY))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert kept
    assert KEY.encode() not in kept
    with pytest.raises(SettingsError, match="where everybody can read it"):
        Endpoint("http://example.org/v1", "m", KEY)
    Endpoint("https://example.org/v1", "m", KEY)
    Endpoint("http://example.org/v1", "m")


@pytest.mark.parametrize(
    "url", ["example.org", "ftp://example.org", "http://", "http://a:b@c/", "http://[x", "http://a:x/"]
)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="no URL"):
        Endpoint(url, "m")
