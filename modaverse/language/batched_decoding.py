"""Many transcripts that one LLM reads and continues together, each as if it were alone.

    row 0   given ■■■■■■■■        one pass reads on in rows with much that is new (a request, a splice)
    row 1   sampled ■             one pass reads the last token of all the others
    row 2   waits for a medium    neither: it keeps its slot, and costs nothing
                                  ─► logits ─► mask of each row ─► noise of (its seed, its position) ─► tokens

Rows come and go between two steps. What a row was told decides its tokens, and no other row does: only the
rounding of sums depends on who is read beside it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch

from modaverse.errors import InputError, ModelError
from modaverse.interfaces import Mask, Matcher, Sampling, TokenNeeded, Transcript
from modaverse.language.prompt import Span
from modaverse.language.slots import Pass, SlotCache
from modaverse.language.transcript import GrowingTranscript

if TYPE_CHECKING:
    from modaverse.language.model import MultimodalLM

_CHUNK = 256  # positions that a row reads at once: bounds the memory of a pass
_ALONE = "Answer the requests one at a time with this LLM."


class SlotTranscript(GrowingTranscript):
    """Implements `interfaces.Transcript` in a slot of its decoder's cache, from the first reading on."""

    def __init__(self, decoder: BatchDecoder, *, seed: int, sampling: Sampling) -> None:
        self._decoder = decoder
        self._slot: int | None = None
        self._drawn: int | None = None  # the next token, where a step has drawn it
        super().__init__(decoder.model, seed=seed, sampling=sampling)

    def set_sampling(self, *, seed: int, sampling: Sampling) -> None:
        super().set_sampling(seed=seed, sampling=sampling)
        self._drawn = None

    def extend(self, spans: Iterable[Span], features: Mapping[int, torch.Tensor] | None = None) -> None:
        super().extend(spans, features)
        self._drawn = None

    def logits(self) -> torch.Tensor:
        while True:
            for logits in self._decoder.read([self]).values():
                return logits + self._model.token_bias

    def _draw(self, allow: Callable[[torch.Tensor], torch.Tensor] | None) -> int:
        token = super()._draw(allow) if self._drawn is None else self._drawn
        self._drawn = None
        return token

    def _crop(self, length: int) -> None:
        self._read = min(self._read, length)
        self._drawn = None


class BatchDecoder:
    """Any number of transcripts of one LLM; implements `interfaces.BatchLanguageModel`.

    Memory: keys and values of as many positions as the longest row has, for each row that was read and was
    neither released nor forgotten by everybody.

    Args:
        mask: the one whose matchers the rows are given; it looks at all rows at once.
        chunk: positions that a row reads at once; rows that have more to read take several steps.

    Raises:
        ModelError: this kind of LLM cannot read rows of different lengths together.
    """

    def __init__(self, model: MultimodalLM, *, mask: Mask | None = None, chunk: int = _CHUNK) -> None:
        self.model = model
        self._mask = mask
        self._chunk = chunk
        self._windows, self._by_type = _attention(model.core)
        self._eager = model.core.config.get_text_config()._attn_implementation == "eager"
        self._cache = SlotCache()
        self._rows: list[ref[SlotTranscript]] = []  # by their slots

    @property
    def context_length(self) -> int:
        return self.model.context_length

    def transcript(self, *, seed: int, sampling: Sampling) -> SlotTranscript:
        """An empty transcript; it takes a slot when it is first read."""
        return SlotTranscript(self, seed=seed, sampling=sampling)

    def release(self, transcript: Transcript) -> None:
        """Take its slot from a transcript. It stays as it is; were it read again, then from its beginning."""
        row = self._own(transcript)
        slot = row._slot
        if slot is None:
            return
        self._free(slot)
        row._slot, row._read, row._drawn = None, 0, None
        rows = self._live()
        self._cache.reserve(len(rows), max((row._read for row in rows), default=0))

    # -------------------------------------------------------------------------------------- stepping

    def step(self, wanted: Sequence[TokenNeeded]) -> list[TokenNeeded]:
        """Read on in the transcripts of `wanted`, and draw a token for each that is read to its end. Which
        these are; the others have more to read. A full one is among them, so that it can say so.
        """
        needs = {self._own(need.transcript): need for need in wanted}
        full = [row for row in needs if len(row) >= self.context_length]
        found = self.read([row for row in needs if row._drawn is None and row not in full])
        if found:
            logits = torch.stack(list(found.values())) + self.model.token_bias
            matchers = [needs[row].matcher for row in found]
            for row, allowed in zip(found, self._allowed(matchers, logits.cpu()), strict=True):
                row._drawn = row._choose(allowed)
        return [need for row, need in needs.items() if row._drawn is not None or row in full]

    def _own(self, transcript: Transcript) -> SlotTranscript:
        if isinstance(transcript, SlotTranscript) and transcript._decoder is self:
            return transcript
        raise InputError(
            "This transcript is not one of this decoder's", hint="Begin it with the decoder's transcript()."
        )

    def _allowed(self, matchers: Sequence[Matcher | None], logits: torch.Tensor) -> torch.Tensor:
        """`logits` (b, vocabulary) under the mask of each row."""
        if self._mask is not None:
            return self._mask.allow(matchers, logits)
        rows = zip(matchers, logits, strict=True)
        return torch.stack([row if matcher is None else matcher.allow(row) for matcher, row in rows])

    def read(self, rows: Sequence[SlotTranscript]) -> dict[SlotTranscript, torch.Tensor]:
        """Read on in `rows`, a chunk at most, and give the next position's logits (vocabulary,), float32,
        of those that have come to their end.
        """
        groups: dict[int, list[SlotTranscript]] = {}
        for row in rows:
            if row._read == len(row):  # after a rewind: the last position must be read once more
                row._crop(len(row) - 1)
            groups.setdefault(self._ahead(row).bit_length(), []).append(row)
        found: dict[SlotTranscript, torch.Tensor] = {}
        for _, group in sorted(groups.items()):  # of one bit length: less than half is padding
            found |= self._pass(group)
        return found

    def _ahead(self, row: SlotTranscript) -> int:
        """How many positions of `row` the next pass reads."""
        return min(len(row) - row._read, self._chunk)

    @torch.inference_mode()
    def _pass(self, group: Sequence[SlotTranscript]) -> dict[SlotTranscript, torch.Tensor]:
        """Read on in the rows of `group`, and give the logits of those that have come to their end.

        b: rows, s: positions of the longest; the others are padded at their beginning.
        """
        rows, slots = self._place(group)
        counts, starts = [self._ahead(row) for row in rows], [row._read for row in rows]
        aimed = self._cache.aimed = Pass(slots, starts, counts)
        embeddings, positions = self._inputs(rows, counts), aimed.positions.to(self.model.device)
        output = self.model.core(
            inputs_embeds=embeddings,
            attention_mask=self._masks(positions, aimed.places, embeddings.dtype),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        for row, count in zip(rows, counts, strict=True):
            row._read += count
        logits = output.logits[:, -1].float()
        return {row: logit for row, logit in zip(rows, logits, strict=True) if row._read == len(row)}

    def _inputs(self, rows: Sequence[SlotTranscript], counts: Sequence[int]) -> torch.Tensor:
        """Input embeddings (b, s, h) of the next positions, media in their places."""
        width = max(counts)
        spans = [(row, row._read, row._read + count) for row, count in zip(rows, counts, strict=True)]
        ids = torch.tensor([[0] * (width - end + start) + row._ids[start:end] for row, start, end in spans])
        table = self.model.core.get_input_embeddings()
        embeddings: torch.Tensor = table(ids.clamp(min=0).to(self.model.device))
        for index, (row, start, end) in enumerate(spans):
            for place, part in row._parts(start, end):
                embeddings[index, width - end + start :][place] = part.to(embeddings.dtype)
        return embeddings

    def _masks(self, positions: torch.Tensor, places: int, dtype: torch.dtype) -> Any:
        """What each of `positions` (b, s) may attend to: (b, 1, s, places), by the type of layer where there
        are several. Places are positions, so that padding needs no mask of its own.
        """
        back = positions[:, None, :, None] - torch.arange(places, device=positions.device)
        masks = {}
        for kind, window in self._windows.items():
            seen = back >= 0 if window is None else (back >= 0) & (back < window)
            if self._eager:  # takes numbers that are added to the scores
                seen = torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)
            masks[kind] = seen
        return masks if self._by_type else masks["full_attention"]

    # ----------------------------------------------------------------------------------------- slots

    def _place(self, group: Sequence[SlotTranscript]) -> tuple[list[SlotTranscript], list[int]]:
        """The rows of `group` by their slots; new rows are given one. Rows that go on token by token become
        neighbours, so that nothing of the cache has to be copied for them time and again.
        """
        rows = self._live()
        for row in group:
            if row._slot is None:
                row._slot = len(rows)
                rows.append(row)
                self._rows.append(ref(row))
        self._cache.reserve(len(rows), max(row._read + self._ahead(row) for row in rows))
        size, going = len(group), set(group)
        slots = [slot for slot, row in enumerate(rows) if row in going]
        if slots[-1] - slots[0] >= size and all(self._ahead(row) == 1 for row in group):
            for slot in range(size):
                if rows[slot] not in going:
                    self._swap(slot, slots.pop())
            slots = list(range(size))
            rows = self._live()
        return [rows[slot] for slot in slots], slots

    def _live(self) -> list[SlotTranscript]:
        """The transcripts by their slots. Those that nobody holds any more lose theirs."""
        held = [reference() for reference in self._rows]
        for slot in reversed(range(len(held))):
            if held[slot] is None:
                self._free(slot)
        return [row for reference in self._rows if (row := reference()) is not None]

    def _free(self, slot: int) -> None:
        self._swap(slot, len(self._rows) - 1)
        self._cache.clear(len(self._rows) - 1)
        self._rows.pop()

    def _swap(self, one: int, other: int) -> None:
        if one == other:
            return
        self._cache.swap(one, other)
        self._rows[one], self._rows[other] = self._rows[other], self._rows[one]
        for slot in (one, other):
            row = self._rows[slot]()
            if row is not None:
                row._slot = slot


def _attention(llm: Any) -> tuple[dict[str, int | None], bool]:
    """How far back each type of layer sees, None for all of it; and whether the LLM wants masks by type.

    Raises:
        ModelError: it attends in a way that depends on more than a row's own positions.
    """
    config = llm.config.get_text_config()
    name, window = type(llm).__name__, getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    kinds = set(types or ["full_attention"])
    parameters = inspect.signature(llm.forward).parameters
    rope = repr(getattr(config, "rope_parameters", None))
    if llm._is_stateful or not kinds <= {"full_attention", "sliding_attention"}:
        cause = "keeps a state that is no cache of keys and values for each position"
    elif not {"position_ids", "inputs_embeds", "logits_to_keep"} <= set(parameters):
        cause = "does not take the positions of its rows"
    elif "dynamic" in rope or "longrope" in rope:
        cause = "rotates positions by what the longest row is"
    elif config._attn_implementation not in ("sdpa", "eager"):
        cause = f"attends by {config._attn_implementation}, which takes no mask for each position"
    else:
        if types is None:
            return {"full_attention": window}, False
        return {kind: window if kind == "sliding_attention" else None for kind in kinds}, True
    raise ModelError(f"{name} cannot read rows of different lengths together: it {cause}", hint=_ALONE)
