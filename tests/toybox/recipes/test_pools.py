from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from modaverse.toybox.recipes import pools
from modaverse.toybox.recipes.pools import build_pool


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CHUNK", 4)


def draw(rng: random.Random) -> int:
    return rng.randrange(1000)


def render(truth: int, rng: np.random.Generator) -> np.ndarray:
    return np.array([truth, rng.integers(1000)])


def test_interrupted_pool_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = build_pool(tmp_path / "whole", 10, 7, draw, render)
    calls = 0

    def failing(truth: int, rng: np.random.Generator) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return render(truth, rng)

    with pytest.raises(KeyboardInterrupt):
        build_pool(tmp_path / "cut", 10, 7, draw, failing)
    done: list[int] = []
    cut = build_pool(tmp_path / "cut", 10, 7, draw, render, report=lambda n, _: done.append(n))
    assert done == [8, 10]
    assert cut.truths == whole.truths
    assert np.array_equal(cut.take(range(10))[0], whole.take(range(10))[0])


def test_longer_pool_begins_with_the_shorter_one(tmp_path: Path) -> None:
    short, long = (build_pool(tmp_path, count, 7, draw, render) for count in (8, 12))
    assert long.truths[:8] == short.truths
    assert np.array_equal(long.take(range(8))[0], short.take(range(8))[0])


def test_other_truths_make_another_pool(tmp_path: Path) -> None:
    build_pool(tmp_path, 4, 7, draw, render)
    other = build_pool(tmp_path, 4, 7, lambda rng: 5000 + draw(rng), render)
    assert (other.take(range(4))[0][:, 0] >= 5000).all()


def test_renders_stay_with_their_truths(tmp_path: Path) -> None:
    pool = build_pool(tmp_path, 10, 7, draw, render)
    renders, truths = pool.sample(np.random.default_rng(0), 50)
    assert renders[:, 0].tolist() == truths
    assert len(set(truths)) > 5
