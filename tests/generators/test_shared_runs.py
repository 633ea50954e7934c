"""Requests that share a run of the pipeline get what they would get alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modaverse.errors import GenerationCancelled, GenerationError
from modaverse.generators.card import Card, card_names, load_card
from modaverse.generators.diffusers_adapter import DiffusersGenerator, PipelineWeights
from modaverse.generators.shared_runs import generate_all
from modaverse.interfaces import Decoded, GenerationRequest, Pixels
from modaverse.media import write_media

Tiny = Callable[[str], tuple[Card, Path]]


def alone(generator: DiffusersGenerator, request: GenerationRequest) -> Decoded:
    return generator.generate(request, progress=lambda step, steps: None, cancelled=lambda: False)


def requests(generator: DiffusersGenerator, *options: dict[str, Any]) -> list[GenerationRequest]:
    prompts = ("a red cat", "a small blue dog on a beach", "a bell", "a cat")
    each = options or ({},) * len(prompts)
    return [
        GenerationRequest(generator.spec.model, prompt, seed, option)
        for seed, (prompt, option) in enumerate(zip(prompts, each, strict=True))
    ]


TOGETHER = [name for name in card_names() if load_card(name).calls[0].together]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.parametrize("name", TOGETHER)
def test_equals_one_by_one(tiny: Tiny, name: str) -> None:
    """On every card that says that it can."""
    generator = DiffusersGenerator(*tiny(name), precision="float32")
    generator.load()
    asked = requests(generator)
    together = generate_all(generator, asked, batch=3)
    for request, made in zip(asked, together, strict=True):
        expected = alone(generator, request)
        assert type(made) is type(expected)
        assert difference(made, expected) < 1
    assert difference(together[0], together[3]) > 5


def difference(a: Decoded, b: Decoded) -> float:
    """Mean difference, as a multiple of what rounding may change: a byte by one in a few places."""
    rounding = 0.3 if a.array.dtype == np.uint8 else 1e-5
    return float(np.abs(a.array.astype(np.float64) - b.array.astype(np.float64)).mean()) / rounding


def test_only_requests_that_are_alike_share_a_run(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    card, folder = tiny("mini-image")
    generator = DiffusersGenerator(card, folder)
    generator.load()
    runs: list[int] = []
    shell = PipelineWeights.shell

    def counted(weights: PipelineWeights, call: Any) -> Any:
        runs.append(1)
        return shell(weights, call)

    monkeypatch.setattr(PipelineWeights, "shell", counted)
    generate_all(generator, requests(generator), batch=2)
    assert len(runs) == 2
    runs.clear()
    made = generate_all(generator, requests(generator, {"steps": 2}, {"steps": 3}, {"steps": 2}, {"seed": 5}))
    assert len(runs) == 3
    assert (made[3].array == alone(generator, GenerationRequest("T-to-I", "a cat", 5)).array).all()
    runs.clear()
    source = write_media(Pixels(np.zeros((64, 64, 3), np.uint8)), tmp_path)
    editor = DiffusersGenerator(card, folder, model="TI-to-I", weights=generator.weights)
    edits = [GenerationRequest("TI-to-I", prompt, 1, {}, source) for prompt in ("a cat", "a dog")]
    assert len(generate_all(editor, edits)) == 2
    assert len(runs) == 2


def test_failures_and_cancelling(tiny: Tiny) -> None:
    generator = DiffusersGenerator(*tiny("mini-image"))
    generator.load()
    with pytest.raises(GenerationCancelled):
        generate_all(generator, requests(generator), cancelled=lambda: True)
    wrong = [GenerationRequest("T-to-I", "a cat", 1, {"steps": 0})] * 2
    with pytest.raises(GenerationError, match="less than the minimum"):
        generate_all(generator, wrong)
    assert generate_all(generator, []) == []


def test_networks_in_memory_are_run_as_the_card_says(tiny: Tiny) -> None:
    card, folder = tiny("mini-image")
    saved = DiffusersGenerator(card, folder)
    saved.load()
    held = DiffusersGenerator(
        card, Path(), weights=PipelineWeights.holding(card, saved.weights.shell(card.calls[0]))
    )
    held.load()
    request = GenerationRequest("T-to-I", "a red cat", 1)
    assert (alone(held, request).array == alone(saved, request).array).all()
