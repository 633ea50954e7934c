"""OpenAI's batch form: requests of `/v1/chat/completions` in, completions out.

    {"custom_id": "7", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [
      {"role": "user", "content": [{"type": "text", "text": "Which is louder?"},
                                   {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}},
                                   {"type": "input_audio", "input_audio": {"data": "...", "format": "wav"}},
                                   {"type": "video_url", "video_url": {"url": "clip.mp4"}}]}]}}

A medium is a file, a `data:` URI or a URL; `input_audio` holds base64 alone too. Messages of the system (or
developer) come before the user's, as text. What is asked for and cannot be had (several answers, tools, a
schema of the answer, earlier answers) is an error of the row; what only reports or bills is passed over.
The completion has a key of our own, `modaverse`, with the media and all else that our form would say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modaverse.batch.values import MediaRef, Options
from modaverse.context import Text
from modaverse.errors import DataError
from modaverse.jsonl import kind_of, text_of, wrong

ENDPOINT = "/v1/chat/completions"

_HINT = "See OpenAI's description of batches of chat completions."
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_URL_PARTS = ("image_url", "video_url", "audio_url")
_UNMET: tuple[tuple[str, tuple[object, ...], str], ...] = (
    ("n", (None, 1), "one answer for each row"),
    ("tools", (None, []), "no tools of the caller's"),
    ("functions", (None, []), "no functions of the caller's"),
    ("response_format", (None, {"type": "text"}), "text that follows no schema"),
    ("logprobs", (None, False), "no probabilities"),
    ("stop", (None, []), "no stop words"),
)

Parsed = tuple[tuple[Text | MediaRef, ...], int | None, Options]


def parse(row: Mapping[str, Any], where: str) -> Parsed:
    """Parts, seed and options of a row.

    Raises:
        DataError: it has another form, or asks for what cannot be had.
    """
    url, body = row.get("url", ENDPOINT), row.get("body")
    if url != ENDPOINT:
        raise wrong(where, "url", ENDPOINT, url)
    if not isinstance(body, dict):
        raise wrong(where, "body", "an object", body)
    for name, admitted, what in _UNMET:
        if body.get(name) not in admitted:
            raise DataError(f"{where}: body.{name} cannot be followed: there is {what}", hint="Leave it out.")
    seed = body.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63):
        raise wrong(where, "body.seed", "a whole number from 0 to 2^63 - 1", seed)
    tokens = body.get("max_completion_tokens", body.get("max_tokens"))
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1):
        raise wrong(where, "body.max_tokens", "a whole number from 1", tokens)
    options = Options(
        _number(body, "temperature", where, 0, 100), _number(body, "top_p", where, 1e-9, 1), tokens
    )
    return tuple(_parts(body.get("messages"), where)), seed, options


def _number(body: Mapping[str, Any], name: str, where: str, least: float, most: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise wrong(where, f"body.{name}", f"a number from {least:g} to {most:g}", value)
    return float(value)


def _parts(messages: object, where: str) -> Iterator[Text | MediaRef]:
    if not isinstance(messages, list) or not messages:
        raise wrong(where, "body.messages", "a list of messages", messages)
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if roles[-1] != "user" or any(role not in ("system", "developer") for role in roles[:-1]):
        raise DataError(
            f"{where}: body.messages are of {', '.join(map(str, roles))}",
            hint="A row is one request: one message of the user's, and before it only the system's.",
        )
    for index, message in enumerate(messages):
        here = f"{where}: body.messages[{index}]"
        parts = list(_content(message.get("content"), here))
        yield from parts
        if index < len(messages) - 1:
            yield Text("\n\n")


def _content(content: object, where: str) -> Iterator[Text | MediaRef]:
    if isinstance(content, str) and content:
        yield Text(content)
        return
    if not isinstance(content, list) or not content:
        raise wrong(where, "content", "text, or a list of parts", content)
    for index, part in enumerate(content):
        yield _part(part, f"{where}.content[{index}]")


def _part(part: object, where: str) -> Text | MediaRef:
    if not isinstance(part, dict):
        raise DataError(f"{where} is {kind_of(part)}, not an object", hint=_HINT)
    kind = part.get("type")
    if kind == "text":
        return Text(text_of({"text": part.get("text")}, "text", where))
    if kind in _URL_PARTS:
        inner = part.get(kind)
        url = inner.get("url") if isinstance(inner, dict) else inner
        return MediaRef(text_of({"url": url}, "url", where))
    if kind == "input_audio":
        inner = part.get(kind)
        if not isinstance(inner, dict):
            raise wrong(where, "input_audio", "an object", inner)
        data = text_of({"data": inner.get("data", inner.get("url"))}, "data", where)
        # Bare base64 is what OpenAI takes. A path has a full stop, which base64 has not.
        return MediaRef(f"data:;base64,{data}" if _BASE64.fullmatch(data) else data)
    raise wrong(where, "type", f"text, input_audio, {', '.join(_URL_PARTS)}", kind)


# ------------------------------------------------------------------------------------- results


def to_result(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A row of OpenAI's output file, from the entry of a row that was answered."""
    usage, digest = entry["usage"], entry["digest"]
    completion = usage["sampled_tokens"] + usage["spliced_tokens"]
    return {
        "id": f"batch_req_{digest}",
        "custom_id": entry["id"],
        "response": {
            "status_code": 200,
            "request_id": digest,
            "body": {
                "id": f"chatcmpl-{digest}",
                "object": "chat.completion",
                "created": int(entry["finished"]),
                "model": entry["profile"],
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": entry["text"]},
                        "finish_reason": entry["finish_reason"],
                        "logprobs": None,
                    }
                ],
                "usage": {
                    "prompt_tokens": usage["prompt_tokens"],
                    "completion_tokens": completion,
                    "total_tokens": usage["prompt_tokens"] + completion,
                },
                "modaverse": dict(entry),
            },
        },
        "error": None,
    }


def to_failure(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A row of OpenAI's error file, from the entry of a row that failed."""
    return {
        "id": f"batch_req_{entry['digest'] or entry['line']}",
        "custom_id": entry["id"],
        "response": None,
        "error": {"code": entry["kind"], "message": entry["cause"], "modaverse": dict(entry)},
    }


def entry_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The entry from which `to_result` or `to_failure` made a row.

    Raises:
        KeyError, TypeError: they did not make it.
    """
    holder = row["response"]["body"] if row["error"] is None else row["error"]
    return dict(holder["modaverse"])
