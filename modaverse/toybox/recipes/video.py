"""The recipes of mini's clip generator: autoencoder, text encoder, transformer.

Each starts from what the one before it exported; the last one exports the whole pipeline. One transformer
learns to make clips from words, and from words and a first picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor, nn
from transformers import UMT5EncoderModel

from modaverse.context import Modality
from modaverse.toybox.recipes.diffusion import export_pipeline, exported, latent_pool, transformer_recipe
from modaverse.toybox.recipes.registry import PoolReport
from modaverse.toybox.recipes.renders import TRAIN_SEED, known_pool
from modaverse.toybox.recipes.text import text_encoder_recipe
from modaverse.toybox.recipes.trainer import Measures, Recipe, Schedule
from modaverse.toybox.recipes.video_parts import (
    TEXT_WIDTH,
    assemble_video_pipeline,
    build_video_autoencoder,
    build_video_text_encoder,
    build_video_transformer,
    encode_captions,
    encode_clips,
    flow_matching_loss,
    set_latent_scale,
    with_end,
)
from modaverse.toybox.tokenizer import load_tokenizer

AUTOENCODER, TEXT, TRANSFORMER = "video-autoencoder", "video-text", "video"
LATENT_NOISE = 0.08  # of the latents' deviation
FIRST_FRAME_SHARE = 1 / 3  # of the batches in which the first picture is given
AUTOENCODER_BATCH = 4
AUTOENCODER_STEPS, WHOLE_STEPS = 7000, 1000
CROP, GRID = 32, 8  # pixels: the side of what is cut out, and the raster of its corners
"""Most steps take quarters of four times as many clips: as fast, and the frames of a clip are much alike.
The last ones take whole clips, as does the attention of the middle layers."""


def to_clips(renders: np.ndarray) -> Tensor:
    """uint8 (b, t, h, w, 3) → (b, 3, t, h, w) in [-1, 1]."""
    return torch.from_numpy(renders).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


# -------------------------------------------------------------------------------------- autoencoder


def autoencoder_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    pool = known_pool(Modality.VIDEO, runs, report)
    check = known_pool(Modality.VIDEO, runs, report, held_out=True)

    def batch(step: int) -> Tensor:
        rng = np.random.default_rng([TRAIN_SEED, step])
        whole = step >= AUTOENCODER_STEPS - WHOLE_STEPS
        renders, _ = pool.sample(rng, AUTOENCODER_BATCH if whole else 4 * AUTOENCODER_BATCH)
        clips = to_clips(renders if whole else _cut_out(renders, rng))
        return clips.to(memory_format=torch.channels_last_3d)

    def loss(module: nn.Module, clips: Tensor) -> tuple[Tensor, Measures]:
        # Squares: with so short a code, absolute values let thin outlines and small patterns go.
        autoencoder = _autoencoder(module)
        posterior = autoencoder.encode(clips).latent_dist
        latents = posterior.sample()
        latents = latents + LATENT_NOISE * latents.detach().std() * torch.randn_like(latents)
        made = autoencoder.decode(latents).sample.float()
        parts = {
            "pixels": F.mse_loss(made, clips),
            "edges": F.mse_loss(_edges(made), _edges(clips)),
            "motion": F.mse_loss(made.diff(dim=2), clips.diff(dim=2)),
            "kl": posterior.kl().mean() / posterior.mean[0].numel(),
        }
        total = 10 * (parts["pixels"] + parts["edges"] + 0.5 * parts["motion"]) + 1e-4 * parts["kl"]
        return total, {name: value.item() for name, value in parts.items()}

    def evaluate(module: nn.Module) -> Measures:
        autoencoder, errors = _autoencoder(module), []
        for start in range(0, 100, 10):
            clips = to_clips(check.take(range(start, start + 10))[0])
            made = autoencoder.decode(autoencoder.encode(clips).latent_dist.mode()).sample.clamp(-1, 1)
            errors.append((made - clips).square().mean((1, 2, 3, 4)))
        psnr = 10 * torch.log10(4 / torch.cat(errors))
        return {"psnr": psnr.mean().item(), "worst_psnr": psnr.min().item()}

    def export(module: nn.Module, folder: Path) -> None:
        autoencoder = _autoencoder(module)
        with torch.no_grad():
            clips = to_clips(pool.take(range(100))[0])
            modes = [autoencoder.encode(clips[i : i + 10]).latent_dist.mode() for i in range(0, 100, 10)]
            set_latent_scale(autoencoder, torch.cat(modes))
        autoencoder.save_pretrained(folder)

    def build() -> nn.Module:
        torch.manual_seed(0)
        autoencoder: nn.Module = build_video_autoencoder()
        return autoencoder

    return [
        Recipe(
            name=AUTOENCODER,
            schedule=Schedule(
                steps=AUTOENCODER_STEPS,
                learning_rate=3e-3,
                warmup=100,
                weight_decay=0.0,
                ema=0.995,
                muon=True,
                muon_filters=True,
            ),
            build=build,
            batch=batch,
            loss=loss,
            evaluate=evaluate,
            export=export,
        )
    ]


def _cut_out(renders: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random quarter of each clip, (b, t, 64, 64, 3) → (b, t, 32, 32, 3)."""
    corners = GRID * rng.integers((renders.shape[2] - CROP) // GRID + 1, size=(len(renders), 2))
    return np.stack(
        [clip[:, y : y + CROP, x : x + CROP] for clip, (y, x) in zip(renders, corners, strict=True)]
    )


def _edges(clips: Tensor) -> Tensor:
    """Differences between neighbours, across and down, of (b, c, t, h, w)."""
    across = clips[..., :-1, 1:] - clips[..., :-1, :-1]
    down = clips[..., 1:, :-1] - clips[..., :-1, :-1]
    return torch.cat((across, down), 1)


def _autoencoder(module: nn.Module) -> AutoencoderKLWan:
    if not isinstance(module, AutoencoderKLWan):
        raise TypeError(f"not the autoencoder: {type(module)}")
    return module


# ------------------------------------------------------------------------------------- text encoder


def text_encoder_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    tokenizer = load_tokenizer()
    ending = with_end(tokenizer)

    def encode(encoder: nn.Module, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        if not isinstance(encoder, UMT5EncoderModel):
            raise TypeError(f"not the text encoder: {type(encoder)}")
        return encode_captions(encoder, ending, captions)

    return [
        text_encoder_recipe(
            Modality.VIDEO, lambda: build_video_text_encoder(tokenizer), TEXT_WIDTH, encode, steps=1500
        )
    ]


# -------------------------------------------------------------------------------------- transformer


def transformer_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    tokenizer = load_tokenizer()
    ending = with_end(tokenizer)
    autoencoder = AutoencoderKLWan.from_pretrained(exported(runs, AUTOENCODER)).eval().requires_grad_(False)
    text_encoder = (
        UMT5EncoderModel.from_pretrained(exported(runs, TEXT), dtype=torch.float32)
        .eval()
        .requires_grad_(False)
    )
    pool = known_pool(Modality.VIDEO, runs, report)
    latents = latent_pool(
        lambda renders: encode_clips(autoencoder, to_clips(renders)),
        pool,
        runs / TRANSFORMER / "latents.npy",
        report,
        chunk=10,
    )

    def loss(module: nn.Module, clean: Tensor, captions: list[str], noise: torch.Generator) -> Tensor:
        with torch.no_grad():
            prompts, _ = encode_captions(text_encoder, ending, captions)
        first_frame = float(torch.rand((), generator=noise)) < FIRST_FRAME_SHARE
        return flow_matching_loss(_transformer(module), clean, prompts, noise, first_frame=first_frame)

    def export(module: nn.Module, folder: Path) -> None:
        pipeline = assemble_video_pipeline(autoencoder, _transformer(module), text_encoder, tokenizer)
        export_pipeline(pipeline, folder)

    return [
        transformer_recipe(
            TRANSFORMER,
            steps=6_000,
            batch_size=32,
            build=build_video_transformer,
            loss=loss,
            latents=latents,
            truths=pool.truths,
            export=export,
        )
    ]


def _transformer(module: nn.Module) -> WanTransformer3DModel:
    if not isinstance(module, WanTransformer3DModel):
        raise TypeError(f"not the transformer: {type(module)}")
    return module
