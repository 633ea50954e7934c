"""Instruction rows of media with captions, of the three kinds of the ModaVerse paper (arXiv 2401.06395).

    input       a medium is given, the answer says what it holds
    reasoning   which of these is it, is this true, what belongs to it: the answer follows from the medium
    output      words are given, the answer makes the medium that they ask for

The sentences come from `wordings`; the same captions, wordings and seed give the same rows.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from modaverse.context import Modality, Role
from modaverse.data.captions import Captioned
from modaverse.data.wordings import Wordings, tidy
from modaverse.errors import DataError, InputError
from modaverse.interfaces import MODELS
from modaverse.training.rows import CallPart, MediaPart, Row, RowPart, RowTurn, TextPart
from modaverse.training.sources import SourceReader


class Kind(StrEnum):
    """What a row teaches."""

    INPUT = "input"
    REASONING = "reasoning"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which rows are made: `per_medium` of each kind, drawn from `seed`."""

    kinds: tuple[Kind, ...] = tuple(Kind)
    per_medium: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Specimen:
    """A medium whose kind is known."""

    uri: str
    modality: Modality
    captions: tuple[str, ...]
    where: str

    @property
    def part(self) -> MediaPart:
        return MediaPart(self.uri)


def specimens(items: Iterable[Captioned | InputError], folder: Path) -> Iterator[Specimen | InputError]:
    """Look at each medium once, to know what it is; `folder` is where the rows will lie."""
    reader = SourceReader()
    for item in items:
        if isinstance(item, InputError):
            yield item
            continue
        captions = tuple(filter(None, map(tidy, item.captions)))
        try:
            modality = reader.read(item.uri, folder, item.where).modality
        except InputError as error:
            yield error
            continue
        if captions:
            yield Specimen(item.uri, modality, captions, item.where)
        else:
            yield DataError(f"{item.where}: a caption says nothing", hint="Give it words.")


def build(
    items: Iterable[Captioned | InputError], folder: Path, wordings: Wordings, recipe: Recipe
) -> Iterator[Row | InputError]:
    """Rows of all media, and what could not be used."""
    known: list[Specimen] = []
    for specimen in specimens(items, folder):
        if isinstance(specimen, InputError):
            yield specimen
        else:
            known.append(specimen)
    builder = _Builder(wordings, known)
    for specimen in known:
        for kind in recipe.kinds:
            for number in range(recipe.per_medium):
                rng = random.Random(f"{recipe.seed}:{kind}:{specimen.uri}:{number}")
                yield builder.row(kind, specimen, rng)


_ORDINALS = ("first", "second", "third", "fourth")
_TRIES = 20


class _Builder:
    """Writes rows about media that know of each other, so that one can be asked for among others."""

    def __init__(self, wordings: Wordings, known: Sequence[Specimen]) -> None:
        self._say = wordings.say
        self._of_kind = {m: [s for s in known if s.modality is m] for m in Modality}

    def row(self, kind: Kind, specimen: Specimen, rng: random.Random) -> Row:
        match kind:
            case Kind.INPUT:
                request, answer = self._input(specimen, rng)
            case Kind.OUTPUT:
                request, answer = self._output(specimen, rng)
            case Kind.REASONING:
                request, answer = rng.choice((self._choose, self._check, self._make))(specimen, rng)
        return row_of(kind, request, answer)

    def _input(self, specimen: Specimen, rng: random.Random) -> _Sides:
        table, caption = f"input.{specimen.modality}", rng.choice(specimen.captions)
        ask = TextPart(self._say(table, "ask", rng, caption))
        return _around([specimen.part], ask, rng), [TextPart(self._say(table, "tell", rng, caption))]

    def _output(self, specimen: Specimen, rng: random.Random) -> _Sides:
        table, caption = f"output.{specimen.modality}", rng.choice(specimen.captions)
        ask, tell, after = (self._say(table, key, rng, caption) for key in ("ask", "tell", "after"))
        return [TextPart(ask)], made(tell, specimen.modality, caption, specimen.part, after)

    def _choose(self, specimen: Specimen, rng: random.Random) -> _Sides:
        caption = rng.choice(specimen.captions)
        others = self._others(specimen, rng, rng.choice((1, 1, 2)))
        if not others:
            return self._check(specimen, rng)
        shown = rng.sample([specimen, *others], 1 + len(others))
        place = shown.index(specimen)
        table = f"choose.{specimen.modality}"
        ask = TextPart(self._say(table, "ask", rng, caption))
        tell = self._say(table, "tell", rng, caption, ordinal=_ORDINALS[place], number=place + 1)
        return _around([one.part for one in shown], ask, rng), [TextPart(tell)]

    def _check(self, specimen: Specimen, rng: random.Random) -> _Sides:
        table, caption = f"check.{specimen.modality}", rng.choice(specimen.captions)
        others = self._others(specimen, rng, 1) if rng.random() < 0.5 else []
        if not others:
            ask, tell = (self._say(table, key, rng, caption) for key in ("ask", "yes"))
        else:
            claim = rng.choice(others[0].captions)
            ask = self._say(table, "ask", rng, claim)
            tell = self._say(table, "no", rng, caption, other=claim)
        return _around([specimen.part], TextPart(ask), rng), [TextPart(tell)]

    def _make(self, specimen: Specimen, rng: random.Random) -> _Sides:
        target = rng.choice([modality for modality in Modality if modality is not specimen.modality])
        table, caption = f"make.{specimen.modality}.{target}", rng.choice(specimen.captions)
        ask, tell, prompt = (self._say(table, key, rng, caption) for key in ("ask", "tell", "prompt"))
        return _around([specimen.part], TextPart(ask), rng), made(tell, target, prompt)

    def _others(self, specimen: Specimen, rng: random.Random, count: int) -> list[Specimen]:
        """Media of the same kind that show something else, as far as words tell."""
        found: list[Specimen] = []
        candidates = self._of_kind[specimen.modality]
        for _ in range(_TRIES):
            other = rng.choice(candidates)
            pairs = itertools.product(specimen.captions, other.captions)
            if other not in found and all(_apart(*pair) for pair in pairs):
                found.append(other)
                if len(found) == count:
                    break
        return found


_Sides = tuple[Sequence[RowPart], Sequence[RowPart]]
"""The request's parts and the answer's."""


def row_of(kind: Kind, request: Sequence[RowPart], answer: Sequence[RowPart]) -> Row:
    """One question and its answer."""
    turns = (RowTurn(Role.USER, tuple(request)), RowTurn(Role.ASSISTANT, tuple(answer)))
    return Row(turns, {"kind": str(kind)})


def made(
    tell: str, modality: Modality, prompt: str, medium: MediaPart | None = None, after: str = ""
) -> list[RowPart]:
    """An answer with a meta-response, and the medium that it stands for where there is one."""
    parts: list[RowPart] = [TextPart(tell)] if tell else []
    parts.append(CallPart(MODELS[modality], prompt))
    if medium is not None:
        parts.append(medium)
    if after:
        parts.append(TextPart(f" {after}"))
    return parts


def _around(media: Sequence[MediaPart], text: TextPart, rng: random.Random) -> list[RowPart]:
    """People give media before their question as often as after it."""
    return [*media, text] if rng.random() < 0.5 else [text, *media]


_STOP = frozenset(re.findall(r"\w+", "a an the of in on at by to and or with is are its it sound"))


def _apart(one: str, other: str) -> bool:
    """Whether less than half of the words of the shorter caption stand in the other one too."""
    first, second = (set(re.findall(r"\w+", text.lower())) - _STOP for text in (one, other))
    return 2 * len(first & second) < min(len(first), len(second)) if first and second else one != other
