"""The recipes of the clip generator, two steps of each on a small pool, from renders to a pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanPipeline

from modaverse.toybox.recipes import renders, text, video
from modaverse.toybox.recipes.registry import recipes
from modaverse.toybox.recipes.trainer import Recipe, train
from modaverse.toybox.recipes.video_parts import LATENT_CHANNELS, LATENT_SHAPE


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renders, "COUNTS", dict.fromkeys(renders.COUNTS, 100))
    monkeypatch.setattr(renders, "CHECKS", 100)
    monkeypatch.setattr(text, "BATCH", 16)
    monkeypatch.setattr(video, "AUTOENCODER_BATCH", 2)


def steps(recipe: Recipe, count: int) -> Recipe:
    return replace(recipe, schedule=replace(recipe.schedule, steps=count, warmup=1), evaluate_every=count)


# Under autocast, Wan's norms of queries and keys have weights of another type, without a fused kernel.
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.slow
def test_from_renders_to_a_pipeline(tmp_path: Path) -> None:
    for part in ("video-autoencoder", "video-text", "video"):
        (recipe,) = recipes(part, tmp_path)
        assert recipe.name == part
        train(steps(recipe, 2), tmp_path / part)
    latents = np.load(tmp_path / "video" / "latents.npy").astype(np.float32)
    assert latents.shape == (100, *LATENT_SHAPE)
    assert np.abs(latents.mean((0, 2, 3, 4))).max() < 0.1
    assert latents.std((0, 2, 3, 4)) == pytest.approx(np.ones(LATENT_CHANNELS), abs=0.1)
    pipeline = WanPipeline.from_pretrained(tmp_path / "video" / "export", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        "a red cat, moving left", height=64, width=64, num_frames=9, num_inference_steps=2, output_type="np"
    ).frames
    assert made.shape == (1, 9, 64, 64, 3)
    assert np.isfinite(made).all()


def test_edges_do_not_see_motion() -> None:
    clip = torch.zeros(1, 3, 4, 8, 8)
    clip[:, :, 2:] = 1.0
    assert video._edges(clip).abs().max() == 0
    clip[..., 4:] = -1.0
    assert video._edges(clip)[0, 0, 3, 0].tolist() == [0, 0, 0, -2, 0, 0, 0]
