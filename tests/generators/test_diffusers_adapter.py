"""The adapter on tiny pipelines: cancelling, options, memory, failures, and the pool around it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modaverse.context import Modality
from modaverse.errors import (
    GenerationCancelled,
    GenerationError,
    GenerationOutOfMemory,
    ModelError,
    SettingsError,
)
from modaverse.generation import GeneratorPool
from modaverse.generators.card import Card
from modaverse.generators.diffusers_adapter import (
    DiffusersGenerator,
    PipelineWeights,
    open_card,
    out_of_memory,
    pipeline_class,
)
from modaverse.interfaces import Decoded, GenerationRequest

Tiny = Callable[[str], tuple[Card, Path]]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def image(tiny: Tiny) -> DiffusersGenerator:
    generator = DiffusersGenerator(*tiny("mini-image"))
    generator.load()
    return generator


def run(
    generator: DiffusersGenerator,
    prompt: str = "a red cat",
    seed: int = 1,
    cancelled: Callable[[], bool] = lambda: False,
    done: list[int] | None = None,
    options: dict[str, Any] | None = None,
) -> Decoded:
    """Make one; the steps that were done are noted in `done`."""
    return generator.generate(
        GenerationRequest(generator.spec.model, prompt, seed, options or {}),
        progress=lambda step, _: None if done is None else done.append(step),
        cancelled=cancelled,
    )


def test_prompt_and_seed_decide(image: DiffusersGenerator) -> None:
    first = run(image).array
    np.testing.assert_array_equal(first, run(image).array)
    assert not np.array_equal(first, run(image, "the dog on").array)
    assert not np.array_equal(first, run(image, seed=2).array)


def test_options_reach_the_pipeline(image: DiffusersGenerator) -> None:
    done: list[int] = []
    first = run(image, done=done).array
    assert done == [1, 2]
    done.clear()
    assert not np.array_equal(first, run(image, done=done, options={"steps": 5}).array)
    assert done == [1, 2, 3, 4, 5]
    assert not np.array_equal(first, run(image, options={"guidance": 7.5}).array)


def test_a_seed_among_the_options_goes_before_the_request_s(image: DiffusersGenerator) -> None:
    np.testing.assert_array_equal(run(image, seed=7).array, run(image, seed=1, options={"seed": 7}).array)


@pytest.mark.parametrize("options", [{"colour": "red"}, {"guidance": "high"}, {"guidance": 99}])
def test_options_that_the_card_does_not_admit(image: DiffusersGenerator, options: dict[str, Any]) -> None:
    with pytest.raises(GenerationError, match="mini-image: Options") as failure:
        run(image, options=options)
    assert "guidance" in failure.value.hint


@pytest.mark.parametrize("after", [0, 1])
def test_cancelling_stops_between_steps(image: DiffusersGenerator, after: int) -> None:
    steps: list[int] = []
    with pytest.raises(GenerationCancelled):
        run(image, done=steps, cancelled=lambda: len(steps) >= after)
    assert len(steps) == after
    run(image)  # and leaves nothing behind


def test_an_edit_without_a_source_says_so(tiny: Tiny) -> None:
    card, folder = tiny("mini-image")
    generator = DiffusersGenerator(card, folder, model="TI-to-I")
    generator.load()
    with pytest.raises(GenerationError, match="TI-to-I needs a source"):
        run(generator)


def test_strength_decides_how_much_of_the_source_stays(tiny: Tiny, tmp_path: Path) -> None:
    card, folder = tiny("mini-image")
    create, edit = [DiffusersGenerator(card, folder, model=model) for model in ("T-to-I", "TI-to-I")]
    pool = GeneratorPool([create, edit], tmp_path)
    source = pool.submit(GenerationRequest("T-to-I", "a red cat", 1)).result(PATIENCE)
    made = [
        pool.submit(GenerationRequest("TI-to-I", "the dog", 1, {"strength": s, "steps": 10}, source))
        for s in (0.1, 0.9)
    ]
    assert made[0].result(PATIENCE).sha256 != made[1].result(PATIENCE).sha256
    pool.close()


def test_unloading_gives_the_weights_back_and_loading_brings_the_same(tiny: Tiny) -> None:
    generator = DiffusersGenerator(*tiny("mini-image"))
    with pytest.raises(GenerationError, match="mini-image is not loaded"):
        run(generator)
    generator.load()
    first = run(generator).array
    generator.unload()
    with pytest.raises(GenerationError, match="mini-image is not loaded"):
        run(generator)
    generator.load()
    np.testing.assert_array_equal(run(generator).array, first)


def test_what_was_set_aside_comes_back_the_same(tiny: Tiny) -> None:
    generator = DiffusersGenerator(*tiny("mini-image"))
    generator.load()
    first = run(generator).array
    generator.weights.park()
    with pytest.raises(GenerationError, match="mini-image is not loaded"):
        run(generator)
    generator.load()
    np.testing.assert_array_equal(run(generator).array, first)
    assert generator.park is None  # on a CPU there is nowhere to go
    assert DiffusersGenerator(*tiny("mini-image"), device="cuda").park is not None


def test_all_calls_of_a_card_share_one_load(tiny: Tiny, tmp_path: Path) -> None:
    card, folder = tiny("mini-video")
    shutil.copytree(folder, tmp_path / "video")
    generators = open_card(card, root=tmp_path)
    assert [generator.spec.model for generator in generators] == ["T-to-V", "TV-to-V", "I-to-V"]
    generators[0].load()
    assert all(generator.resident is generators[0].resident for generator in generators)
    shells = [generator.weights.shell(generator.call) for generator in generators]
    assert len({id(shell.transformer) for shell in shells}) == 1
    assert len({id(shell.scheduler) for shell in shells}) == 3


def test_lower_precision_is_a_precision_of_all_networks(tiny: Tiny) -> None:
    generator = DiffusersGenerator(*tiny("mini-image"), precision="bfloat16")
    generator.load()
    pipeline = generator.weights.shell(generator.call)
    assert {pipeline.transformer.dtype, pipeline.vae.dtype, pipeline.text_encoder.dtype} == {torch.bfloat16}
    assert run(generator).modality is Modality.IMAGE


def test_the_fingerprint_knows_precision_and_card(tiny: Tiny) -> None:
    card, folder = tiny("mini-image")
    other = card.model_copy(update={"summary": "another"})
    prints = {
        DiffusersGenerator(card, folder).fingerprint,
        DiffusersGenerator(card, folder, precision="bfloat16").fingerprint,
        DiffusersGenerator(other, folder).fingerprint,
    }
    assert len(prints) == 3
    assert DiffusersGenerator(card, folder).fingerprint in prints


@pytest.mark.parametrize("library", ["modaverse", "diffusers", "transformers", "pillow", "av", "soxr"])
def test_the_fingerprint_knows_versions(library: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    before = DiffusersGenerator(*tiny("mini-image")).fingerprint
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.0" if name == library else version(name))
    assert DiffusersGenerator(*tiny("mini-image")).fingerprint != before


def test_networks_in_training_have_no_fingerprint(tiny: Tiny, image: DiffusersGenerator) -> None:
    card, _ = tiny("mini-image")
    held = PipelineWeights.holding(card, image.weights.shell(image.call))
    assert DiffusersGenerator(card, Path(), weights=held).fingerprint is None


def test_a_package_that_is_missing_is_named(tiny: Tiny) -> None:
    card, folder = tiny("mini-image")
    needy = card.model_copy(update={"requires": ("torch", "no_such_package")})
    with pytest.raises(
        ModelError, match="mini-image needs no_such_package, which is not installed"
    ) as failure:
        DiffusersGenerator(needy, folder).load()
    assert failure.value.hint == "Run: pip install no_such_package"


class Raises:
    """Stands for a pipeline that fails."""

    _num_timesteps = 1

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, **_: Any) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), GenerationOutOfMemory, "ran out of memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            GenerationOutOfMemory,
            "ran out of memory",
        ),
        (MemoryError(), GenerationOutOfMemory, "ran out of memory"),
        (ValueError("bad size"), GenerationError, "mini-image failed: ValueError: bad size"),
    ],
)
def test_failures_are_named(
    error: Exception,
    kind: type[GenerationError],
    message: str,
    image: DiffusersGenerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PipelineWeights, "shell", lambda *_: Raises(error))
    with pytest.raises(kind, match=message) as failure:
        run(image)
    assert type(failure.value) is kind
    assert failure.value.hint


def test_only_memory_is_memory() -> None:
    assert not out_of_memory(RuntimeError("shapes differ"))
    assert not out_of_memory(ValueError("out of memory"))


def test_a_class_that_diffusers_does_not_have() -> None:
    with pytest.raises(SettingsError, match="has no pipeline NoSuchPipeline"):
        pipeline_class("NoSuchPipeline")
    with pytest.raises(SettingsError, match="has no pipeline AutoencoderKL"):
        pipeline_class("AutoencoderKL")


@pytest.mark.parametrize("field", ["output", "prepare"])
def test_a_card_that_names_what_is_not_there(field: str, tiny: Tiny) -> None:
    card, folder = tiny("mini-image")
    call = card.calls[1].model_copy(update={field: "smells"})
    with pytest.raises(SettingsError, match="nothing is named 'smells'"):
        DiffusersGenerator(card.model_copy(update={"calls": (call,)}), folder)


def test_in_the_pool_side_by_side_is_the_same_as_one_by_one(tiny: Tiny, tmp_path: Path) -> None:
    def hashes(name: str, workers: int) -> list[str]:
        generators = [DiffusersGenerator(*tiny(card)) for card in ("mini-image", "mini-audio")]
        with GeneratorPool(generators, tmp_path / name, workers=workers) as pool:
            calls = [
                pool.submit(GenerationRequest(model, "a red cat", seed))
                for seed in (1, 2)
                for model in ("T-to-I", "T-to-A")
            ]
            return [call.result(PATIENCE).sha256 for call in calls]

    together, alone = hashes("together", 4), hashes("alone", 1)
    assert together == alone
    assert len(set(together)) == 4


def test_in_the_pool_a_cancelled_pipeline_stops_within_a_second(tiny: Tiny, tmp_path: Path) -> None:
    generator = DiffusersGenerator(*tiny("mini-image"))
    with GeneratorPool([generator], tmp_path) as pool:
        call = pool.submit(GenerationRequest("T-to-I", "a red cat", 1, {"steps": 50}))
        assert next(iter(call.events())) == (1, 50)
        began = time.monotonic()
        call.cancel()
        with pytest.raises(GenerationCancelled):
            call.result(PATIENCE)
        while any(thread.name == "modaverse-T-to-I" for thread in threading.enumerate()):
            assert time.monotonic() - began < 1.0
            time.sleep(0.005)
