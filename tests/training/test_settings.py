from __future__ import annotations

from typing import Any

import pytest

from modaverse.errors import SettingsError
from modaverse.training.schedule import rate_factor
from modaverse.training.settings import RUN_ON, LearningRates, TrainSettings

LEAST = {"data": ("rows.jsonl",), "llm": "llm", "encoder": "encoder"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": 1, "steps": 5}, "epochs and steps exclude each other"),
        ({"batch_size": 1, "batch_tokens": 5}, "batch_size and batch_tokens exclude each other"),
        ({"batch_size": 0}, "batch_size: Input should be greater than or equal to 1"),
        ({"learning_rates": {"lora": -1}}, "learning_rates.lora: Input should be greater than 0"),
        ({"lr": 1}, "lr: Extra inputs are not permitted"),
        ({"data": ()}, "data: Tuple should have at least 1 item"),
        ({"schedule": "steep"}, "schedule: Input should be 'cosine', 'linear' or 'constant'"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        TrainSettings.parse(LEAST | changes)
    assert reason in caught.value.message
    assert "--help" in caught.value.hint


def test_each_setting_is_described() -> None:
    for model in (TrainSettings, LearningRates):
        assert [name for name, field in model.model_fields.items() if not field.description] == []
    assert set(TrainSettings.model_fields) >= RUN_ON


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_rates_rise_and_fall(schedule: str) -> None:
    settings = TrainSettings.parse(LEAST | {"schedule": schedule, "warmup": 0.1, "final_rate": 0.1})
    factors = [rate_factor(settings, step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[:11] == sorted(factors[:11])
    assert max(factors) == pytest.approx(1.0)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] == pytest.approx(1.0 if schedule == "constant" else 0.1, abs=0.01)
