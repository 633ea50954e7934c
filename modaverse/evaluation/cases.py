"""Cases: each answer in a file of rows, with all that came before it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modaverse.context import Context, GenerationFailed, Media, MetaResponse, Modality, Text, Turn
from modaverse.errors import DataError
from modaverse.interfaces import CallSpec
from modaverse.media import write_media
from modaverse.toybox.evaluation.answering import Request
from modaverse.training.dataset import PlacedRow, conversation
from modaverse.training.sources import Source, SourceReader


@dataclass(frozen=True, slots=True)
class WantedCall:
    """A call of the row's answer, what it makes, and what the row says has come of it, if it does."""

    call: MetaResponse
    makes: Modality
    outcome: Media | GenerationFailed | None


@dataclass(frozen=True, slots=True)
class DataCase:
    """One answer of a row. `context` ends with it."""

    name: str
    context: Context
    calls: tuple[WantedCall, ...]

    @property
    def answer(self) -> Turn:
        return self.context.turns[-1]

    @property
    def text(self) -> str:
        """The answer's words."""
        return "".join(part.text for part in self.answer.parts if isinstance(part, Text))

    @property
    def made(self) -> Counter[Modality]:
        """What the answer's calls make."""
        return Counter(wanted.makes for wanted in self.calls)

    @property
    def direction(self) -> str:
        """From what to what, as "image → audio"; words beside media are not mentioned."""
        given = {part.modality for part in self.context.turns[-2].parts if isinstance(part, Media)}
        return f"{_named(given)} → {_named(self.made)}"

    def request(self, seed: int) -> Request:
        """What is put to the LLM."""
        *before, asked, _ = self.context.turns
        parts = tuple(part for part in asked.parts if isinstance(part, Text | Media))
        return Request(parts, seed, tuple(before))

    @property
    def key(self) -> str:
        """Stands for all that the case holds, wherever its row lies."""
        turns = [
            (turn.role, [part.sha256 if isinstance(part, Media) else part for part in turn.parts])
            for turn in self.context.turns
        ]
        return hashlib.sha256(repr(turns).encode()).hexdigest()[:24]


def _named(modalities: Iterable[Modality]) -> str:
    """In the order in which `Modality` has them."""
    found = set(modalities)
    return "+".join(modality for modality in Modality if modality in found) or "text"


def cases_of(
    rows: Iterable[PlacedRow], calls: Mapping[str, CallSpec], folder: Path, *, limit: int | None = None
) -> Iterator[DataCase]:
    """The cases of rows, up to `limit`; what a row's media render is written to `folder`.

    Raises:
        DataError: a row calls what the profile does not know.
        MediaError: a medium cannot be read.
    """
    reader = SourceReader()
    count = 0
    for placed in rows:
        found = conversation(placed, reader)
        context = _with_files(found.context, found.sources, folder)
        for place in range(1, len(context.turns), 2):
            if count == limit:
                return
            count += 1
            turns = context.turns[: place + 1]
            wanted = tuple(_wanted(turns[-1], calls, placed.where))
            yield DataCase(f"{placed.where}.{place // 2 + 1}", Context(turns), wanted)


def _with_files(context: Context, sources: Sequence[Source], folder: Path) -> Context:
    """The same with a file for every medium: what a URI renders is written down."""
    left = iter(sources)

    def part(value: object) -> object:
        if not isinstance(value, Media):
            return value
        source = next(left)
        return source.file or write_media(source.decode(), folder)

    turns = (Turn(turn.role, tuple(map(part, turn.parts))) for turn in context.turns)  # type: ignore[arg-type]
    return Context(tuple(turns))


def _wanted(turn: Turn, calls: Mapping[str, CallSpec], where: str) -> Iterator[WantedCall]:
    """The calls of an answer. What comes of calls stands in their order."""
    outcomes = iter([part for part in turn.parts if isinstance(part, Media | GenerationFailed)])
    for part in turn.parts:
        if isinstance(part, MetaResponse):
            if part.model not in calls:
                raise DataError(
                    f"{where}: nothing in the profile answers to {part.model}",
                    hint=f"It has {', '.join(calls)}.",
                )
            yield WantedCall(part, calls[part.model].makes, next(outcomes, None))
