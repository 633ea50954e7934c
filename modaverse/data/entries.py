"""Entries of JSON files in other formats, and where the media that they name lie."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from modaverse.errors import DataError, InputError
from modaverse.jsonl import kind_of
from modaverse.media.files import shown

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Places:
    """`media` is the folder that paths in the data count from, `out` the one in which the rows will lie."""

    media: Path
    out: Path

    def uri(self, path: str) -> str:
        """A path of the data as rows name it: relative to them."""
        return Path(os.path.relpath(self.media / path, self.out)).as_posix()


def read_json(path: Path) -> object:
    """
    Raises:
        DataError: the file cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"cannot read {shown(path)}: {error.strerror}", hint="Give a file of data."
        ) from error
    except (ValueError, RecursionError) as error:
        way_out = "Download or export it again."
        if path.suffix == ".jsonl":
            way_out = "Rows are used as they are; of another format's lines, make one list."
        raise DataError(f"{shown(path)}: no JSON: {error}", hint=way_out) from error


def entries(value: object, path: Path) -> Iterator[tuple[object, str]]:
    """The entries of a list, each with its place for messages; they count from 1.

    Raises:
        DataError: `value` is no list.
    """
    if not isinstance(value, list):
        raise DataError(
            f"{shown(path)}: {kind_of(value)} instead of a list of entries",
            hint="Name its format (--format).",
        )
    for number, entry in enumerate(value, start=1):
        yield entry, f"{shown(path)}: entry {number}"


def read_each(path: Path, read: Callable[[object, str], T]) -> Iterator[T | InputError]:
    """What `read` makes of each entry of a JSON file, or what is wrong with that entry.

    Raises:
        DataError: the file cannot be read, or holds no list.
    """
    for entry, where in entries(read_json(path), path):
        try:
            yield read(entry, where)
        except DataError as error:
            yield error


def fields_of(entry: object, needed: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """An entry as an object that has these keys; it may have others.

    Raises:
        DataError: it is none, or lacks one.
    """
    if not isinstance(entry, dict):
        raise DataError(f"{where} is {kind_of(entry)}, not an object", hint="Name its format (--format).")
    missing = [name for name in needed if name not in entry]
    if missing:
        raise DataError(
            f"{where} lacks {', '.join(missing)}", hint="Mend it, or leave it out (--skip-wrong)."
        )
    return entry


def words(value: object, name: str, where: str) -> str:
    """Text with something in it, without space around it.

    Raises:
        DataError: it is none.
    """
    if not isinstance(value, str) or not value.strip():
        shown_value = json.dumps(value, ensure_ascii=False, default=str)[:60]
        raise DataError(f"{where}: {name} is {shown_value}", hint="It must be text that is not empty.")
    return value.strip()
