"""A service on this machine that answers as it is told, and generators that ask it."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from modaverse.generators.opening import read_card
from modaverse.generators.service import ServiceGenerator
from modaverse.generators.service_card import ServiceCard
from modaverse.interfaces import Decoded, GenerationRequest

KEY = "sk-do-not-show-this-0123456789"
PATIENCE = 20.0

CARD = """
kind = "http"
summary = "Pictures and speech"
[licence]
name = "The service's own terms"
commercial = true
[service]
url = "{url}"
key = "TEST_SERVICE_KEY"
timeout = 10
[[calls]]
model = "T-to-I"
makes = "image"
answer = "json"
seed_argument = "seed"
[calls.arguments]
model = "painter-1"
size = "1024x1024"
[calls.options.size]
schema = {{ enum = ["1024x1024", "512x512"] }}
[[calls]]
model = "T-to-A"
makes = "audio"
answer = "body"
prompt_argument = "input"
[calls.arguments]
response_format = "wav"
[calls.options.pace]
argument = "speed"
schema = {{ type = "number", minimum = 0.5, maximum = 2 }}
"""


def png(size: tuple[int, int] = (8, 6), colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="PNG")
    return buffer.getvalue()


def wav() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(1600) / 5) / 2, 16000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def pictures(*files: bytes) -> bytes:
    return json.dumps({"data": [{"b64_json": base64.b64encode(file).decode()} for file in files]}).encode()


@dataclass
class Reply:
    """One answer. `slowly` sends byte by byte; `cut` leaves that many bytes out; `gate` is waited for."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    slowly: bool = False
    cut: int = 0
    gate: threading.Event | None = None


class Service(ThreadingHTTPServer):
    """Gives `replies` in turn, the last one for ever, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, *replies: Reply) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = list(replies)
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.times: list[float] = []
        self.arrived = threading.Semaphore(0)
        self.broken = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/make"

    def handle_error(self, request: object, client_address: object) -> None:
        self.broken.set()  # whoever asked has hung up, as some of these tests want


def posted(kind: str, content: bytes) -> dict[str, Any]:
    """What was posted: JSON, or a form as email's parser reads it."""
    if kind == "application/json":
        return json.loads(content)
    form = BytesParser(policy=policy.HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
    found: dict[str, Any] = {}
    for part in form.iter_parts():
        payload = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        found[name] = payload if part.get_filename() else payload.decode().rstrip("\r\n")
    return found


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        service = self.server
        content = self.rfile.read(int(self.headers["Content-Length"]))
        service.times.append(time.monotonic())
        service.asked.append((self.path, dict(self.headers), posted(self.headers["Content-Type"], content)))
        reply = service.replies.pop(0) if len(service.replies) > 1 else service.replies[0]
        service.arrived.release()
        if reply.gate is not None:
            reply.gate.wait(PATIENCE)
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if not reply.slowly:
            self.wfile.write(reply.body[: len(reply.body) - reply.cut])
            return
        while not service.broken.wait(0.02):
            self.wfile.write(b"x")

    def log_message(self, *_: object) -> None:
        pass


Serve = Callable[..., Service]


def card_of(url: str, tmp_path: Path, *changes: tuple[str, str]) -> ServiceCard:
    text = CARD.format(url=url)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "painter.toml"
    path.write_text(text, encoding="utf-8")
    card = read_card(str(path))
    assert isinstance(card, ServiceCard)
    return card


def generator_of(
    service: Service, tmp_path: Path, *changes: tuple[str, str], call: int = 0
) -> ServiceGenerator:
    card = card_of(service.url, tmp_path, *changes)
    return ServiceGenerator(card, card.calls[call])


def ask(
    generator: ServiceGenerator,
    options: dict[str, Any] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Decoded:
    request = GenerationRequest(generator.spec.model, "a red cat", 7, options or {})
    return generator.generate(request, progress=lambda step, steps: None, cancelled=cancelled)
