"""One row of training, evaluation or batch data: a conversation, as JSON on one line.

    {"turns": [
      {"role": "user", "parts": [{"type": "text", "text": "Draw what you hear."},
                                 {"type": "media", "uri": "bell.wav"}]},
      {"role": "assistant", "parts": [{"type": "text", "text": "Here is a bell:"},
                                      {"type": "meta_response", "model": "T-to-I", "input": "a bell"},
                                      {"type": "media", "uri": "bell.png"},
                                      {"type": "text", "text": " A yellow bell at night."}]}]}

Turns alternate and begin with the user. A medium in an answer is what the earliest meta-response before it
that has none yet stands for: directly behind it where the LLM waits, later where it writes on
(`modaverse.training.layout`). It is spliced in training just as in inference; a meta-response without a
medium is allowed. Where nothing could be made, `{"type": "failed", "cause": "it took too long"}` stands
instead, and takes no number. `source` counts the media of the whole row from 1, those in the making too.
`uri` is a path, relative to the file that holds the row, or a URI that something registered resolves
(`toybox:image?thing=cat&...`). `about` may hold anything; nothing is trained on it.

`row.schema.json` beside this file is the same as a JSON Schema, for other tools.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from modaverse.context import Role
from modaverse.errors import DataError, StorageError
from modaverse.jsonl import checked_object, kind_of, loads, text_of, wrong

_HINT = "Compare it with row.schema.json."


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class MediaPart:
    """A medium: a path or another URI."""

    uri: str


@dataclass(frozen=True, slots=True)
class CallPart:
    """A meta-response. `source` is the number of a medium of the row."""

    model: str
    input: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    source: int | None = None


@dataclass(frozen=True, slots=True)
class FailedPart:
    """What stands in the place of a medium that could not be made."""

    cause: str


RowPart = TextPart | MediaPart | CallPart | FailedPart


@dataclass(frozen=True, slots=True)
class RowTurn:
    role: Role
    parts: tuple[RowPart, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation; see the module's text for what holds of it."""

    turns: tuple[RowTurn, ...]
    about: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def media(self) -> tuple[MediaPart, ...]:
        """Every medium, so that number `n` is `media[n - 1]`."""
        return tuple(part for turn in self.turns for part in turn.parts if isinstance(part, MediaPart))


# --------------------------------------------------------------------------------------- writing


def to_json(row: Row) -> str:
    """`row` on one line."""
    value: dict[str, Any] = {
        "turns": [
            {"role": turn.role.value, "parts": [_part_value(part) for part in turn.parts]}
            for turn in row.turns
        ]
    }
    if row.about:
        value["about"] = dict(row.about)
    return json.dumps(value, ensure_ascii=False)


def _part_value(part: RowPart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, MediaPart):
        return {"type": "media", "uri": part.uri}
    if isinstance(part, FailedPart):
        return {"type": "failed", "cause": part.cause}
    value: dict[str, Any] = {"type": "meta_response", "model": part.model, "input": part.input}
    if part.options:
        value["options"] = dict(part.options)
    if part.source is not None:
        value["source"] = part.source
    return value


def write_jsonl(path: Path, rows: Iterable[Row]) -> int:
    """Write `rows` to a file, replacing it only when all are written; returns how many.

    Raises:
        StorageError: the file cannot be written.
    """
    scratch = path.with_name(path.name + ".part")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(to_json(row) + "\n")
                count += 1
        scratch.replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}", hint="Check the disk and the permissions."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()  # left over only where something went wrong
    return count


# --------------------------------------------------------------------------------------- reading


def read_jsonl(path: Path) -> Iterator[Row]:
    """The rows of a file, one by one; empty lines are skipped.

    Raises:
        DataError: the file cannot be read, or a row is wrong (the message has file and line).
    """
    for number, line in jsonl_lines(path):
        yield from_json(line, where=f"{path}:{number}")


def jsonl_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not empty, with their numbers from 1.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}", hint="Give a file of rows (.jsonl)."
        ) from error


def from_json(text: str | bytes, *, where: str = "row") -> Row:
    """The row that `text` spells; `where` begins every message ("data.jsonl:7").

    Raises:
        DataError: what is wrong, and where in the row.
    """
    return _sound(*examine(text, where=where))


def parse_row(value: object, *, where: str = "row") -> Row:
    """The row that the decoded JSON `value` means; see `from_json`."""
    return _sound(*_examined(value, where))


def examine(text: str | bytes, *, where: str = "row") -> tuple[Row | None, list[DataError]]:
    """The row that `text` spells and no faults, or no row and all of its faults."""
    try:
        value = loads(text, where)
    except DataError as error:
        return None, [error]
    return _examined(value, where)


def _sound(row: Row | None, faults: Sequence[DataError]) -> Row:
    if row is None:
        raise faults[0]
    return row


def _examined(value: object, where: str) -> tuple[Row | None, list[DataError]]:
    faults: list[DataError] = []
    row = _row(value, where, faults)
    if row is not None and not faults:
        faults += _between_parts(row, where)
    return (None, faults) if faults else (row, [])


def _row(value: object, where: str, faults: list[DataError]) -> Row | None:
    """The row, as far as it can be read; what cannot goes to `faults`."""
    try:
        keys = checked_object(value, {"turns"}, {"about"}, where, hint=_HINT)
        about, turns = keys.get("about", {}), keys["turns"]
        if not isinstance(about, dict):
            raise wrong(where, "about", "an object", about)
        if not isinstance(turns, list) or not turns:
            raise wrong(where, "turns", "a list of at least one user's turn and one answer", turns)
    except DataError as error:
        faults.append(error)
        return None
    read = [_turn(turn, f"{where}: turns[{i}]", faults) for i, turn in enumerate(turns)]
    return Row(tuple(turn for turn in read if turn is not None), about)


def _turn(value: object, where: str, faults: list[DataError]) -> RowTurn | None:
    try:
        keys = checked_object(value, {"role", "parts"}, (), where, hint=_HINT)
        role, parts = keys["role"], keys["parts"]
        if role not in (Role.USER.value, Role.ASSISTANT.value):
            raise wrong(where, "role", '"user" or "assistant"', role)
        if not isinstance(parts, list) or not parts:
            raise wrong(where, "parts", "a list of at least one part", parts)
    except DataError as error:
        faults.append(error)
        return None
    read: list[RowPart] = []
    for index, part in enumerate(parts):
        try:
            read.append(_part(part, f"{where}.parts[{index}]"))
        except DataError as error:
            faults.append(error)
    return RowTurn(Role(role), tuple(read))


def _part(value: object, where: str) -> RowPart:
    if not isinstance(value, dict):
        raise DataError(f"{where} is {kind_of(value)}, not an object", hint='Write {"type": "text", ...}.')
    match value.get("type"):
        case "text":
            return TextPart(text_of(_fields(value, "text", where), "text", where))
        case "media":
            return MediaPart(text_of(_fields(value, "uri", where), "uri", where))
        case "meta_response":
            return _call(value, where)
        case "failed":
            return FailedPart(text_of(_fields(value, "cause", where), "cause", where))
        case kind:
            raise wrong(where, "type", '"text", "media", "meta_response" or "failed"', kind)


def _fields(value: object, name: str, where: str) -> dict[str, Any]:
    return checked_object(value, {"type", name}, (), where, hint=_HINT)


def _call(value: dict[str, object], where: str) -> CallPart:
    keys = checked_object(value, {"type", "model", "input"}, {"options", "source"}, where, hint=_HINT)
    options, source = keys.get("options", {}), keys.get("source")
    if not isinstance(options, dict):
        raise wrong(where, "options", "an object", options)
    if "source" in keys and (not isinstance(source, int) or isinstance(source, bool) or source < 1):
        raise wrong(where, "source", "the number of a medium, from 1", source)
    model, text = text_of(keys, "model", where), text_of(keys, "input", where)
    return CallPart(model, text, options, cast("int | None", source))


def _between_parts(row: Row, where: str) -> Iterator[DataError]:
    """What does not hold between parts that are right by themselves."""
    media = 0
    for index, turn in enumerate(row.turns):
        here = f"{where}: turns[{index}]"
        if turn.role is not (Role.USER, Role.ASSISTANT)[index % 2]:
            yield DataError(
                f"{here} is the {turn.role.value}'s", hint="Turns alternate and begin with the user."
            )
        pending = 0
        for place, part in enumerate(turn.parts):
            if isinstance(part, CallPart):
                if turn.role is Role.USER:
                    yield DataError(f"{here}.parts[{place}]: a user makes no calls", hint="Only answers do.")
                if part.source is not None and part.source > media + pending:
                    yield DataError(
                        f"{here}.parts[{place}]: source {part.source} is no medium before this call"
                        f" (there are {media + pending})",
                        hint="Media are numbered from 1 in order of appearance.",
                    )
                pending += 1
            elif not isinstance(part, TextPart):
                failed = isinstance(part, FailedPart)
                if (turn.role is Role.ASSISTANT or failed) and pending == 0:
                    yield DataError(
                        f"{here}.parts[{place}]: no meta-response stands for this "
                        f"{'failure' if failed else 'medium'}",
                        hint="In an answer each medium belongs to a meta-response before it.",
                    )
                pending = max(0, pending - 1)
                media += not failed
    if row.turns[-1].role is Role.USER:
        yield DataError(f"{where}: the last turn has no answer", hint="A row ends with an answer.")
