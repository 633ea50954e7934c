"""The instructions that ModaVerse was released with (arXiv 2401.06395): one question, one answer.

    {"instruction": "...", "media": {"image": "a.jpg", "audio": "none", "video": "none"},
     "meta_response": {"modality": "image", "prompt": "..."}}

`modality` may be spelled as the released model writes it ("[IMAGE]"). A meta-response of text is an answer
in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modaverse.context import Role
from modaverse.data.entries import Places, fields_of, read_each, words
from modaverse.errors import DataError, InputError
from modaverse.interfaces import MODELS
from modaverse.training.rows import CallPart, MediaPart, Row, RowPart, RowTurn, TextPart

_NAMES = {str(modality): model for modality, model in MODELS.items()}
_MEDIA = ("image", "audio", "video")


def read_released(path: Path, places: Places) -> Iterator[Row | InputError]:
    """The rows of a file, or what is wrong with an entry.

    Raises:
        DataError: the file cannot be read, or holds no list.
    """
    return read_each(path, lambda entry, where: _row(entry, places, where))


def _row(entry: object, places: Places, where: str) -> Row:
    fields = fields_of(entry, ("instruction", "meta_response"), where)
    media = fields_of(fields.get("media") or {}, (), f"{where}: media")
    unknown = sorted(set(media) - set(_MEDIA))
    if unknown:
        raise DataError(
            f"{where}: media has unknown {', '.join(unknown)}", hint=f"Known are {', '.join(_MEDIA)}."
        )
    given = [MediaPart(places.uri(media[name])) for name in _MEDIA if _is_there(media.get(name), name, where)]
    request: tuple[RowPart, ...] = (*given, TextPart(words(fields["instruction"], "instruction", where)))
    answer = _answer(fields["meta_response"], f"{where}: meta_response")
    return Row((RowTurn(Role.USER, request), RowTurn(Role.ASSISTANT, (answer,))))


def _is_there(path: object, name: str, where: str) -> bool:
    return path is not None and words(path, f"media.{name}", where).lower() != "none"


def _answer(value: object, where: str) -> RowPart:
    fields = fields_of(value, ("modality", "prompt"), where)
    prompt = words(fields["prompt"], "prompt", where)
    modality = words(fields["modality"], "modality", where).strip("[] ").lower()
    if modality == "text":
        return TextPart(prompt)
    if modality not in _NAMES:
        raise DataError(
            f"{where}: modality is {modality!r}", hint=f"Known are text, {', '.join(sorted(_NAMES))}."
        )
    return CallPart(_NAMES[modality], prompt)
