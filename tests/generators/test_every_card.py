"""Every card runs on its real pipeline class: built tiny, saved, loaded by the ordinary code, called.

A renamed argument or a changed output in a new diffusers shows here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from modaverse.context import Media, Modality
from modaverse.generators.card import Call, Card, card_names, load_card
from modaverse.generators.diffusers_adapter import DiffusersGenerator, PipelineWeights, pipeline_class
from modaverse.interfaces import Decoded, Frames, GenerationRequest, Pixels, Waveform
from modaverse.media import write_media

Tiny = Callable[[str], tuple[Card, Path]]
CALLS = [(name, call.model) for name in card_names() for call in load_card(name).calls]


@pytest.fixture(scope="module")
def weights(tiny: Tiny) -> Callable[[str], PipelineWeights]:
    loaded: dict[str, PipelineWeights] = {}

    def get(name: str) -> PipelineWeights:
        if name not in loaded:
            card, folder = tiny(name)
            loaded[name] = PipelineWeights(card, folder, precision="float32")
            loaded[name].load()
        return loaded[name]

    return get


def source_of(modality: Modality | None, folder: Path) -> Media | None:
    rng = np.random.default_rng(0)
    match modality:
        case Modality.IMAGE:
            return write_media(Pixels(rng.integers(0, 255, (48, 80, 3), dtype=np.uint8)), folder)
        case Modality.VIDEO:
            return write_media(Frames(rng.integers(0, 255, (9, 64, 64, 3), dtype=np.uint8), 8.0), folder)
        case Modality.AUDIO:
            tone = np.sin(np.arange(8000) / 9)[:, None].astype(np.float32) / 2
            return write_media(Waveform(tone, 16000), folder)
    return None


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.parametrize(("name", "model"), CALLS, ids=[f"{name}:{model}" for name, model in CALLS])
def test_card_runs(name: str, model: str, weights: Callable[[str], PipelineWeights], tmp_path: Path) -> None:
    shared = weights(name)
    generator = DiffusersGenerator(shared.card, shared.folder, model=model, weights=shared)
    call = generator.call
    source = source_of(call.source, tmp_path)

    def run(seed: int) -> tuple[Decoded, list[tuple[int, int]]]:
        steps: list[tuple[int, int]] = []
        torch.manual_seed(seed + len(steps) + torch.randint(1000, ()).item())  # must not matter
        request = GenerationRequest(model, "a red cat on the beach", seed, {}, source)
        made = generator.generate(
            request, progress=lambda step, total: steps.append((step, total)), cancelled=lambda: False
        )
        return made, steps

    made, steps = run(1)
    assert made.modality is call.makes
    check_shape(made, call)
    assert steps
    assert [step for step, _ in steps] == list(range(1, len(steps) + 1))
    assert steps[-1] == (steps[-1][1], steps[-1][1])
    again, other = run(1)[0], run(2)[0]
    np.testing.assert_array_equal(made.array, again.array)
    assert not np.array_equal(made.array, other.array)


def check_shape(made: Decoded, call: Call) -> None:
    width, height = call.source_size or (call.arguments.get("width"), call.arguments.get("height"))
    match made:
        case Pixels():
            assert made.array.shape == (height, width, 3)
            assert made.array.dtype == np.uint8
        case Frames():
            assert made.array.shape[1:] == (height, width, 3)
            assert len(made.array) == call.arguments.get("num_frames", 9)
        case Waveform():
            assert made.array.dtype == np.float32
            assert made.array.ndim == 2
            assert len(made.array) > 1000
            assert np.abs(made.array).max() <= 1


@pytest.mark.parametrize("name", card_names())
def test_card_says_where_its_classes_lie(name: str) -> None:
    for call in load_card(name).calls:
        assert ("deprecated" in pipeline_class(call.pipeline).__module__) == call.deprecated
