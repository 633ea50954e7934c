"""What is written of a row when it is finished: an entry, in the form in which the row came."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modaverse.batch import openai
from modaverse.batch.values import Answered, Failed, Form, Job
from modaverse.context import Malformed, Media, Text
from modaverse.errors import InputError
from modaverse.reply import Reply, describe_record

Entry = dict[str, Any]


def answered_entry(job: Job, outcome: Answered, folder: Path, identity: int) -> Entry:
    """The entry of a row that was answered; what was made is put below `folder` if it lies elsewhere.

    Raises:
        MediaError: a medium is no longer where the engine put it.
        StorageError: it cannot be copied.
    """
    return {
        "id": job.id,
        "line": job.line,
        "digest": job.digest,
        **_reply_values(outcome.reply, folder),
        "seconds": round(outcome.seconds, 3),
        "finished": round(time.time(), 3),
        "identity": identity,
    }


def failed_entry(job: Job, outcome: Failed, folder: Path, identity: int) -> Entry:
    """The entry of a row that was not answered."""
    return {
        "id": job.id,
        "line": job.line,
        "digest": job.digest,
        "kind": outcome.kind,
        "cause": outcome.cause,
        "hint": outcome.hint,
        "request": [{"type": "text", "text": part.text} for part in job.parts if isinstance(part, Text)],
        "answer": None if outcome.reply is None else _reply_values(outcome.reply, folder),
        "seconds": round(outcome.seconds, 3),
        "finished": round(time.time(), 3),
        "identity": identity,
        "found": "run",
    }


def fault_entry(line: int, row_id: str | None, error: InputError) -> Entry:
    """The entry of a line that is no row to answer, found before anything was answered."""
    return {
        "id": row_id,
        "line": line,
        "digest": "",
        "kind": type(error).__name__,
        "cause": error.message,
        "hint": error.hint,
        "request": [],
        "answer": None,
        "seconds": 0.0,
        "finished": round(time.time(), 3),
        "found": "check",
    }


def _reply_values(reply: Reply, folder: Path) -> Entry:
    number = reply.first_number + sum(isinstance(part, Media) for part in reply.request)
    parts = []
    for part in reply.record:
        parts.append(describe_record(part, number, folder))
        number += isinstance(part, Media)
    return {
        "request": [_given(part, folder) for part in reply.request],
        "text": reply.text,
        "media": [part["path"] for part in parts if part["type"] == "media"],
        "parts": parts,
        "malformed": sum(isinstance(part, Malformed) for part in reply.record),
        "seed": reply.seed,
        "finish_reason": str(reply.finish_reason),
        "usage": asdict(reply.usage),
        "profile": reply.profile,
    }


def _given(part: Text | Media, folder: Path) -> Entry:
    """A part of the request. Its media stay where they are: they may be large, and are the user's."""
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {
        "type": "media",
        "modality": str(part.modality),
        "path": Path(os.path.relpath(part.path, folder)).as_posix(),
        "mime": part.mime,
        "sha256": part.sha256,
    }


# ------------------------------------------------------------------------------- lines of files


def encode(entry: Mapping[str, Any], form: Form) -> bytes:
    """The line that holds an entry."""
    row: Mapping[str, Any] = entry
    if form is Form.OPENAI:
        row = openai.to_failure(entry) if "cause" in entry else openai.to_result(entry)
    # What is no Unicode, as in the names of some files, is escaped rather than lost.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def decode(line: bytes) -> Entry:
    """The entry that a line holds.

    Raises:
        ValueError: it is no whole line of ours.
    """
    try:
        row = json.loads(line)
        entry: Entry = openai.entry_of(row) if "custom_id" in row else row
        if not isinstance(entry["line"], int) or not isinstance(entry["digest"], str):
            raise TypeError("no entry")
        if "cause" not in entry and not isinstance(entry["id"], str):
            raise TypeError("no entry")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no entry of a batch: {error}") from error
    return entry
