"""The recipe that teaches mini's picture transformer to edit: it goes on from the one that draws from words.

Half of each batch is what that one was trained on, so that drawing from words does not suffer but gains. The
other half are exact pairs of before and after, each in both directions: a render, and the same render with
something of its scene changed. `image_parts` says what an edit is to the transformer. No weight is added, and
what is exported is the same pipeline, whose parts `ZImageImg2ImgPipeline` takes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ZImageImg2ImgPipeline, ZImagePipeline, ZImageTransformer2DModel
from torch import Tensor, nn

from modaverse.context import Modality
from modaverse.toybox.edits import Edit, edit_caption, random_edit
from modaverse.toybox.recipes.diffusion import CHECKED, UNCONDITIONAL_SHARE, exported, latent_pool
from modaverse.toybox.recipes.image import TRANSFORMER, Studio
from modaverse.toybox.recipes.image_parts import CAPTION_TOKENS, Starts
from modaverse.toybox.recipes.pools import Pool, build_pool
from modaverse.toybox.recipes.registry import PoolReport
from modaverse.toybox.recipes.renders import COUNTS, TRAIN_SEED, AnyScene, known_pool, render
from modaverse.toybox.recipes.trainer import Measures, Recipe, Schedule
from modaverse.toybox.wordings.captions import caption, plain_caption
from modaverse.toybox.wordings.wishes import wish_for

PART = "image-edit"
PAIRS = 20_000
HALF = 32  # of a batch: so many from words, and so many edits
STRENGTHS = (0.4, 0.8)
"""Strengths that edits are learnt at. Below, too much of what is to change would stay; above, too little of
what is to be kept."""
STEPS, STRENGTH = 16, 0.625  # of the edits that are tried now and then; ten of the steps are left
TRIED = 48


@dataclass(frozen=True, slots=True)
class Batch:
    """Latents (b, 8, 16, 16) that are to be reached, from where, and by which captions."""

    latents: Tensor
    captions: Sequence[str]
    starts: Starts


def edited_pool(runs: Path, report: PoolReport) -> Pool[Edit]:
    """Render `i` is render `i` of the pool of training after its edit: the same draws, another scene."""
    return build_pool(
        runs / "pools" / "edited-image",
        min(PAIRS, COUNTS[Modality.IMAGE]),
        TRAIN_SEED,
        random_edit,
        lambda edit, rng: render(edit.after, rng),
        report=report,
    )


@dataclass(frozen=True, slots=True)
class Pairs:
    """The data: what renders show, and their latents (n, 8, 16, 16). `edited[i]` begins at `known[i]`."""

    known: Sequence[AnyScene]
    before: np.ndarray
    edited: Sequence[Edit]
    after: np.ndarray

    def batch(self, step: int) -> Batch:
        """What step number `step` learns from: half of it pictures from words, half edits."""
        rng = np.random.default_rng([TRAIN_SEED, step])
        words = random.Random(f"{PART}:{step}")
        drawings = self.drawings(rng.integers(len(self.known), size=HALF), words)
        edits = self.edits(rng.integers(len(self.edited), size=HALF), words)
        strengths = torch.from_numpy(rng.uniform(*STRENGTHS, size=HALF)).float()
        return Batch(
            torch.cat((drawings.latents, edits.latents)),
            (*drawings.captions, *edits.captions),
            Starts(
                torch.cat((drawings.starts.latents, edits.starts.latents)),
                torch.cat((drawings.starts.strengths, strengths)),
            ),
        )

    def drawings(self, places: Iterable[int], words: random.Random) -> Batch:
        """Renders of training from words alone; some captions are empty."""
        chosen = list(places)
        captions = [
            "" if words.random() < UNCONDITIONAL_SHARE else caption(self.known[i], words) for i in chosen
        ]
        latents = torch.from_numpy(self.before[chosen]).float()
        return Batch(latents, captions, Starts(latents, torch.ones(len(chosen))))

    def edits(self, places: Iterable[int], words: random.Random) -> Batch:
        """Pairs, each in one direction or the other, at the strength that edits are tried at."""
        chosen = [(i, words.random() < 0.5) for i in places]
        edits = [self.edited[i].reversed() if back else self.edited[i] for i, back in chosen]
        sides = [(self.before[i], self.after[i]) for i, _ in chosen]
        begins = np.stack([side[back] for side, (_, back) in zip(sides, chosen, strict=True)])
        ends = np.stack([side[not back] for side, (_, back) in zip(sides, chosen, strict=True)])
        return Batch(
            torch.from_numpy(ends).float(),
            [edit_caption(edit, words) for edit in edits],
            Starts(torch.from_numpy(begins).float(), torch.full((len(edits),), STRENGTH)),
        )


def edit_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    trained = exported(runs, TRANSFORMER) / "transformer"
    studio = Studio.load(runs)
    known, edited = known_pool(Modality.IMAGE, runs, report), edited_pool(runs, report)
    pairs = Pairs(
        known.truths,
        latent_pool(studio.encode, known, runs / TRANSFORMER / "latents.npy", report),
        edited.truths,
        latent_pool(studio.encode, edited, runs / PART / "latents.npy", report),
    )
    recoloured = [i for i, edit in enumerate(edited.truths) if edit.changes.keys() == {"colour"}][:TRIED]

    def step_loss(module: nn.Module, batch: Batch) -> tuple[Tensor, Measures]:
        noise = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        value = studio.loss(module, batch.latents, batch.captions, noise, batch.starts)
        return value, {"mse": value.item()}

    def evaluate(module: nn.Module) -> Measures:
        def mean(batches: Sequence[Batch]) -> float:
            noise = torch.Generator().manual_seed(0)
            losses = [studio.loss(module, b.latents, b.captions, noise, b.starts) for b in batches]
            return torch.stack(losses).mean().item()

        words = random.Random(f"{PART}-check")
        chunks = [range(start, start + 2 * HALF) for start in range(0, CHECKED, 2 * HALF)]
        return {
            "mse": mean([pairs.drawings(places, words) for places in chunks]),
            "mse_edits": mean([pairs.edits(places, words) for places in chunks]),
            "left": what_is_left(studio.pipeline(module), pairs, known.take(recoloured)[0], recoloured),
        }

    return [
        Recipe(
            name=PART,
            schedule=Schedule(
                steps=6_000,
                learning_rate=2e-3,
                warmup=200,
                weight_decay=0.01,
                ema=0.999,
                final_rate=0.02,
                muon=True,
            ),
            build=lambda: ZImageTransformer2DModel.from_pretrained(trained, torch_dtype=torch.float32),
            batch=pairs.batch,
            loss=step_loss,
            evaluate=evaluate,
            export=studio.export,
        )
    ]


def what_is_left(pipeline: ZImagePipeline, pairs: Pairs, renders: np.ndarray, places: Sequence[int]) -> float:
    """How far edited pictures are from the exact ones after, against how far those before are.

    `renders` are the pictures before, uint8 (n, 64, 64, 3), of the pairs `places`. Distances are squared ones
    of latents. Where only a colour differs this can come near 0; 1 is what doing nothing gives.
    """
    editor = ZImageImg2ImgPipeline(**pipeline.components)
    editor.set_progress_bar_config(disable=True)
    made = editor(
        [plain_caption(wish_for(pairs.edited[place].after)) for place in places],
        image=renders.astype(np.float32) / 255,
        strength=STRENGTH,
        num_inference_steps=STEPS,
        guidance_scale=0.0,
        max_sequence_length=CAPTION_TOKENS,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).images
    before, after = (torch.from_numpy(side[places]).float() for side in (pairs.before, pairs.after))
    return float((made - after).square().sum() / (before - after).square().sum())
