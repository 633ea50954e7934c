"""Which rows go into which batch of which step: a pure function of the settings, the seed and the lengths.

A run is one stream of batches over all its epochs. Step `s` of `w` processes with accumulation `a` takes the
batches from `s·a·w` on; its `j`-th batch on process `r` is number `s·a·w + j·w + r`. So a run that is resumed
at a step needs no state but that step, and several processes see the rows that one of them would.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Batch = list[int]
"""Indices of rows."""


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a run, for one process.

    Args:
        lengths: positions of each row, (rows,) integers.
        size: rows a batch; or
        tokens: positions a batch, padding included (a row that is longer makes a batch of its own).
        window: rows are sorted by length within this many batches.
        epochs: passes over the rows, a part of one allowed; or
        steps: optimiser steps.
    """

    lengths: np.ndarray
    size: int | None
    tokens: int | None
    window: int
    epochs: float | None
    steps: int | None
    seed: int
    accumulation: int = 1
    processes: int = 1
    rank: int = 0

    @property
    def group(self) -> int:
        """Batches that one step takes from the stream."""
        return self.accumulation * self.processes

    @cached_property
    def total_steps(self) -> int:
        """Optimiser steps of the run. The last one is filled from the rows of a further epoch."""
        if self.steps is not None:
            return self.steps
        whole, part = divmod(self.epochs or 1.0, 1.0)
        batches = sum(self._count(index) for index in range(int(whole)))
        if part:
            batches += math.ceil(part * self._count(int(whole)))
        return max(1, math.ceil(batches / self.group))

    def __len__(self) -> int:
        """Batches that this process sees."""
        return self.total_steps * self.accumulation

    def __iter__(self) -> Iterator[Batch]:
        wanted = self.total_steps * self.group
        stream = (batch for epoch in itertools.count() for batch in self.epoch(epoch))
        for index, batch in enumerate(itertools.islice(stream, wanted)):
            if index % self.processes == self.rank:
                yield batch

    def epoch(self, index: int) -> list[Batch]:
        """All batches of one pass over the rows, for all processes."""
        rng = np.random.default_rng([self.seed, index])
        order = rng.permutation(len(self.lengths))
        width = self._window_rows()
        batches: list[Batch] = []
        for start in range(0, len(order), width):
            batches += self._cut(order[start : start + width])
        return [batches[i] for i in rng.permutation(len(batches))]

    def epochs_at(self, step: int) -> float:
        """How often the rows have been seen after `step` steps."""
        seen, epoch = step * self.group, 0
        while seen > (batches := self._count(epoch)):
            seen, epoch = seen - batches, epoch + 1
        return epoch + seen / batches

    def padding(self) -> float:
        """Share of the positions of the first epoch that is padding."""
        batches = self.epoch(0)
        filled = sum(int(self.lengths[batch].sum()) for batch in batches)
        return 1 - filled / sum(int(self.lengths[batch].max()) * len(batch) for batch in batches)

    @cached_property
    def _counts(self) -> dict[int, int]:
        return {}

    def _count(self, epoch: int) -> int:
        """Batches of an epoch; where rows are cut by positions, epochs differ a little."""
        if self.size is not None:
            return math.ceil(len(self.lengths) / self.size)
        if epoch not in self._counts:
            self._counts[epoch] = len(self.epoch(epoch))
        return self._counts[epoch]

    def _window_rows(self) -> int:
        if self.size is not None:
            return self.size * self.window
        return max(1, round(self.window * (self.tokens or 1) / float(self.lengths.mean())))

    def _cut(self, rows: np.ndarray) -> list[Batch]:
        """Cut the rows of one window into batches, those of like length together."""
        if self.window > 1:
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
        batches: list[Batch] = []
        batch: Batch = []
        longest = 0
        for row, length in zip(rows.tolist(), self.lengths[rows].tolist(), strict=True):
            longest = max(longest, length)
            if batch and self._is_full(len(batch), longest):
                batches.append(batch)
                batch, longest = [], length
            batch.append(row)
        return [*batches, batch] if batch else batches

    def _is_full(self, rows: int, longest: int) -> bool:
        """True where a further row does not fit into a batch of `rows`."""
        if self.size is not None:
            return rows >= self.size
        return (rows + 1) * longest > (self.tokens or 1)
