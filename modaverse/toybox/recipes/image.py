"""The recipes of mini's picture generator: autoencoder, text encoder, transformer.

Each starts from what the one before it exported; the last one exports the whole pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Qwen3Model

from modaverse.context import Modality
from modaverse.toybox.recipes.diffusion import export_pipeline, exported, latent_pool, transformer_recipe
from modaverse.toybox.recipes.image_parts import (
    TEXT_WIDTH,
    Starts,
    Velocity,
    assemble_image_pipeline,
    build_image_autoencoder,
    build_image_text_encoder,
    build_image_transformer,
    encode_captions,
    encode_pictures,
    flow_matching_loss,
    image_velocity,
    set_latent_scale,
)
from modaverse.toybox.recipes.registry import PoolReport
from modaverse.toybox.recipes.renders import TRAIN_SEED, known_pool
from modaverse.toybox.recipes.text import text_encoder_recipe
from modaverse.toybox.recipes.trainer import Measures, Recipe, Schedule
from modaverse.toybox.tokenizer import load_tokenizer

AUTOENCODER, TEXT, TRANSFORMER = "image-autoencoder", "image-text", "image"
LATENT_NOISE = 0.08  # of the latents' deviation


def to_pixels(renders: np.ndarray) -> Tensor:
    """uint8 (b, h, w, 3) → (b, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(renders).permute(0, 3, 1, 2).float() / 127.5 - 1


# -------------------------------------------------------------------------------------- autoencoder


def autoencoder_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    pool = known_pool(Modality.IMAGE, runs, report)
    check = known_pool(Modality.IMAGE, runs, report, held_out=True)

    def batch(step: int) -> Tensor:
        renders, _ = pool.sample(np.random.default_rng([TRAIN_SEED, step]), 8)
        return to_pixels(renders).to(memory_format=torch.channels_last)

    def loss(module: nn.Module, pictures: Tensor) -> tuple[Tensor, Measures]:
        posterior = module.encode(pictures).latent_dist  # type: ignore[operator]
        # What a transformer makes is never quite a latent of a picture: the decoder learns to stand noise.
        latents = posterior.sample()
        latents = latents + LATENT_NOISE * latents.detach().std() * torch.randn_like(latents)
        made = module.decode(latents).sample.float()  # type: ignore[operator]
        parts = {
            "l1": F.l1_loss(made, pictures),
            "edges": F.l1_loss(_edges(made), _edges(pictures)),
            "kl": posterior.kl().mean() / posterior.mean[0].numel(),
        }
        total = parts["l1"] + parts["edges"] + 1e-4 * parts["kl"]
        return total, {name: value.item() for name, value in parts.items()}

    def evaluate(module: nn.Module) -> Measures:
        errors = []
        for start in range(0, 400, 50):
            pictures = to_pixels(check.take(range(start, start + 50))[0])
            latents = module.encode(pictures).latent_dist.mode()  # type: ignore[operator]
            made = module.decode(latents).sample.clamp(-1, 1)  # type: ignore[operator]
            errors.append((made - pictures).square().mean((1, 2, 3)))
        psnr = 10 * torch.log10(4 / torch.cat(errors))
        return {"psnr": psnr.mean().item(), "worst_psnr": psnr.min().item()}

    def export(module: nn.Module, folder: Path) -> None:
        if not isinstance(module, AutoencoderKL):
            raise TypeError(f"not the autoencoder: {type(module)}")
        with torch.no_grad():
            pictures = to_pixels(pool.take(range(500))[0])
            modes = [module.encode(pictures[i : i + 50]).latent_dist.mode() for i in range(0, 500, 50)]
            set_latent_scale(module, torch.cat(modes))
        module.save_pretrained(folder)

    return [
        Recipe(
            name=AUTOENCODER,
            schedule=Schedule(steps=7000, learning_rate=1e-3, warmup=100, weight_decay=0.0, ema=0.995),
            build=lambda: _channels_last(_seeded(build_image_autoencoder)),
            batch=batch,
            loss=loss,
            evaluate=evaluate,
            export=export,
        )
    ]


def _edges(pictures: Tensor) -> Tensor:
    """Differences between neighbours, across and down, of (b, c, h, w): what makes outlines sharp."""
    across = pictures[..., :-1, 1:] - pictures[..., :-1, :-1]
    down = pictures[..., 1:, :-1] - pictures[..., :-1, :-1]
    return torch.cat((across, down), 1)


def _channels_last(module: nn.Module) -> nn.Module:
    """The layout in which convolutions are fast on a CPU."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build()


# ------------------------------------------------------------------------------------- text encoder


def text_encoder_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    tokenizer = load_tokenizer()

    def encode(encoder: nn.Module, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        if not isinstance(encoder, Qwen3Model):
            raise TypeError(f"not the text encoder: {type(encoder)}")
        return encode_captions(encoder, tokenizer, captions)

    return [
        text_encoder_recipe(Modality.IMAGE, lambda: build_image_text_encoder(tokenizer), TEXT_WIDTH, encode)
    ]


# -------------------------------------------------------------------------------------- transformer


@dataclass(frozen=True, slots=True)
class Studio:
    """What stays as it is while the transformer learns: how pictures and captions become numbers."""

    autoencoder: AutoencoderKL
    text_encoder: Qwen3Model
    tokenizer: PreTrainedTokenizerBase
    velocity: Velocity

    @classmethod
    def load(cls, runs: Path) -> Studio:
        """What was trained in `runs`.

        Raises:
            ModelNotFound: one of them was not.
        """
        autoencoder = AutoencoderKL.from_pretrained(exported(runs, AUTOENCODER)).eval().requires_grad_(False)
        text_encoder = Qwen3Model.from_pretrained(exported(runs, TEXT), dtype=torch.float32)
        text_encoder.eval().requires_grad_(False)
        velocity = torch.compile(image_velocity, dynamic=False)  # a third faster
        return cls(autoencoder, text_encoder, load_tokenizer(), velocity)

    def encode(self, renders: np.ndarray) -> Tensor:
        """uint8 (b, 64, 64, 3) → latents (b, 8, 16, 16)."""
        return encode_pictures(self.autoencoder, to_pixels(renders))

    def loss(
        self,
        module: nn.Module,
        clean: Tensor,
        captions: Sequence[str],
        noise: torch.Generator,
        starts: Starts | None = None,
    ) -> Tensor:
        """`flow_matching_loss` of a transformer on latents and their captions."""
        with torch.no_grad():
            prompts = encode_captions(self.text_encoder, self.tokenizer, captions)
        return flow_matching_loss(_transformer(module), clean, prompts, noise, self.velocity, starts)

    def pipeline(self, module: nn.Module) -> ZImagePipeline:
        """A transformer as the whole pipeline."""
        return assemble_image_pipeline(
            self.autoencoder, _transformer(module), self.text_encoder, self.tokenizer
        )

    def export(self, module: nn.Module, folder: Path) -> None:
        export_pipeline(self.pipeline(module), folder)


def transformer_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    studio = Studio.load(runs)
    pool = known_pool(Modality.IMAGE, runs, report)
    latents = latent_pool(studio.encode, pool, runs / TRANSFORMER / "latents.npy", report)
    return [
        transformer_recipe(
            TRANSFORMER,
            steps=6_000,
            batch_size=64,
            build=build_image_transformer,
            loss=studio.loss,
            latents=latents,
            truths=pool.truths,
            export=studio.export,
        )
    ]


def _transformer(module: nn.Module) -> ZImageTransformer2DModel:
    if not isinstance(module, ZImageTransformer2DModel):
        raise TypeError(f"not the transformer: {type(module)}")
    return module
