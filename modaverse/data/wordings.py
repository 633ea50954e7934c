"""Wordings: the sentences around a caption, from TOML files that anybody can write.

They lie in `datasets/wordings` of a checkout, and beside the package where it is installed.
"""

from __future__ import annotations

import random
import re
import string
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modaverse.context import Modality
from modaverse.errors import DataError
from modaverse.media.files import shown

_PACKAGE = Path(__file__).parent.parent

_FIELDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("input", "ask"): (),
    ("choose", "tell"): ("caption", "Caption", "ordinal", "number"),
    ("check", "no"): ("caption", "Caption", "other"),
    ("make", "ask"): (),
}
"""What a wording may hold in braces, by table and key; `caption` and `Caption` elsewhere."""

_KEYS: Mapping[str, tuple[str, ...]] = {
    "input": ("ask", "tell"),
    "output": ("ask", "tell", "after"),
    "choose": ("ask", "tell"),
    "check": ("ask", "yes", "no"),
    "make": ("ask", "tell", "prompt"),
}

_SMALL = frozenset(
    re.findall(
        r"\w+",
        "a an the this that these those some several many one two three four five six seven someone somebody "
        "something people there it he she they his her their its in on at with",
    )
)
"""First words of captions that are no names, so that they may stand in small letters within a sentence."""


def default_folder() -> Path:
    """Where the wordings that come with ModaVerse lie."""
    installed = _PACKAGE / "wordings"
    return installed if installed.is_dir() else _PACKAGE.parent / "datasets" / "wordings"


def tidy(caption: str) -> str:
    """A caption without line breaks and without the full stop at its end."""
    text = " ".join(caption.split())
    return text[:-1].rstrip() if text.endswith(".") and not text.endswith("..") else text


def within(caption: str) -> str:
    """As it stands within a sentence: with a small letter, where its first word is no name."""
    first = caption.split(" ", 1)[0]
    return caption[:1].lower() + caption[1:] if first.lower() in _SMALL else caption


def beginning(caption: str) -> str:
    """As it begins a sentence."""
    return caption[:1].upper() + caption[1:]


@dataclass(frozen=True, slots=True)
class Wordings:
    """Lists of sentences, by table ("input.image", "make.audio.video") and key ("ask")."""

    tables: Mapping[str, Mapping[str, tuple[str, ...]]]

    @classmethod
    def load(cls, folder: Path | None = None) -> Wordings:
        """The wordings of `input.toml`, `reasoning.toml` and `output.toml` in a folder.

        Raises:
            DataError: one cannot be read, lacks a table, or has something else in braces than a caption.
        """
        folder = folder or default_folder()
        tables: dict[str, Mapping[str, tuple[str, ...]]] = {}
        for name in ("input", "output", "reasoning"):
            path = folder / f"{name}.toml"
            content = _read(path)
            tables |= dict(_tables(content if name == "reasoning" else {name: content}, path))
        missing = sorted(set(_needed()) - tables.keys())
        if missing:
            raise DataError(
                f"{shown(folder)}: there is no table {missing[0]}",
                hint="Compare it with the wordings that come with ModaVerse.",
            )
        return cls(tables)

    def say(self, table: str, key: str, rng: random.Random, caption: str, **fields: object) -> str:
        """One of the sentences, with the caption and other values in it."""
        values = {"caption": within(caption), "Caption": beginning(caption), **fields}
        text = rng.choice(self.tables[table][key]).format_map(values)
        return re.sub(r"([!?…])\.(?=\s|$)", r"\1", text)  # a caption may bring its own mark


def _needed() -> Iterator[str]:
    for modality in Modality:
        yield from (f"{kind}.{modality}" for kind in ("input", "output", "choose", "check"))
        yield from (f"make.{modality}.{other}" for other in Modality if other is not modality)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(
            f"{shown(path)} is no readable TOML: {error}", hint="Name a folder of wordings (--wordings)."
        ) from error


def _tables(
    content: Mapping[str, Any], path: Path, *above: str
) -> Iterator[tuple[str, Mapping[str, tuple[str, ...]]]]:
    for name, value in content.items():
        place = (*above, name)
        if isinstance(value, dict) and value and all(isinstance(item, list) for item in value.values()):
            yield ".".join(place), _lists(value, place, path)
        elif isinstance(value, dict):
            yield from _tables(value, path, *place)
        else:
            raise DataError(
                f"{shown(path)}: {'.'.join(place)} is no table", hint="Tables hold lists of text."
            )


def _lists(table: Mapping[str, Any], place: tuple[str, ...], path: Path) -> Mapping[str, tuple[str, ...]]:
    where = f"{shown(path)}: [{'.'.join(place)}]"
    wanted = _KEYS.get(place[0], ())
    if set(table) != set(wanted):
        raise DataError(f"{where} has {', '.join(sorted(table))}", hint=f"It must have {', '.join(wanted)}.")
    for key, sentences in table.items():
        allowed = _FIELDS.get((place[0], key), ("caption", "Caption"))
        for sentence in sentences:
            if not isinstance(sentence, str) or not (sentence or key == "after"):
                raise DataError(f"{where}: {key} holds {sentence!r}", hint="Wordings are text.")
            if not _fields(sentence, where) <= set(allowed):
                raise DataError(
                    f"{where}: {sentence!r} has more in braces than {', '.join(allowed) or 'nothing'}",
                    hint="Write {{ and }} for braces themselves.",
                )
        if not sentences:
            raise DataError(f"{where}: {key} is empty", hint="Give one wording at least.")
    return {key: tuple(sentences) for key, sentences in table.items()}


def _fields(sentence: str, where: str) -> set[str]:
    try:
        return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}
    except ValueError as error:
        raise DataError(
            f"{where}: {sentence!r}: {error}", hint="Write {{ and }} for braces themselves."
        ) from error
