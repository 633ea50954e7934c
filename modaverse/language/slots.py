"""A KV cache for many rows of different lengths: each has a slot, and in it place p is position p.

    slot 0  [■ ■ ■ ■ ■ ■ · ·]     ■: read        a row of 6 positions
    slot 1  [■ ■ ■ · · · · ·]     ·: zeros, or what an earlier row left
    slot 2  [■ ■ ■ ■ ■ ■ ■ ■]

So what a row may attend to follows from its positions alone: `place <= position`, and within a sliding
window `place > position - window`. There is no padding to be remembered, a row is cut by reading on from an
earlier position, and windows too can be cut, because nothing is dropped behind them.

b: rows of one pass, s: new positions of the longest, h: heads, p: places, d: width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_BLOCK = 64  # places that a cache grows by
_SLOTS = 4  # slots that a cache grows by


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass through the LLM: which slots it reads, and where what is new goes."""

    slots: slice | torch.Tensor  # (b,) int64, or a range of neighbours, which need no copy
    places: int  # places that are read: up to the last position of any row
    positions: torch.Tensor  # (b, s) int64; a row that is shorter is padded at its beginning
    new: tuple[torch.Tensor, torch.Tensor]  # row and column of each position that is no padding: (n,) int64
    target: tuple[torch.Tensor, torch.Tensor]  # slot and place of each: (n,) int64

    @classmethod
    def plan(
        cls, slots: Sequence[int], starts: Sequence[int], counts: Sequence[int], device: torch.device
    ) -> Pass:
        """Rows in `slots` read `counts` positions each, from `starts` on."""
        first, width = slots[0], max(counts)
        places = max(start + count for start, count in zip(starts, counts, strict=True))
        chosen, ends = torch.tensor(slots), torch.tensor(starts)[:, None] + torch.tensor(counts)[:, None]
        positions = ends - torch.arange(width, 0, -1)
        rows, columns = (torch.arange(width, 0, -1) <= torch.tensor(counts)[:, None]).nonzero(as_tuple=True)
        target = chosen[rows].to(device), positions[rows, columns].to(device)
        return cls(
            slots=slice(first, first + len(slots))
            if list(slots) == list(range(first, first + len(slots)))
            else chosen.to(device),
            places=places,
            positions=positions.clamp(min=0).to(device),
            new=(rows.to(device), columns.to(device)),
            target=target,
        )


class SlotCache(Cache):  # type: ignore[misc]
    """Keys and values of all rows, layer by layer. Each pass through the LLM is `aimed` first."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=lambda: _Layer(self))
        self.slots = self.places = 0  # what there is room for
        self.aimed: Pass

    @torch.inference_mode()
    def reserve(self, slots: int, places: int) -> None:
        """Make room, in blocks, for so many slots and places. Places are given back once half of them are not
        needed; slots stay.
        """
        slots = max(self.slots, _rounded(slots, _SLOTS))
        places = _rounded(places, _BLOCK)
        places = self.places if places <= self.places < 2 * places else places
        if (slots, places) != (self.slots, self.places):
            self.slots, self.places = slots, places
            for layer in self._held:
                layer.resize(slots, places)

    @torch.inference_mode()
    def swap(self, one: int, other: int) -> None:
        for layer in self._held:
            layer.keys[[one, other]] = layer.keys[[other, one]]
            layer.values[[one, other]] = layer.values[[other, one]]

    @torch.inference_mode()
    def clear(self, slot: int) -> None:
        """Forget a row. Not even a weight of zero would take away what is infinite or no number."""
        for layer in self._held:
            layer.keys[slot].zero_()
            layer.values[slot].zero_()

    @property
    def _held(self) -> list[_Layer]:
        return [layer for layer in self.layers if layer.is_initialized]


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    """`keys` and `values` of one layer: (slots, h, p, d)."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys, self.values = (
            states.new_zeros(self._cache.slots, states.shape[1], self._cache.places, states.shape[3])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def resize(self, slots: int, places: int) -> None:
        self.keys, self.values = _resized(self.keys, slots, places), _resized(self.values, slots, places)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep what is new of `key_states` and `value_states` (b, h, s, d), and give all that is read of
        these rows: (b, h, places, d).
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        aimed = self._cache.aimed
        return _written(self.keys, key_states, aimed), _written(self.values, value_states, aimed)

    def get_seq_length(self) -> int:
        return self._cache.aimed.places

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.aimed.places, 0

    def get_max_length(self) -> int:
        return -1


def _written(kept: torch.Tensor, states: torch.Tensor, aimed: Pass) -> torch.Tensor:
    (rows, columns), (slots, places) = aimed.new, aimed.target
    kept[slots, :, places] = states[rows, :, columns]
    return kept[aimed.slots, :, : aimed.places]


def _resized(kept: torch.Tensor, slots: int, places: int) -> torch.Tensor:
    resized = kept.new_zeros(slots, kept.shape[1], places, kept.shape[3])
    shared = min(len(kept), slots), min(kept.shape[2], places)
    resized[: shared[0], :, : shared[1]] = kept[: shared[0], :, : shared[1]]
    return resized


def _rounded(number: int, block: int) -> int:
    return -(-number // block) * block
