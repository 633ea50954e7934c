"""A chat endpoint that speaks OpenAI's protocol, and a cache on disk: what was paid for is not asked twice.

The key stands in the header of a request and nowhere else: not in the cache, not in a message, not in `repr`.
It is sent over https only, or to this machine. No redirect is followed.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modaverse.errors import GenerationError, GenerationTimeout, SettingsError
from modaverse.generators.transport import Answer, post
from modaverse.media import write_bytes

MAX_REPLY = 4 * 2**20
"""Bytes of a reply."""

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_HERE = ("localhost", "127.0.0.1", "::1")

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask and how.

    url: the base, as "https://api.openai.com/v1"; a trailing /chat/completions is understood.
    prices: dollars for a million tokens, of the request and of the answer.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    temperature: float = 1.0
    max_tokens: int = 700
    timeout: float = 120.0
    retries: int = 6
    prices: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise SettingsError(f"{self.url!r} is no URL: {error}", hint="Write https://HOST/v1.") from None
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise SettingsError(f"{self.url!r} is no URL of an endpoint", hint="Write https://HOST/v1.")
        if self.key and parts.scheme == "http" and host not in _HERE:
            raise SettingsError(
                f"the key would go to {host} where everybody can read it", hint="Use https, or no key."
            )
        if self.key and not (self.key.isascii() and self.key.isprintable()):
            raise SettingsError(
                "the key has characters that no key has", hint="Look at the variable it is in."
            )

    @property
    def target(self) -> str:
        return f"{self.url.rstrip('/').removesuffix('/chat/completions')}/chat/completions"


@dataclass(frozen=True, slots=True)
class Reply:
    """What was said, and the tokens that it took; `cached` ones were paid before."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool


@dataclass
class Bill:
    """What all replies of a run took."""

    asked: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    saved_prompt_tokens: int = 0
    saved_completion_tokens: int = 0

    def add(self, reply: Reply) -> None:
        if reply.cached:
            self.cached += 1
            self.saved_prompt_tokens += reply.prompt_tokens
            self.saved_completion_tokens += reply.completion_tokens
        else:
            self.asked += 1
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens

    def line(self, prices: tuple[float, float]) -> str:
        """One line for people: requests, tokens, and dollars where prices are known."""
        text = (
            f"{self.asked:,} requests, {self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
            f"{_dollars(self.prompt_tokens, self.completion_tokens, prices)}"
        )
        if self.cached:
            saved = _dollars(self.saved_prompt_tokens, self.saved_completion_tokens, prices)
            text += f"; {self.cached:,} from the cache{' instead of' * bool(saved)}{saved.removeprefix(',')}"
        return text


def _dollars(prompt: int, completion: int, prices: tuple[float, float]) -> str:
    return f", ${(prompt * prices[0] + completion * prices[1]) / 1e6:.4f}" if any(prices) else ""


class ChatClient:
    """Asks an endpoint; may be used by several threads.

    Args:
        cache: folder of the replies; nothing is kept where it is None.
        sleep: waits before another try.
    """

    def __init__(
        self, endpoint: Endpoint, cache: Path | None, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.endpoint = endpoint
        self.bill = Bill()
        self._cache = cache
        self._sleep = sleep
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def close(self) -> None:
        """Give up the requests that are under way."""
        self._closed.set()

    def ask(self, messages: Sequence[Message], *, seed: int) -> Reply:
        """The reply to a conversation: from the cache, or from the endpoint, which is asked again where
        that can help.

        Raises:
            GenerationError: it refused, or did not answer however often it was asked.
            StorageError: the cache cannot be written.
        """
        endpoint = self.endpoint
        body = {
            "model": endpoint.model,
            "messages": [dict(message) for message in messages],
            "temperature": endpoint.temperature,
            "max_tokens": endpoint.max_tokens,
            "seed": seed,
        }
        encoded = json.dumps(body, ensure_ascii=False).encode()
        digest = hashlib.sha256(endpoint.target.encode() + b"\0" + encoded).hexdigest()
        place = None if self._cache is None else self._cache / digest[:2] / f"{digest}.json"
        reply = _kept(place) if place is not None else None
        if reply is None:
            reply = self._fetch(encoded, random.Random(digest))
            if place is not None:
                kept = {
                    "text": reply.text,
                    "prompt_tokens": reply.prompt_tokens,
                    "completion_tokens": reply.completion_tokens,
                }
                write_bytes(json.dumps(kept, ensure_ascii=False).encode(), place)
        with self._lock:
            self.bill.add(reply)
        return reply

    def _fetch(self, body: bytes, rng: random.Random) -> Reply:
        for attempt in range(self.endpoint.retries + 1):
            wait = min(60.0, 2.0**attempt) * rng.uniform(0.5, 1.0)
            try:
                answer = self._post(body)
            except (OSError, http.client.HTTPException, GenerationTimeout) as error:
                problem = f"does not answer ({str(error) or type(error).__name__})"
            except GenerationError as error:
                raise GenerationError(error.message, hint="Ask another endpoint.") from error
            else:
                if answer.status == 200:
                    return _reply(answer, self.endpoint)
                problem = f"answers {answer.status}{self._hidden(_said(answer))[:200]}"
                if answer.status not in _AGAIN:
                    raise GenerationError(f"{self._name} {problem}", hint=_advice(answer.status))
                wait = max(wait, _asked_to_wait(answer))
            if attempt < self.endpoint.retries:
                self._sleep(wait)
        raise GenerationError(
            f"{self._name} {problem}", hint="Run the same command later: the replies so far are kept."
        )

    def _hidden(self, words: str) -> str:
        """The endpoint's words without the key, which some endpoints repeat."""
        return words.replace(self.endpoint.key, "(key)") if self.endpoint.key else words

    @property
    def _name(self) -> str:
        return f"The endpoint {urlsplit(self.endpoint.url).hostname}"

    def _post(self, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.endpoint.key:
            headers["Authorization"] = f"Bearer {self.endpoint.key}"
        return post(
            self.endpoint.target,
            body,
            headers,
            until=time.monotonic() + self.endpoint.timeout,
            max_bytes=MAX_REPLY,
            cancelled=self._closed.is_set,
        )


def _kept(place: Path) -> Reply | None:
    try:
        value = json.loads(place.read_bytes())
        return Reply(
            str(value["text"]), int(value["prompt_tokens"]), int(value["completion_tokens"]), cached=True
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or damaged: it is asked for again


def _reply(answer: Answer, endpoint: Endpoint) -> Reply:
    try:
        value = json.loads(answer.body)
        text = value["choices"][0]["message"]["content"]
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise GenerationError(
            f"The endpoint {urlsplit(endpoint.url).hostname} answers with something else than a chat",
            hint="Give the base URL of an endpoint that speaks OpenAI's protocol, as https://HOST/v1.",
        ) from None
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(text, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"), cached=False)


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _said(answer: Answer) -> str:
    """The endpoint's own words about a fault, cut short."""
    try:
        value = json.loads(answer.body)
        words = value["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f": {' '.join(str(words).split())}"


def _advice(status: int) -> str:
    if status in (401, 403):
        return "Put a valid key into the variable that --key-from names."
    if 300 <= status < 400:
        return "Redirects are not followed: give the URL that it leads to."
    if status == 404:
        return "Look at the URL and the name of the model."
    return "Look at the name of the model and the other options."


def _asked_to_wait(answer: Answer) -> float:
    """Seconds of Retry-After, at most five minutes; 0 where it says none."""
    try:
        return min(300.0, max(0.0, float(answer.headers.get("retry-after", "0"))))
    except ValueError:
        return 0.0
