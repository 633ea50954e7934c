from __future__ import annotations

import math

import numpy as np
import pytest

from modaverse.toybox.evaluation.statistics import proportion, ratio, total


def test_wilson_as_tabulated() -> None:
    """Newcombe 1998, table I: 81 of 263, 15 of 148 and 0 of 20."""
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ):
        estimate = proportion([True] * right + [False] * (count - right))
        assert estimate.value == pytest.approx(right / count)
        assert (estimate.low, estimate.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilson_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        estimate = proportion((rng.random(200) < 0.95).tolist())
        covered += estimate.low <= 0.95 <= estimate.high
    assert 0.91 <= covered / 400 <= 0.99


def test_nothing_observed_is_no_number() -> None:
    assert proportion([]).count == 0
    assert math.isnan(proportion([]).value)
    assert ratio([], []).count == 0
    assert total([], 0).count == 0


def test_ratio_of_sums_and_its_bootstrap() -> None:
    rng = np.random.default_rng(1)
    below = rng.uniform(1, 2, 60)
    above = 0.8 * below * rng.uniform(0.9, 1.1, 60)
    estimate = ratio(above.tolist(), below.tolist())
    assert estimate.value == pytest.approx(above.sum() / below.sum())
    assert 0.77 < estimate.low < estimate.value < estimate.high < 0.83
    assert ratio([1.0], [2.0]).value == 0.5
    assert estimate == ratio(above.tolist(), below.tolist())  # the same numbers give the same interval


def test_total_counts() -> None:
    assert total([0, 1, 1, 0], 4).value == 2
    none = total([0] * 200, 200)
    assert none.value == 0
    assert none.high == pytest.approx(3.77, abs=0.05)
