"""The recipes of the picture generator, a few steps of each on a small pool, from renders to a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline

from modaverse.errors import ModelNotFound, SettingsError
from modaverse.toybox.recipes import image, image_edit, renders, text
from modaverse.toybox.recipes.registry import PARTS, recipes
from modaverse.toybox.recipes.trainer import Recipe, train


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renders, "COUNTS", dict.fromkeys(renders.COUNTS, 520))
    monkeypatch.setattr(renders, "CHECKS", 400)
    monkeypatch.setattr(text, "BATCH", 16)
    monkeypatch.setattr(image_edit, "PAIRS", 80)
    monkeypatch.setattr(image_edit, "TRIED", 2)
    monkeypatch.setattr(image_edit, "CHECKED", 64)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def steps(recipe: Recipe, count: int) -> Recipe:
    return replace(recipe, schedule=replace(recipe.schedule, steps=count, warmup=1), evaluate_every=count)


@pytest.mark.slow
def test_from_renders_to_a_pipeline(tmp_path: Path) -> None:
    make: Callable[[str], Recipe] = lambda part: recipes(part, tmp_path)[0]  # noqa: E731
    with pytest.raises(ModelNotFound, match="image-autoencoder is not there"):
        make("image")
    for part in ("image-autoencoder", "image-text", "image", "image-edit"):
        recipe = make(part)
        assert recipe.name == part
        train(steps(recipe, 2), tmp_path / part)
    pipeline = ZImagePipeline.from_pretrained(tmp_path / "image-edit" / "export", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        "a red cat", height=64, width=64, num_inference_steps=2, guidance_scale=2.0, output_type="np"
    ).images
    assert made.shape == (1, 64, 64, 3)
    assert np.isfinite(made).all()
    latents = np.load(tmp_path / "image" / "latents.npy").astype(np.float32)
    assert latents.shape == (520, 8, 16, 16)
    assert abs(latents.mean()) < 0.1
    assert latents.std() == pytest.approx(1, abs=0.1)


def test_every_part_names_a_function() -> None:
    from importlib import import_module

    for target in PARTS.values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))
    with pytest.raises(SettingsError, match="no part 'nose'"):
        recipes("nose", Path())


def test_edges_see_outlines_only() -> None:
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert image._edges(flat).abs().max() == 0
    flat[..., 4:] = 0.8
    edges = image._edges(flat)
    assert edges.shape == (1, 6, 7, 7)
    assert edges[:, :3, :, 3].min() == pytest.approx(0.5)
    assert edges[:, 3:].abs().max() == 0
