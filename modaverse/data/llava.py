"""Conversations as LLaVA's instruction data has them, about pictures, and later also clips and sounds.

    {"id": "...", "image": "coco/1.jpg", "conversations": [
        {"from": "human", "value": "<image>\\nWhat is this?"}, {"from": "gpt", "value": "A cat."}]}

A placeholder stands where its medium belongs; a medium without one comes first. Several media of a kind are a
list of paths.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modaverse.context import Role
from modaverse.data.entries import Places, fields_of, read_each, words
from modaverse.errors import DataError, InputError
from modaverse.training.rows import MediaPart, Row, RowPart, RowTurn, TextPart

_KINDS = ("image", "video", "audio")
_PLACEHOLDER = re.compile(rf"\s*<({'|'.join(_KINDS)})>\s*")
_ROLES = {"human": Role.USER, "user": Role.USER, "gpt": Role.ASSISTANT, "assistant": Role.ASSISTANT}

_Waiting = Mapping[str, deque[MediaPart]]


def read_llava(path: Path, places: Places) -> Iterator[Row | InputError]:
    """The rows of a file, or what is wrong with an entry.

    Raises:
        DataError: the file cannot be read, or holds no list.
    """
    return read_each(path, lambda entry, where: _row(entry, places, where))


def _row(entry: object, places: Places, where: str) -> Row:
    fields = fields_of(entry, ("conversations",), where)
    said = fields["conversations"]
    if not isinstance(said, list) or not said:
        raise DataError(f"{where}: conversations is no list of turns", hint="Leave it out (--skip-wrong).")
    waiting = {kind: deque(_media(fields, kind, places, where)) for kind in _KINDS}
    turns = [_turn(value, waiting, f"{where}: conversations[{i}]") for i, value in enumerate(said)]
    left = [part for kind in _KINDS for part in waiting[kind]]
    if left:
        turns[0] = RowTurn(turns[0].role, (*left, *turns[0].parts))
    for index, turn in enumerate(turns):
        if turn.role is not (Role.USER, Role.ASSISTANT)[index % 2]:
            raise DataError(
                f"{where}: conversations[{index}] is out of turn",
                hint="Human and gpt alternate, human first.",
            )
    if len(turns) % 2:
        raise DataError(f"{where}: the last turn has no answer", hint="A conversation ends with gpt's.")
    return Row(tuple(turns))


def _media(fields: Mapping[str, Any], kind: str, places: Places, where: str) -> Iterator[MediaPart]:
    value = fields.get(kind)
    for path in value if isinstance(value, list) else [] if value is None else [value]:
        yield MediaPart(places.uri(words(path, kind, where)))


def _turn(value: object, waiting: _Waiting, where: str) -> RowTurn:
    fields = fields_of(value, ("from", "value"), where)
    role = _ROLES.get(str(fields["from"]))
    if role is None:
        raise DataError(f"{where}: from is {fields['from']!r}", hint="It must be human or gpt.")
    text = words(fields["value"], "value", where)
    if role is Role.ASSISTANT:
        return RowTurn(role, (TextPart(text),))
    return RowTurn(role, tuple(_parts(text, waiting, where)))


def _parts(text: str, waiting: _Waiting, where: str) -> Iterator[RowPart]:
    """Text and media; what `re.split` gives has the placeholders' names at odd places."""
    for index, piece in enumerate(_PLACEHOLDER.split(text)):
        if index % 2:
            if not waiting[piece]:
                raise DataError(
                    f"{where}: no file for <{piece}>", hint=f"The entry names too few under {piece!r}."
                )
            yield waiting[piece].popleft()
        elif piece:
            yield TextPart(piece)
