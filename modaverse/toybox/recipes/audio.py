"""The recipes of mini's sound generator: autoencoder, text encoder, transformer.

Each starts from what the one before it exported; the last one exports the whole pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderSAME
from torch import Tensor, nn
from transformers import T5GemmaEncoderModel

from modaverse.context import Modality
from modaverse.toybox.recipes.audio_attention import use_fast_attention
from modaverse.toybox.recipes.audio_parts import (
    TEXT_WIDTH,
    assemble_audio_pipeline,
    autoencoder_loss,
    build_audio_autoencoder,
    build_audio_duration_embedder,
    build_audio_text_encoder,
    build_audio_transformer,
    encode_captions,
    encode_sounds,
    flow_matching_loss,
    set_latent_scale,
    with_end,
)
from modaverse.toybox.recipes.audio_start import start_as_transform_code
from modaverse.toybox.recipes.diffusion import export_pipeline, exported, latent_pool, transformer_recipe
from modaverse.toybox.recipes.registry import PoolReport
from modaverse.toybox.recipes.renders import TRAIN_SEED, known_pool
from modaverse.toybox.recipes.text import text_encoder_recipe
from modaverse.toybox.recipes.trainer import Measures, Recipe, Schedule
from modaverse.toybox.tokenizer import load_tokenizer

AUTOENCODER, TEXT, TRANSFORMER = "audio-autoencoder", "audio-text", "audio"
AUTOENCODER_BATCH = 8
AUTOENCODER_STEPS, HARD_STEPS = 8000, 2500
HARD = "car"  # a horn has lines up to 6 kHz, more than 64 numbers a latent hold without much training
LOOKED_AT = 200  # sounds that the start and the scale of the latents are computed from


def to_sounds(renders: np.ndarray) -> Tensor:
    """int16 (b, samples) → (b, samples) in [-1, 1]."""
    return torch.from_numpy(renders).float() / 32767


class SoundTransformer(nn.Module):
    """What trains last: the transformer, and the embedder of the duration beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = build_audio_transformer()
        self.duration_embedder = build_audio_duration_embedder()
        use_fast_attention(self.transformer)


# -------------------------------------------------------------------------------------- autoencoder


def autoencoder_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    pool = known_pool(Modality.AUDIO, runs, report)
    check = known_pool(Modality.AUDIO, runs, report, held_out=True)
    hard = [place for place, scene in enumerate(pool.truths) if scene.thing == HARD]

    def batch(step: int) -> Tensor:
        """Sounds of every kind; in the last steps half of them of the kind that is hardest."""
        rng = np.random.default_rng([TRAIN_SEED, step])
        if step < AUTOENCODER_STEPS or not hard:
            return to_sounds(pool.sample(rng, AUTOENCODER_BATCH)[0])
        half = AUTOENCODER_BATCH // 2
        places = [*rng.integers(len(pool), size=half), *rng.choice(hard, half)]
        return to_sounds(pool.take([int(place) for place in places])[0])

    def loss(module: nn.Module, sounds: Tensor) -> tuple[Tensor, Measures]:
        total, parts = autoencoder_loss(module, sounds)
        return total, {name: value.item() for name, value in parts.items()}

    def evaluate(module: nn.Module) -> Measures:
        sums: dict[str, float] = {}
        for start in range(0, LOOKED_AT, 20):
            sounds = to_sounds(check.take(range(start, start + 20))[0])
            for name, value in autoencoder_loss(module, sounds)[1].items():
                sums[name] = sums.get(name, 0.0) + value.item() * 20 / LOOKED_AT
        return sums

    def build() -> nn.Module:
        torch.manual_seed(0)
        autoencoder = build_audio_autoencoder()
        start_as_transform_code(autoencoder, to_sounds(pool.take(range(LOOKED_AT))[0]))
        use_fast_attention(autoencoder)
        return autoencoder  # type: ignore[no-any-return]

    def export(module: nn.Module, folder: Path) -> None:
        if not isinstance(module, AutoencoderSAME):
            raise TypeError(f"not the autoencoder: {type(module)}")
        with torch.no_grad():
            sounds = to_sounds(pool.take(range(LOOKED_AT))[0])
            latents = [encode_sounds(module, sounds[i : i + 20]) for i in range(0, LOOKED_AT, 20)]
            set_latent_scale(module, torch.cat(latents))
        module.save_pretrained(folder)

    return [
        Recipe(
            name=AUTOENCODER,
            schedule=Schedule(
                steps=AUTOENCODER_STEPS + HARD_STEPS,
                learning_rate=1e-3,
                warmup=200,
                weight_decay=0.0,
                ema=0.995,
            ),
            build=build,
            batch=batch,
            loss=loss,
            evaluate=evaluate,
            export=export,
            evaluate_every=1000,
        )
    ]


# ------------------------------------------------------------------------------------- text encoder


def text_encoder_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    tokenizer = load_tokenizer()
    ending = with_end(tokenizer)

    def encode(encoder: nn.Module, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        if not isinstance(encoder, T5GemmaEncoderModel):
            raise TypeError(f"not the text encoder: {type(encoder)}")
        return encode_captions(encoder, ending, captions)

    return [
        text_encoder_recipe(Modality.AUDIO, lambda: build_audio_text_encoder(tokenizer), TEXT_WIDTH, encode)
    ]


# -------------------------------------------------------------------------------------- transformer


def transformer_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    tokenizer = load_tokenizer()
    ending = with_end(tokenizer)
    autoencoder = AutoencoderSAME.from_pretrained(exported(runs, AUTOENCODER)).eval().requires_grad_(False)
    text_encoder = (
        T5GemmaEncoderModel.from_pretrained(exported(runs, TEXT), dtype=torch.float32)
        .eval()
        .requires_grad_(False)
    )
    pool = known_pool(Modality.AUDIO, runs, report)
    latents = latent_pool(
        lambda renders: encode_sounds(autoencoder, to_sounds(renders)),
        pool,
        runs / TRANSFORMER / "latents.npy",
        report,
    )

    def loss(module: nn.Module, clean: Tensor, captions: list[str], noise: torch.Generator) -> Tensor:
        trained = _trained(module)
        with torch.no_grad():
            prompts = encode_captions(text_encoder, ending, captions)
        return flow_matching_loss(trained.transformer, trained.duration_embedder, clean, prompts, noise)

    def export(module: nn.Module, folder: Path) -> None:
        trained = _trained(module)
        pipeline = assemble_audio_pipeline(
            autoencoder, trained.transformer, text_encoder, trained.duration_embedder, tokenizer
        )
        export_pipeline(pipeline, folder)

    return [
        transformer_recipe(
            TRANSFORMER,
            steps=6_000,
            batch_size=32,
            build=SoundTransformer,
            loss=loss,
            latents=latents,
            truths=pool.truths,
            export=export,
        )
    ]


def _trained(module: nn.Module) -> SoundTransformer:
    if not isinstance(module, SoundTransformer):
        raise TypeError(f"not the transformer: {type(module)}")
    return module
