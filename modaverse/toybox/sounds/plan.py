"""What is decided before a sound is made: its pitch, its tempo, and when its events begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modaverse.toybox.sounds.synth import SECONDS

RATES = {"slow": (1.2, 1.8), "fast": (3.2, 4.5)}
"""Events a second: the bounds of either pace."""

PITCH_JITTER = 0.08
"""A sound's pitch lies within this fraction of its group's."""

_TIMING_JITTER = 0.03  # of a period, for each event


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One sound to be made. `pitch` in Hz, `rate` in events a second, `onsets` in seconds (the first may lie
    just before the start), `levels` a factor for each event; `high` and `fast` name the groups."""

    rng: np.random.Generator
    pitch: float
    high: bool
    rate: float
    fast: bool
    onsets: tuple[float, ...]
    levels: tuple[float, ...]

    @property
    def period(self) -> float:
        """Seconds from one event to the next."""
        return 1.0 / self.rate

    def between(self, low: float, high: float) -> float:
        """A number drawn evenly from a range."""
        return float(self.rng.uniform(low, high))


def draw_plan(rng: np.random.Generator, centre: float, *, high: bool, fast: bool) -> Plan:
    """A plan around `centre` Hz."""
    pitch = centre * (1.0 + rng.uniform(-PITCH_JITTER, PITCH_JITTER))
    rate = float(rng.uniform(*RATES["fast" if fast else "slow"]))
    period = 1.0 / rate
    first = rng.uniform(0.02, 0.02 + 0.45 * min(period, 0.6))
    beats = np.arange(first, SECONDS - min(0.09, 0.25 * period), period)
    onsets = beats + rng.uniform(-_TIMING_JITTER, _TIMING_JITTER, len(beats)) * period
    levels = rng.uniform(0.75, 1.0, len(beats))
    return Plan(rng, float(pitch), high, rate, fast, tuple(onsets.tolist()), tuple(levels.tolist()))
