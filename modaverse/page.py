"""A reply as one HTML page that opens from disk: no script, no network, media by relative path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from jinja2 import Template


def reply_page(reply: Mapping[str, Any]) -> str:
    """The page for a reply in the form in which reply.json holds it.

    `reply` has `request` and `parts`, lists of parts, and may have `profile`, `seed`, `finish_reason` and
    `usage`. A part is an object with a `type`:

        text           text
        media          modality, path (relative to the page), number, mime, sha256; and choice, where it was
                       compared with its prompt: agreement, drawn, retries, content
        meta_response  model, input, options, source
        failed         cause, hint
        malformed      raw, reason
    """
    return _template().render(reply=reply)


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters["address"] = lambda path: quote(str(path).replace("\\", "/"))
    environment.filters["call"] = _call
    source = resources.files("modaverse") / "templates" / "reply.html.j2"
    return environment.from_string(source.read_text(encoding="utf-8"))


def _call(part: Mapping[str, Any]) -> str:
    """A meta-response as the LLM writes it, without its markers."""
    row: dict[str, Any] = {"Model": part["model"], "Input": part["input"]}
    if part.get("options"):
        row["Options"] = part["options"]
    if part.get("source") is not None:
        row["Source"] = part["source"]
    return json.dumps(row, ensure_ascii=False)
