"""Transcripts that grow: one list of positions, however the LLM reads them.

    ids    [ 5  81  7 -1 -1 -1 -1  8 | 90  12 … ]      -1: a position of a medium's embeddings
             given, read               sampled

What is added is only noted down; the LLM reads it, all at once, when the next token is asked for. So a
splice costs one pass over the new positions, and nothing earlier is ever read again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from modaverse.context import Modality
from modaverse.errors import ContextOverflow, InputError
from modaverse.interfaces import Sampling
from modaverse.language.prompt import Slot, Span, Tokens
from modaverse.language.sampling import choose

if TYPE_CHECKING:
    from modaverse.language.model import MultimodalLM

_MEDIUM = -1


@dataclass(frozen=True, slots=True)
class _Medium:
    start: int
    slot: Slot
    embeddings: torch.Tensor  # (k, h), projected

    def part(self, start: int, end: int) -> tuple[slice, torch.Tensor] | None:
        """What of it lies between two positions, and where, counted from `start`."""
        first, last = max(self.start, start), min(self.start + len(self.embeddings), end)
        if first >= last:
            return None
        return slice(first - start, last - start), self.embeddings[first - self.start : last - self.start]


class GrowingTranscript(ABC):
    """`interfaces.Transcript` without the reading: subclasses decide where keys and values are kept.

    Raises (every `add_*`, `next_token`):
        ContextOverflow: the positions would not fit into the LLM's context.
    """

    def __init__(self, model: MultimodalLM, *, seed: int, sampling: Sampling) -> None:
        self._model = model
        self._script = model.script
        self._limit = model.context_length
        self._ids: list[int] = []
        self._sampled = bytearray()  # one for each position: 1 where the LLM wrote it
        self._media: list[_Medium] = []
        self._turns: list[int] = []  # where each user's turn begins
        self._read = 0  # positions of which keys and values are kept
        self.set_sampling(seed=seed, sampling=sampling)

    def set_sampling(self, *, seed: int, sampling: Sampling) -> None:
        """Set seed and sampling for the tokens that follow."""
        self._seed = seed
        self._sampling = sampling

    def __len__(self) -> int:
        return len(self._ids)

    # ------------------------------------------------------------------------------------- adding

    def add_user_start(self) -> None:
        """Open a user's turn; an answer that was cut short is closed first."""
        if self._turns and self._ids[-1] not in self._script.ends:
            self.extend(self._script.assistant_end())
        begin = len(self._ids)
        self.extend(self._script.user_start(first=not self._turns))
        self._turns.append(begin)

    def add_user_end(self) -> None:
        self.extend(self._script.user_end())

    def add_text(self, text: str) -> None:
        self.extend(self._script.text(text))

    def add_note(self, cause: str) -> None:
        self.extend(self._script.note(cause))

    def add_media(self, number: int, modality: Modality, embedding: torch.Tensor) -> None:
        self.extend(self._script.media(number, modality), {number: embedding})

    def extend(self, spans: Iterable[Span], features: Mapping[int, torch.Tensor] | None = None) -> None:
        """Put spans at the end; `features` are the embeddings (d,) of the media in them, by number."""
        spans = list(spans)
        k = self._model.config.projector.k
        self._make_room(sum(len(span.ids) if isinstance(span, Tokens) else k for span in spans))
        projected = {s.number: self._project(s, features or {}) for s in spans if isinstance(s, Slot)}
        for span in spans:
            if isinstance(span, Tokens):
                self._ids.extend(span.ids)
                self._sampled.extend(bytes([span.sampled]) * len(span.ids))
            else:
                self._media.append(_Medium(len(self._ids), span, projected[span.number]))
                self._ids.extend([_MEDIUM] * k)
                self._sampled.extend(bytes(k))

    @torch.inference_mode()
    def _project(self, slot: Slot, features: Mapping[int, torch.Tensor]) -> torch.Tensor:
        feature, expected = features.get(slot.number), self._model.config.embedding_dim
        if feature is None or feature.shape != (expected,):
            shape = (
                "is missing" if feature is None else f"has shape {tuple(feature.shape)}, not ({expected},)"
            )
            raise InputError(
                f"The embedding of medium {slot.number} {shape}",
                hint="Use the encoder that the projectors were trained on, for every medium.",
            )
        projected: torch.Tensor = self._model.projectors(slot.modality, feature[None].to(self._model.device))
        return projected[0]

    def _make_room(self, positions: int) -> None:
        if len(self._ids) + positions > self._limit:
            raise ContextOverflow(
                f"The conversation would take {len(self._ids) + positions:,} positions, "
                f"and this LLM's context holds {self._limit:,}",
                hint="Start a new chat, or give less text and fewer media.",
            )

    # ----------------------------------------------------------------------------------- sampling

    def next_token(self, allow: Callable[[torch.Tensor], torch.Tensor] | None = None) -> int:
        """Sample one token and append it. `allow` maps logits (vocabulary,) to masked logits."""
        self._make_room(1)
        token = self._draw(allow)
        self._ids.append(token)
        self._sampled.append(1)
        return token

    def _draw(self, allow: Callable[[torch.Tensor], torch.Tensor] | None) -> int:
        logits = self.logits()
        return self._choose(logits if allow is None else allow(logits))

    def _choose(self, logits: torch.Tensor) -> int:
        """The token that comes next, by its `logits` (vocabulary,)."""
        return choose(logits, self._sampling, seed=self._seed, position=len(self._ids))

    def is_end(self, token: int) -> bool:
        return token in self._script.ends

    @abstractmethod
    def logits(self) -> torch.Tensor:
        """Logits (vocabulary,) of the next position, -inf for tokens that no answer may contain.

        Reads what was added since the last call. The tensor is the caller's to change.
        """

    def _parts(self, start: int, end: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Embeddings (n, h) of the media between two positions, and their places, counted from `start`."""
        for medium in reversed(self._media):
            if medium.start + len(medium.embeddings) <= start:
                return
            part = medium.part(start, end)
            if part is not None:
                yield part

    # ---------------------------------------------------------------------------------- rewinding

    def mark(self) -> int:
        return len(self._ids)

    def rewind(self, mark: int) -> None:
        """Forget every position from `mark` on, as if it had never been added."""
        if not 0 <= mark <= len(self._ids):
            raise InputError(f"Cannot rewind to {mark}: there are {len(self._ids)} positions")
        del self._ids[mark:]
        del self._sampled[mark:]
        self._media = [medium for medium in self._media if medium.start < mark]
        self._turns = [begin for begin in self._turns if begin < mark]
        self._crop(mark)

    def forget_turn(self) -> int:
        """Forget the oldest request with its answer, as if the conversation had begun with the next one. How
        many positions that frees; what comes after them is read again.
        """
        if len(self._turns) < 2:
            freed = len(self._ids)
            self.rewind(0)
            return freed
        begin, end = self._script.start_length, self._turns[1] + self._script.between_length
        freed = end - begin
        del self._ids[begin:end]
        del self._sampled[begin:end]
        self._media = [replace(m, start=m.start - freed) for m in self._media if m.start >= end]
        self._turns = [0, *(turn - freed for turn in self._turns[2:])]
        self._crop(begin)
        return freed

    @abstractmethod
    def _crop(self, length: int) -> None:
        """Positions from `length` on have changed: forget what was read of them."""

    # ----------------------------------------------------------------------------- keeping, loading

    def spans(self) -> list[Span]:
        """The transcript as spans: feeding them to an empty one makes the same transcript again."""
        spans: list[Span] = []
        media = iter(self._media)
        position = 0
        while position < len(self._ids):
            if self._ids[position] == _MEDIUM:
                medium = next(media)
                spans.append(medium.slot)
                position += len(medium.embeddings)
                continue
            end = position
            while (
                end < len(self._ids)
                and self._ids[end] != _MEDIUM
                and self._sampled[end] == self._sampled[position]
            ):
                end += 1
            spans.append(Tokens(tuple(self._ids[position:end]), bool(self._sampled[position])))
            position = end
        return spans

    def dump(self) -> dict[str, Any]:
        """The transcript as plain JSON values, without embeddings."""
        spans = [
            {"ids": list(span.ids), "sampled": span.sampled}
            if isinstance(span, Tokens)
            else {"number": span.number, "modality": str(span.modality)}
            for span in self.spans()
        ]
        return {"turns": self._turns, "spans": spans}

    def restore(self, record: Mapping[str, Any], features: Mapping[int, torch.Tensor]) -> None:
        """Put what `dump` gave into this empty transcript; `features` are the media's embeddings.

        Raises:
            InputError: no transcript of this LLM gave it.
        """
        try:
            spans = [_span(item, len(self._model.token_bias)) for item in record["spans"]]
            turns = [int(turn) for turn in record["turns"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "The chat's transcript is none that this LLM has written",
                hint="Give the folder that Chat.save wrote, as it was written.",
            ) from error
        self.extend(spans, features)
        self._turns = turns


def _span(item: Mapping[str, Any], vocabulary: int) -> Span:
    """A span of `dump`.

    Raises:
        KeyError, TypeError, ValueError: it is none, or has tokens beyond the `vocabulary`.
    """
    if "ids" not in item:
        return Slot(int(item["number"]), Modality(item["modality"]))
    ids = tuple(int(token) for token in item["ids"])
    if not all(0 <= token < vocabulary for token in ids):
        raise ValueError(f"{max(ids)} is no token")
    return Tokens(ids, bool(item["sampled"]))
