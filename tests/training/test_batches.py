from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modaverse.training.batches import BatchPlan

LENGTHS = np.random.default_rng(0).integers(20, 200, 203)


def plan(**changes: Any) -> BatchPlan:
    values: dict[str, Any] = {"size": 8, "tokens": None, "window": 4, "epochs": 2.0, "steps": None, "seed": 0}
    return BatchPlan(LENGTHS, **values | changes)


@pytest.mark.parametrize("cut", [{"size": 8}, {"size": None, "tokens": 700}])
@pytest.mark.parametrize("window", [1, 4, 100])
def test_an_epoch_holds_every_row_once(cut: dict[str, Any], window: int) -> None:
    batches = plan(window=window, **cut).epoch(3)
    assert sorted(row for batch in batches for row in batch) == list(range(203))


def test_batches_keep_within_their_size() -> None:
    assert max(len(batch) for batch in plan().epoch(0)) == 8
    batches = plan(size=None, tokens=700).epoch(0)
    assert max(LENGTHS[batch].max() * len(batch) for batch in batches) <= 700
    # A row that is longer than that is still trained on, by itself.
    assert max(len(batch) for batch in plan(size=None, tokens=10).epoch(0)) == 1


def test_length_grouping_saves_padding() -> None:
    shares = [plan(window=window).padding() for window in (1, 4, 26)]
    assert shares[0] > 0.3
    assert shares[1] < 0.2
    assert shares[2] < 0.05


def test_order_depends_on_seed_and_epoch_alone() -> None:
    assert plan().epoch(1) == plan().epoch(1)
    assert plan().epoch(1) != plan().epoch(0)
    assert plan().epoch(1) != plan(seed=1).epoch(1)


@pytest.mark.parametrize("cut", [{"size": 8}, {"size": None, "tokens": 700}])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_processes_share_what_one_would_do_alone(
    cut: dict[str, Any], processes: int, accumulation: int
) -> None:
    """Step by step, the batches of all processes are those of one process with more accumulation."""
    alone = plan(accumulation=accumulation * processes, **cut)
    shared = [
        list(plan(accumulation=accumulation, processes=processes, rank=rank, **cut))
        for rank in range(processes)
    ]
    assert {len(batches) for batches in shared} == {alone.total_steps * accumulation}
    together = [batch for group in zip(*shared, strict=True) for batch in group]
    assert together == list(alone)


def test_steps_and_epochs() -> None:
    assert plan(epochs=2.0).total_steps == 52
    assert plan(epochs=0.5).total_steps == 13
    assert plan(epochs=None, steps=7).total_steps == 7
    assert len(plan(epochs=None, steps=100, accumulation=3)) == len(
        list(plan(epochs=None, steps=100, accumulation=3))
    )
    assert plan().epochs_at(13) == 0.5
    assert plan().epochs_at(52) == 2.0
    tokens = plan(size=None, tokens=700)
    assert tokens.epochs_at(tokens.total_steps) == pytest.approx(2.0, abs=0.02)
