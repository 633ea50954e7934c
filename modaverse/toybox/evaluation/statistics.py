"""Measured values with the interval in which the true one lies, 95 times in 100."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_Z = 1.959963984540054  # the normal distribution's 97.5 % point


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value over `count` observations, and its 95 % interval."""

    value: float
    low: float
    high: float
    count: int


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


def proportion(marks: Sequence[bool]) -> Estimate:
    """The share of True, with Wilson's interval (Wilson 1927), which holds near 0 and 1 as well."""
    count = len(marks)
    if not count:
        return NOTHING
    share = sum(marks) / count
    spread = _Z * math.sqrt(share * (1 - share) / count + _Z * _Z / (4 * count * count))
    middle, scale = share + _Z * _Z / (2 * count), 1 + _Z * _Z / count
    return Estimate(share, max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale), count)


def ratio(above: Sequence[float], below: Sequence[float], *, resamples: int = 4000) -> Estimate:
    """sum(above) / sum(below) over pairs, with the percentile bootstrap over the pairs (Efron 1979).

    Resamples in which nothing is below have no ratio, and are left out.
    """
    pairs = np.array([above, below], dtype=np.float64)
    count = pairs.shape[1]
    if not count or not pairs[1].sum():
        return NOTHING
    chosen = np.random.default_rng(0).integers(count, size=(resamples, count))
    resampled = pairs[:, chosen].sum(2)
    drawn = np.divide(*resampled[:, resampled[1] != 0])
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(float(pairs[0].sum() / pairs[1].sum()), float(low), float(high), count)


def total(counts: Sequence[int], observed: int) -> Estimate:
    """How many in all, of `observed`, with the interval of what as many others would give."""
    if not observed:
        return NOTHING
    number = sum(counts)
    share = proportion([True] * number + [False] * (observed - number))
    return Estimate(float(number), share.low * observed, share.high * observed, observed)
