"""What the recipes of the three generators share: latents computed once, and how a transformer is trained."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from modaverse.errors import ModelNotFound
from modaverse.toybox.recipes.pools import Pool
from modaverse.toybox.recipes.registry import PoolReport
from modaverse.toybox.recipes.renders import TRAIN_SEED, AnyScene
from modaverse.toybox.recipes.trainer import Measures, Recipe, Schedule
from modaverse.toybox.wordings.captions import caption

UNCONDITIONAL_SHARE = 0.1  # captions left empty, for guidance (arXiv 2207.12598)
CHECKED = 256

FlowLoss = Callable[[nn.Module, Tensor, list[str], torch.Generator], Tensor]
"""(transformer, latents (b, …), captions, noise) → the loss of one batch."""


def exported(runs: Path, part: str) -> Path:
    """The folder that a finished part lies in.

    Raises:
        ModelNotFound: it has not been trained yet.
    """
    folder = runs / part / "export"
    if not folder.is_dir():
        raise ModelNotFound(
            f"{folder}: {part} is not there", hint=f"train it first: modaverse toybox train {part}"
        )
    return folder


def export_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Save a pipeline in half precision, without the paths of this machine that diffusers notes in it."""
    pipeline.to(torch.float16).save_pretrained(folder)
    for path in folder.glob("*/config.json"):
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def latent_pool(
    encode: Callable[[np.ndarray], Tensor],
    pool: Pool[Any],
    path: Path,
    report: PoolReport,
    *,
    chunk: int = 50,
) -> np.ndarray:
    """Latents (n, …) float16 of all renders of a pool, encoded once and kept in `path`."""
    if path.exists():
        kept: np.ndarray = np.load(path)
        if len(kept) == len(pool):
            return kept
    chunks = []
    for start in range(0, len(pool), chunk):
        renders, _ = pool.take(range(start, min(start + chunk, len(pool))))
        chunks.append(encode(renders).half().numpy())
        report(start + len(renders), len(pool))
    path.parent.mkdir(parents=True, exist_ok=True)
    latents = np.concatenate(chunks)
    temporary = path.with_suffix(".tmp.npy")
    np.save(temporary, latents)
    temporary.replace(path)
    return latents


def transformer_recipe(
    name: str,
    *,
    steps: int,
    batch_size: int,
    build: Callable[[], nn.Module],
    loss: FlowLoss,
    latents: np.ndarray,
    truths: Sequence[AnyScene],
    export: Callable[[nn.Module, Path], None],
) -> Recipe:
    """The recipe of a transformer that makes `latents[i]` from captions of `truths[i]`."""

    def batch(step: int) -> tuple[Tensor, list[str]]:
        rng = np.random.default_rng([TRAIN_SEED, step])
        words = random.Random(f"{name}:{step}")
        chosen = rng.integers(len(truths), size=batch_size)
        captions = ["" if words.random() < UNCONDITIONAL_SHARE else caption(truths[i], words) for i in chosen]
        return torch.from_numpy(latents[chosen]).float(), captions

    def step_loss(module: nn.Module, data: tuple[Tensor, list[str]]) -> tuple[Tensor, Measures]:
        noise = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        value = loss(module, data[0], data[1], noise)
        return value, {"mse": value.item()}

    def evaluate(module: nn.Module) -> Measures:
        words = random.Random(f"{name}-check")
        count = min(CHECKED, len(truths))
        captions = [caption(truth, words) for truth in truths[:count]]
        noise = torch.Generator().manual_seed(0)
        errors = [
            loss(
                module,
                torch.from_numpy(latents[i : i + batch_size]).float(),
                captions[i : i + batch_size],
                noise,
            )
            for i in range(0, count - batch_size + 1, batch_size)
        ]
        return {"mse": torch.stack(errors).mean().item()}

    def seeded() -> nn.Module:
        torch.manual_seed(0)
        return build()

    return Recipe(
        name=name,
        schedule=Schedule(
            steps=steps,
            learning_rate=4e-3,
            warmup=300,
            weight_decay=0.01,
            ema=0.999,
            final_rate=0.02,
            muon=True,
        ),
        build=seeded,
        batch=batch,
        loss=step_loss,
        evaluate=evaluate,
        export=export,
        evaluate_every=1000,
    )
