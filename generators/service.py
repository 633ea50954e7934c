"""Running a card of a service: each call is one POST, and what comes back is a medium or an error.

Nothing that a service sends is trusted: its answer is bounded, known by its content, decoded within
limits and written again as ModaVerse writes everything; its words appear in errors only, short and on one
line. The key is read from the environment for each call, is sent to the card's own host alone, and stands in
no message.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import json
import os
import secrets
import ssl
import tempfile
import threading
import time
from datetime import UTC, datetime
from typing import Any

from modaverse.errors import GenerationCancelled, GenerationError, InputError
from modaverse.interfaces import CallSpec, Cancelled, Decoded, GenerationRequest, Progress
from modaverse.media import decode, media_from_bytes

from .card import check_options
from .service_card import ServiceCall, ServiceCard
from .transport import Answer, post

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_PAUSE = 0.5  # seconds; doubled with each attempt where the service does not say how long to wait
_LOOK_SECONDS = 0.05
_SHOWN_CHARS = 200


class ServiceGenerator:
    """One kind of call of one service; see `modaverse.interfaces.Generator`.

    It has no `fingerprint`, so nothing of it is cached: what decides its results lies on another machine.
    """

    def __init__(self, card: ServiceCard, call: ServiceCall) -> None:
        self.card = card
        self.call = call
        self.concurrency = card.service.concurrency
        self._spec = call.spec()

    @property
    def spec(self) -> CallSpec:
        return self._spec

    def load(self) -> None:
        """See whether there is a key; nothing is sent.

        Raises:
            GenerationError: the environment holds none.
        """
        service_key(self.card)

    def generate(self, request: GenerationRequest, *, progress: Progress, cancelled: Cancelled) -> Decoded:
        """Ask the service once, and again where it is busy.

        Raises:
            GenerationError: it refuses, or answers with what is no such medium.
            GenerationTimeout: it did not answer within the card's time.
            GenerationCancelled: `cancelled()` was true.
        """
        check_options(self.card.name, self._spec, request)
        arguments = self._arguments(request)
        if self.call.source is None:
            content, kind = json.dumps(arguments).encode(), "application/json"
        else:
            content, kind = _form(arguments, self.call.source_argument, *self._source(request))
        answer = self._ask(content, kind, cancelled)
        made = self._decoded(self._content(answer))
        progress(1, 1)
        return made

    def _arguments(self, request: GenerationRequest) -> dict[str, Any]:
        call = self.call
        arguments: dict[str, Any] = {**call.arguments, call.prompt_argument: request.prompt}
        if call.seed_argument is not None:
            arguments[call.seed_argument] = request.seed
        for name, value in request.options.items():
            arguments[call.options[name].argument or name] = value
        return arguments

    def _source(self, request: GenerationRequest) -> tuple[bytes, str]:
        """Source's file, and its MIME type."""
        if request.source is None or request.source.modality is not self.call.source:
            raise GenerationError(
                f"{self.call.model} needs a source of kind {self.call.source}",
                hint="Name a medium in Source.",
            )
        try:
            return request.source.path.read_bytes(), request.source.mime
        except OSError as error:
            raise GenerationError(
                f"{self.call.model}: the source cannot be read: {error.strerror}", hint="Give it again."
            ) from error

    # ------------------------------------------------------------------------------------- asking

    def _ask(self, content: bytes, kind: str, cancelled: Cancelled) -> Answer:
        service = self.card.service
        until = time.monotonic() + service.timeout
        for attempt in range(service.retries + 1):
            pause = _FIRST_PAUSE * 2**attempt
            try:
                answer = post(
                    service.url,
                    content,
                    self._headers(kind),
                    until=until,
                    max_bytes=round(service.max_mb * 1e6),
                    cancelled=cancelled,
                )
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                fault, again = self._unreachable(error), not isinstance(error, ssl.SSLCertVerificationError)
            else:
                if answer.status == 200:
                    return answer
                fault, again = self._refused(answer), answer.status in _BUSY
                pause = _retry_after(answer) or pause
            if not again or attempt == service.retries or time.monotonic() + pause >= until:
                raise fault
            self._wait(pause, cancelled)
        raise AssertionError("the last attempt returns or raises")

    def _headers(self, kind: str) -> dict[str, str]:
        headers = {"Content-Type": kind, "Accept-Encoding": "identity", "Connection": "close"}
        key = service_key(self.card)
        return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}

    def _wait(self, seconds: float, cancelled: Cancelled) -> None:
        until = time.monotonic() + seconds
        never = threading.Event()
        while (left := until - time.monotonic()) > 0:
            if cancelled():
                raise GenerationCancelled(
                    f"{self.card.service.host} is no longer asked", hint="Ask again if it is wanted."
                )
            never.wait(min(left, _LOOK_SECONDS))

    # ------------------------------------------------------------------------------------- faults

    def _unreachable(self, error: Exception) -> GenerationError:
        why = self._shown(str(error) or type(error).__name__)
        return GenerationError(
            f"generator {self.card.name}: {self.card.service.host} cannot be reached: {why}",
            hint="Check the network, and the url in the generator's card.",
        )

    def _refused(self, answer: Answer) -> GenerationError:
        host, key = self.card.service.host, self.card.service.key
        said, hint = _message(answer.body), "Change the request or the arguments in the generator's card."
        if answer.status in (401, 403):
            what = f"{host} refuses access ({answer.status})"
            hint = f"Check the key in {key}." if key else "Name the variable of a key in the card."
        elif 300 <= answer.status < 400:
            elsewhere = self._shown(answer.headers.get("location", "")) or "another address"
            what, said = f"{host} sends on to {elsewhere}, which is not followed", ""
            hint = "Give the address itself as url in the generator's card."
        elif answer.status in _BUSY:
            what = f"{host} is busy or out of order ({answer.status})"
            hint = "Ask again later."
        else:
            what = f"{host} answers {answer.status}"
        detail = f": {self._shown(said)}" if said else ""
        return GenerationError(f"generator {self.card.name}: {what}{detail}", hint=hint)

    def _shown(self, text: str) -> str:
        """Words from outside as they may stand in a message: short, printable, and never with the key."""
        key = os.environ.get(self.card.service.key or "", "").strip()
        if key:
            text = text.replace(key, "***")
        words = " ".join("".join(c if c.isprintable() else " " for c in text[: 8 * _SHOWN_CHARS]).split())
        return words if len(words) <= _SHOWN_CHARS else words[: _SHOWN_CHARS - 1] + "…"

    def _useless(self, why: str, hint: str) -> GenerationError:
        return GenerationError(f"generator {self.card.name}: {self.card.service.host} {why}", hint=hint)

    # ------------------------------------------------------------------------------------ reading

    def _content(self, answer: Answer) -> bytes:
        """The bytes of the file that an answer holds."""
        if self.call.answer == "body":
            return answer.body
        hint = "The card's calls want answers with data[0].b64_json; see docs/generators.md."
        try:
            entry = json.loads(answer.body)["data"][0]
            if "b64_json" not in entry and "url" in entry:
                raise self._useless(
                    "answers with a link, which is not followed",
                    'Add response_format = "b64_json" to the arguments in the card.',
                )
            return base64.b64decode(entry["b64_json"], validate=True)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._useless("answers with something else than a file", hint) from error

    def _decoded(self, content: bytes) -> Decoded:
        with tempfile.TemporaryDirectory(prefix="modaverse-") as folder:
            try:
                media = media_from_bytes(content, folder)
                if media.modality is not self.call.makes:
                    raise self._useless(
                        f"answers with {media.modality}, not with {self.call.makes}",
                        "Correct makes in the generator's card.",
                    )
                return decode(media)
            except InputError as error:
                raise self._useless(f"answers with what is no medium: {error.message}", error.hint) from error


def open_service(card: ServiceCard) -> list[ServiceGenerator]:
    """One generator for each call of the card."""
    return [ServiceGenerator(card, call) for call in card.calls]


def service_key(card: ServiceCard) -> str | None:
    """The key from the environment; None where the service wants none.

    Raises:
        GenerationError: there is none, or what is there cannot be sent.
    """
    name = card.service.key
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise GenerationError(
            f"generator {card.name} needs a key, and {name} is not set",
            hint=f"Set {name} to a key.",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise GenerationError(
            f"generator {card.name}: {name} holds something else than a key", hint=f"Set {name} again."
        )
    return key


def _form(arguments: dict[str, Any], name: str, file: bytes, mime: str) -> tuple[bytes, str]:
    """A form with a file (multipart/form-data, RFC 7578), and its type."""
    boundary = secrets.token_hex(16)  # which nothing else that is sent holds
    parts = []
    for key, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value)
        parts.append(f'name="{key}"\r\n\r\n{text}'.encode(errors="replace"))
    label = f'name="{name}"; filename="source.{mime.rpartition("/")[2]}"'  # some go by the name's end
    parts.append(f"{label}\r\nContent-Type: {mime}\r\n\r\n".encode() + file)
    opening = f"--{boundary}\r\nContent-Disposition: form-data; ".encode()
    body = b"".join(opening + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def _retry_after(answer: Answer) -> float | None:
    """Seconds until the service wants to be asked again (RFC 9110, 10.2.3); None where it does not say."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _message(body: bytes) -> str:
    """What a service says about a fault: `error.message`, or else the beginning of the body."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, LookupError, TypeError, RecursionError):
        return body[: 8 * _SHOWN_CHARS].decode(errors="replace")
