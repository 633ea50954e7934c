"""The recipes of the sound generator, two steps of each on a small pool, from renders to a pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableAudio3Pipeline

from modaverse.toybox.recipes import audio, renders, text
from modaverse.toybox.recipes.audio_parts import LATENT_CHANNELS, LATENT_LENGTH
from modaverse.toybox.recipes.registry import recipes
from modaverse.toybox.recipes.trainer import Recipe, train


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renders, "COUNTS", dict.fromkeys(renders.COUNTS, 60))
    monkeypatch.setattr(renders, "CHECKS", 60)
    monkeypatch.setattr(text, "BATCH", 16)
    monkeypatch.setattr(audio, "LOOKED_AT", 60)


def steps(recipe: Recipe, count: int) -> Recipe:
    return replace(recipe, schedule=replace(recipe.schedule, steps=count, warmup=1), evaluate_every=count)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")  # the class itself uses it
def test_from_renders_to_a_pipeline(tmp_path: Path) -> None:
    for part in ("audio-autoencoder", "audio-text", "audio"):
        (recipe,) = recipes(part, tmp_path)
        assert recipe.name == part
        train(steps(recipe, 2), tmp_path / part)
    latents = np.load(tmp_path / "audio" / "latents.npy").astype(np.float32)
    assert latents.shape == (60, LATENT_CHANNELS, LATENT_LENGTH)
    assert np.abs(latents.mean((0, 2))).max() < 0.1
    assert latents.std() == pytest.approx(1, abs=0.1)
    pipeline = StableAudio3Pipeline.from_pretrained(tmp_path / "audio" / "export", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline("the low, slow sound of a bell", duration=2.0, num_inference_steps=2).audios
    assert made.shape == (1, 1, 32_000)
    assert torch.isfinite(made).all()
