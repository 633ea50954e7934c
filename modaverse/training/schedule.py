"""Learning rates as a pure function of the step."""

from __future__ import annotations

import math

from modaverse.training.settings import LearningRates, Part, TrainSettings


def rate_factor(settings: TrainSettings, step: int, steps: int) -> float:
    """Share of the peak learning rate at a step (from 0) of `steps`: a linear rise, then a fall."""
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    falls = {
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "linear": 1 - done,
        "constant": 1.0,
    }
    return settings.final_rate + (1 - settings.final_rate) * falls[settings.schedule]


def part_rates(rates: LearningRates) -> dict[Part, float]:
    """Peak learning rate by part."""
    return {"projectors": rates.projectors, "lora": rates.lora, "tokens": rates.tokens}
