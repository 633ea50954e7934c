"""report.html: all rows of a job on one page that opens from disk, for looking through thousands of them.

The page holds the rows as data and draws only those in view, so that ten thousand are as quick as ten. It is
written row by row, and needs no more memory for many than for few.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from modaverse.batch.entries import Entry
from modaverse.batch.folder import Folder
from modaverse.batch.index import Index
from modaverse.batch.journal import read_entries
from modaverse.errors import StorageError
from modaverse.media.files import shown

if TYPE_CHECKING:
    from jinja2 import Template

MAX_CHARS = 4000
"""Characters of a text that the page shows; all of it is in results.jsonl."""


def write_report(folder: Folder) -> Path:
    """Write the page of all rows that were answered or failed; its path.

    Raises:
        DataError: the results cannot be read.
        StorageError: the page cannot be written.
    """
    from markupsafe import Markup

    script = _asset("batch.js")
    values = {
        "name": Path(folder.read_record().jobs).name,
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "rows": (Markup(row) for row in _rows(folder)),
    }
    scratch = folder.path / f".report-{secrets.token_hex(4)}"
    try:
        with scratch.open("w", encoding="utf-8") as file:
            for piece in _template().generate(values):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(folder.report)
    except OSError as error:
        raise StorageError(
            f"{shown(folder.report)}: cannot be written ({error.strerror or error})",
            hint="Free some space; the same command then writes it.",
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
    return folder.report


def _rows(folder: Folder) -> Iterator[str]:
    with Index() as index:
        folder.read_into(index)
        for path in (folder.results, folder.errors):
            for entry, _ in read_entries(path):
                if "cause" in entry and entry["found"] == "run":
                    known = index.find(entry["id"])
                    if known is not None and known.digest is not None:
                        continue  # answered since
                # Within a script element only "<" could end it, or begin a comment.
                yield json.dumps(_row(entry), ensure_ascii=False).replace("<", "\\u003c")


def _row(entry: Entry) -> dict[str, Any]:
    """What the page shows of a row; what is empty is left out."""
    answer: Entry = entry if "parts" in entry else entry["answer"] or {}
    row = {
        "id": entry["id"],
        "line": entry["line"],
        "ask": [_part(part) for part in (answer or entry)["request"]],
        "parts": [_part(part) for part in answer.get("parts", ())],
        "seconds": entry["seconds"],
        "seed": answer.get("seed"),
        "cause": entry.get("cause"),
        "hint": entry.get("hint"),
        "cut": answer.get("finish_reason") == "length",
    }
    return {name: value for name, value in row.items() if value is not False and value not in (None, "", [])}


def _part(part: dict[str, Any]) -> list[str]:
    match part["type"]:
        case "text":
            return ["text", _short(part["text"])]
        case "media":
            return [part["modality"], quote(part["path"])]
        case "meta_response":
            return ["call", f"{part['model']}: {_short(part['input'])}"]
        case "failed":
            return ["fault", f"Nothing was made: {part['cause']}"]
        case _:
            return ["fault", f"Not a valid call ({part['reason']}): {_short(part['raw'])}"]


def _short(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return environment.from_string(_asset("batch.html.j2"))


def _asset(name: str) -> str:
    return (resources.files("modaverse") / "templates" / name).read_text(encoding="utf-8")
