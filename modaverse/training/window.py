"""What a run has seen since the last entry of its log."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch


class Window:
    """Losses, rows and seconds. The losses go into checkpoints, so that a resumed run logs the same means."""

    def __init__(self) -> None:
        self.clear()
        self.earlier: list[float] = []

    def clear(self) -> None:
        self.earlier = []
        self._losses: list[torch.Tensor] = []
        self._step: torch.Tensor | None = None
        self.rows = self.positions = 0
        self.start_clock()

    def start_clock(self) -> None:
        """Count the seconds from now on."""
        self._began = time.monotonic()

    def batch(self, inputs: Mapping[str, torch.Tensor]) -> None:
        self.rows += len(inputs["input_ids"])
        self.positions += int(inputs["attention_mask"].sum())

    def loss(self, value: torch.Tensor) -> None:
        """The loss of a micro-batch; those of one step add up."""
        self._step = value if self._step is None else self._step + value

    def end_step(self) -> None:
        if self._step is not None:
            self._losses.append(self._step)
        self._step = None

    @property
    def last(self) -> float:
        """Loss of the step at hand."""
        return float("nan") if self._step is None else float(self._step)

    def losses(self) -> list[float]:
        return [*self.earlier, *(float(loss) for loss in self._losses)]

    def mean(self) -> float:
        losses = self.losses()
        return sum(losses) / max(1, len(losses))

    def seconds(self) -> float:
        return time.monotonic() - self._began
