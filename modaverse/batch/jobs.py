"""The file of jobs: one row on each line, in our form or in that of OpenAI's batches.

    {"id": "7", "instruction": "Draw what you hear.", "media": ["bell.wav"], "seed": 3}

`id` is text (or a whole number, which is taken as text) and stands once in the file. `media` and `seed` may
be left out. A medium is a path relative to the file, a `data:` URI, or a URL of an allowed host.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modaverse.batch import openai
from modaverse.batch.values import Form, Job, MediaRef, Options
from modaverse.context import Text
from modaverse.errors import DataError
from modaverse.jsonl import checked_object, loads, text_of, wrong

MAX_LINE = 512 * 2**20
"""Bytes of one row. Media may stand in it, but it must fit into memory with room to spare."""
MAX_ID = 256
"""Characters of an id."""

_HINT = 'A row is {"id": ..., "instruction": ..., "media": [...], "seed": ...} or one of OpenAI\'s batches.'


def read_lines(path: Path, limit: int = MAX_LINE) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file that are not empty, with their numbers from 1; None for one longer than `limit`.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(limit):
                number += 1
                if len(line) == limit and not line.endswith(b"\n"):
                    while (rest := file.readline(2**20)) and not rest.endswith(b"\n"):
                        pass
                    yield number, None
                elif line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}", hint="Give a file of rows (.jsonl)."
        ) from error


def parse_job(line: bytes | None, number: int, name: str) -> Job:
    """The row that a line spells; `name` is the file's, for messages ("jobs.jsonl:7").

    Raises:
        DataError: what is wrong with it, and where.
    """
    where = f"{name}:{number}"
    if line is None:
        raise DataError(
            f"{where}: the row is longer than {MAX_LINE // 2**20} MiB",
            hint="Put its media into files and name those.",
        )
    value = loads(line, where)
    if isinstance(value, dict) and "custom_id" in value:
        form, (parts, seed, options) = Form.OPENAI, openai.parse(value, where)
        row_id = value["custom_id"]
    else:
        form, options = Form.OWN, Options()
        row = checked_object(value, ("id", "instruction"), ("media", "seed"), where, hint=_HINT)
        row_id, parts, seed = row["id"], _own_parts(row, where), checked_seed(row.get("seed"), where)
    return Job(_checked_id(row_id, where), parts, seed, options, form, number, _digest(value))


def checked_seed(value: object, where: str) -> int | None:
    """A seed, or None for none.

    Raises:
        DataError: it is no whole number from 0.
    """
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise wrong(where, "seed", "a whole number from 0 to 2^63 - 1", value)
    return value


def _own_parts(row: dict[str, Any], where: str) -> tuple[Text | MediaRef, ...]:
    media = row.get("media")
    if media is not None and (
        not isinstance(media, list) or not all(isinstance(uri, str) and uri for uri in media)
    ):
        raise wrong(where, "media", "a list of paths", media)
    return (*(MediaRef(uri) for uri in media or ()), Text(text_of(row, "instruction", where)))


def _checked_id(value: object, where: str) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text) <= MAX_ID:
        raise wrong(where, "id", f"text of 1 to {MAX_ID} characters", value)
    return text


def _digest(value: object) -> str:
    """16 hexadecimal digits that stand for what a row says, however it is spaced and ordered."""
    spelled = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(spelled.encode()).hexdigest()[:16]
