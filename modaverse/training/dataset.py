"""Rows as transcripts: what the LLM reads in training, written by the same `Script` as in inference.

A transcript is kept as numbers, so that a million rows fit into memory: 2·id for a given token, 2·id + 1
for a sampled one, -1 for a medium. Spans and tensors are made when a batch needs them.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from modaverse.context import Context, GenerationFailed, Media, MetaResponse, Part, Text, Turn
from modaverse.errors import DataError
from modaverse.language.batch import Example, length
from modaverse.language.prompt import Script, Slot, Span, Tokens
from modaverse.training.features import Features
from modaverse.training.rows import CallPart, FailedPart, MediaPart, Row, RowTurn, from_json, jsonl_lines
from modaverse.training.sources import Source, SourceReader

_SLOT = -1


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """A row, and where it stands: `where` is "data.jsonl:7", relative paths count from `folder`."""

    row: Row
    where: str
    folder: Path


def row_files(paths: Sequence[Path]) -> list[Path]:
    """Files of rows: those named, and every .jsonl in the folders named, by name.

    Raises:
        DataError: one does not exist, or a folder holds none.
    """
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not found or not found[0].is_file():
            what = "holds no .jsonl file" if path.is_dir() else "does not exist"
            raise DataError(f"{path} {what}", hint="Give a file of rows, or a folder with such files.")
        files += found
    return files


def read_rows(paths: Sequence[Path]) -> Iterator[PlacedRow]:
    """The rows of files and folders, in order.

    Raises:
        DataError: a file cannot be read, or a row is wrong (the message has file and line).
    """
    for path in row_files(paths):
        for number, line in jsonl_lines(path):
            where = f"{path}:{number}"
            yield PlacedRow(from_json(line, where=where), where, path.parent)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row with its media found: what a transcript is written from."""

    context: Context
    sources: tuple[Source, ...]
    where: str


def conversation(placed: PlacedRow, reader: SourceReader) -> Conversation:
    """Find the media of a row.

    Raises:
        MediaError, DataError: one of them cannot be found; the message begins with the row's place.
    """
    sources: list[Source] = []

    def part(value: object, outcomes: int) -> Part:
        if isinstance(value, MediaPart):
            source = reader.read(value.uri, placed.folder, placed.where)
            sources.append(source)
            return source.file or Media(source.modality, Path(), "", source.identity)
        if isinstance(value, CallPart):
            return MetaResponse(value.model, value.input, value.options, value.source)
        if isinstance(value, FailedPart):
            return GenerationFailed(outcomes, value.cause)  # calls are answered in their order
        return Text(value.text)  # type: ignore[attr-defined]

    def parts(turn: RowTurn) -> Iterator[Part]:
        outcomes = 0
        for value in turn.parts:
            yield part(value, outcomes)
            outcomes += isinstance(value, MediaPart | FailedPart)

    turns = tuple(Turn(turn.role, tuple(parts(turn))) for turn in placed.row.turns)
    return Conversation(Context(turns), tuple(sources), placed.where)


class Transcripts(Dataset[Example]):
    """Transcripts and the identities of their media; `self[i]` is ready for `MultimodalLM.collate`.

    Args:
        k: positions that a medium takes.
        limit: positions that a transcript may have.
        skip_long: leave longer ones out, instead of refusing them.

    Raises:
        DataError: a row is too long, or there is none.
    """

    def __init__(
        self,
        conversations: Iterable[Conversation],
        script: Script,
        *,
        k: int,
        limit: int,
        skip_long: bool = False,
    ) -> None:
        self._features: Features | None = None
        self.skipped = 0
        self.sources: dict[str, Source] = {}
        codes: list[np.ndarray] = []
        media: list[tuple[Source, ...]] = []
        lengths: list[int] = []
        for item in conversations:
            spans = script.context(item.context)
            positions = length(spans, k)
            if positions > limit:
                if not skip_long:
                    raise DataError(
                        f"{item.where}: this row takes {positions:,} positions, and {limit:,} are allowed",
                        hint='Shorten it, raise max_length, or set long_rows to "skip".',
                    )
                self.skipped += 1
                continue
            codes.append(_encode(spans))
            # One `Source` for each medium, however many rows it stands in.
            media.append(tuple(self.sources.setdefault(s.identity, s) for s in item.sources))
            lengths.append(positions)
        if not codes:
            raise DataError("There are no rows to train on", hint="Check `data` and `max_length`.")
        self.lengths = np.array(lengths)
        self._codes = np.concatenate(codes)
        self._ends = np.cumsum([len(code) for code in codes])
        self._media = media

    def hold_out(self, count: int, seed: int) -> tuple[Transcripts, Transcripts]:
        """These rows without `count` random ones, and those.

        Raises:
            DataError: there are not more rows than that.
        """
        if count >= len(self):
            raise DataError(
                f"{count:,} of {len(self):,} rows cannot be held out",
                hint="Give more rows or hold out fewer.",
            )
        order = np.random.default_rng([seed, len(self)]).permutation(len(self))
        return self._take(np.sort(order[count:])), self._take(np.sort(order[:count]))

    def _take(self, rows: np.ndarray) -> Transcripts:
        part = copy.copy(self)
        starts = np.concatenate([[0], self._ends[:-1]])
        part._codes = np.concatenate([self._codes[starts[row] : self._ends[row]] for row in rows])
        part._ends = np.cumsum((self._ends - starts)[rows])
        part._media = [self._media[row] for row in rows]
        part.lengths = self.lengths[rows]
        part.sources = {source.identity: source for row in part._media for source in row}
        return part

    def joined(self, others: Transcripts) -> Transcripts:
        """These rows and `others`."""
        both = copy.copy(self)
        both._codes = np.concatenate([self._codes, others._codes])
        both._ends = np.concatenate([self._ends, others._ends + self._ends[-1]])
        both._media = self._media + others._media
        both.lengths = np.concatenate([self.lengths, others.lengths])
        both.sources = self.sources | others.sources
        return both

    def attach(self, features: Features) -> None:
        """Say where the features of the media are found."""
        self._features = features

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Example:
        spans = self.spans(index)
        if self._features is None:
            return Example(spans, {})
        store = self._features
        return Example(
            spans, {n: store.get(s.modality, s.identity) for n, s in enumerate(self._media[index], start=1)}
        )

    def spans(self, index: int) -> list[Span]:
        """The transcript of row `index`, as `Script` wrote it."""
        start = self._ends[index - 1] if index else 0
        return _decode(self._codes[start : self._ends[index]], self._media[index])

    @property
    def sampled(self) -> int:
        """Tokens that carry loss, over all rows."""
        return int(((self._codes >= 0) & (self._codes % 2 == 1)).sum())

    @property
    def media_count(self) -> int:
        """Media over all rows, those that occur again included."""
        return sum(map(len, self._media))

    def fingerprint(self) -> str:
        """A hash over all that the losses depend on: transcripts and media, in order."""
        digest = hashlib.sha256(self._codes.tobytes())
        digest.update(self._ends.tobytes())
        for row in self._media:
            digest.update("\n".join(source.identity for source in row).encode() + b"\0")
        return digest.hexdigest()


def _encode(spans: Sequence[Span]) -> np.ndarray:
    parts = [
        np.array([_SLOT], dtype=np.int32)
        if isinstance(span, Slot)
        else np.array(span.ids, dtype=np.int32) * 2 + span.sampled
        for span in spans
    ]
    return np.concatenate(parts)


def _decode(codes: np.ndarray, media: Sequence[Source]) -> list[Span]:
    """Runs of equal kind (given, sampled, medium) as spans."""
    kinds = np.where(codes == _SLOT, 2, codes % 2)
    # A medium is a span of its own, also beside another one.
    borders = np.flatnonzero((np.diff(kinds) != 0) | (kinds[1:] == 2)) + 1
    spans: list[Span] = []
    number = 0
    for run in np.split(codes, borders):
        if run[0] == _SLOT:
            spans.append(Slot(number + 1, media[number].modality))
            number += 1
        else:
            spans.append(Tokens(tuple((run // 2).tolist()), bool(run[0] % 2)))
    return spans
