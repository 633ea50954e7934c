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
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_BLOCK = 64  # places that a cache grows by
_SLOTS = 4  # slots that a cache grows by


class Pass:
    """One pass through the LLM: rows in `slots` read `counts` positions each, from `starts` on.

    `positions` (b, s): a row that is shorter than the longest is padded at its beginning.
    """

    def __init__(self, slots: Sequence[int], starts: Sequence[int], counts: Sequence[int]) -> None:
        lengths, width = torch.tensor(counts)[:, None], max(counts)
        before = torch.arange(width, 0, -1)  # positions from here to the end of the row
        positions = torch.tensor(starts)[:, None] + lengths - before
        self.positions = positions.clamp(min=0)
        self.places = int(positions.max()) + 1  # that are read
        rows, columns = (before <= lengths).nonzero(as_tuple=True)
        chosen = torch.tensor(slots)
        self._indices = rows, columns, chosen[rows], positions[rows, columns]
        neighbours = list(slots) == list(range(slots[0], slots[0] + len(slots)))
        self._slots = slice(slots[0], slots[0] + len(slots)) if neighbours else chosen
        self._there: dict[torch.device, tuple[torch.Tensor, ...]] = {}

    def exchange(self, kept: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Put the new `states` (b, h, s, d) where they belong in `kept` (slots, h, p, d), and give all of it
        that is read: (b, h, places, d), without a copy where the rows are neighbours.
        """
        if kept.device not in self._there:
            self._there[kept.device] = tuple(index.to(kept.device) for index in self._indices)
        rows, columns, slots, places = self._there[kept.device]
        kept[slots, :, places] = states[rows, :, columns]
        return kept[self._slots, :, : self.places]


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
        return aimed.exchange(self.keys, key_states), aimed.exchange(self.values, value_states)

    def get_seq_length(self) -> int:
        return self._cache.aimed.places

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.aimed.places, 0

    def get_max_length(self) -> int:
        return -1


def _resized(kept: torch.Tensor, slots: int, places: int) -> torch.Tensor:
    resized = kept.new_zeros(slots, kept.shape[1], places, kept.shape[3])
    shared = min(len(kept), slots), min(kept.shape[2], places)
    resized[: shared[0], :, : shared[1]] = kept[: shared[0], :, : shared[1]]
    return resized


def _rounded(number: int, block: int) -> int:
    return -(-number // block) * block
