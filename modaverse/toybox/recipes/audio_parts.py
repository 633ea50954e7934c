"""The parts of mini's sound generator, a small Stable Audio 3, and the losses that train it.

    text ─► tokenizer ─► T5Gemma ─► captions ┐
    seconds ─► duration embedder ────────────┤
    noise (64, 128) ──► diffusion transformer ─► latents ─► SAME autoencoder ─► (1, 32000) at 16 kHz

The classes are diffusers' and transformers' own, at sizes for two CPU cores; what is assembled here is an
ordinary `StableAudio3Pipeline`. Conventions (rectified flow, arXiv 2209.03003, as that pipeline does it):

    x_σ = (1 - σ)·latent + σ·noise,  the transformer is told σ itself and answers noise - latent,

which needs a scheduler of one training step, since the pipeline gives the transformer σ times their number.
The pipeline scales latents by nothing: `set_latent_scale` puts their scale into the autoencoder.

Legend: b: batch, c: latent channels, t: latent positions, s: tokens, d: width.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderSAME,
    FlowMatchEulerDiscreteScheduler,
    StableAudio3DiTModel,
    StableAudio3Pipeline,
)
from diffusers.pipelines.stable_audio_3 import StableAudio3DurationEmbedder
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5GemmaConfig, T5GemmaEncoderModel
from transformers.models.t5gemma.configuration_t5gemma import T5GemmaModuleConfig

SAMPLE_RATE = 16_000
SECONDS = 2.0
SAMPLES = 32_000
LATENT_CHANNELS = 64
LATENT_LENGTH = 128  # 250 samples each, 15.6 ms
CAPTION_TOKENS = 32
TEXT_WIDTH = 96
LATENT_NOISE = 0.1
"""Deviation of the noise that the decoder learns to bear: a transformer's latents are never exact."""

_WINDOWS = (128, 512, 2048)


# ---------------------------------------------------------------------------------------- builders


def build_audio_autoencoder() -> AutoencoderSAME:
    """(1, 32000) in [-1, 1] ↔ (64, 128): patches of 125 samples, two to a latent; 1.6M parameters.

    It should begin with `audio_start.start_as_transform_code`, and train with `audio_attention`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm.* is deprecated", category=FutureWarning)
        return AutoencoderSAME(
            audio_channels=1,
            patch_size=125,
            encoder_channels=160,
            encoder_c_mults=[1],
            encoder_strides=[2],
            encoder_transformer_depths=[3],
            latent_dim=LATENT_CHANNELS,
            use_differential_attention=False,
            dim_heads=40,
            ff_mult=2,
            sliding_window=2,
            sampling_rate=SAMPLE_RATE,
        )


def build_audio_transformer() -> StableAudio3DiTModel:
    """Stable Audio 3's transformer: 128 latents and 8 tokens of memory, 2.6M parameters."""
    return StableAudio3DiTModel(
        io_channels=LATENT_CHANNELS,
        embed_dim=160,
        depth=6,
        num_heads=4,
        cond_token_dim=TEXT_WIDTH,
        global_cond_dim=TEXT_WIDTH,
        local_add_cond_dim=1,
        timestep_features_dim=64,
        ff_mult=2.0,
        num_memory_tokens=8,
        use_differential_attention=False,
    )


def build_audio_text_encoder(tokenizer: PreTrainedTokenizerFast) -> T5GemmaEncoderModel:
    """Two layers over the tokenizer's vocabulary. Soft caps are off: only the slow attention knows them."""
    module = T5GemmaModuleConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=24,
        query_pre_attn_scalar=24,
        max_position_embeddings=512,
        layer_types=["full_attention"] * 2,
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    config = T5GemmaConfig(
        encoder=module,
        decoder=copy.deepcopy(module),
        is_encoder_decoder=False,
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
    )
    return T5GemmaEncoderModel(config)


def build_audio_duration_embedder() -> StableAudio3DurationEmbedder:
    """All of Toybox's sounds are as long; the class wants the number all the same."""
    return StableAudio3DurationEmbedder(output_dim=TEXT_WIDTH, fourier_dim=16, max_val=8.0, max_freq=8.0)


def with_end(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A copy that ends every text with the end token, so that none is empty, and pads to 32 tokens.

    The pipeline pads to the tokenizer's `model_max_length`, and every place costs time in each step.
    """
    tokenizer = copy.deepcopy(tokenizer)
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    tokenizer.padding_side = "right"
    tokenizer.model_max_length = CAPTION_TOKENS
    return tokenizer


def assemble_audio_pipeline(
    autoencoder: AutoencoderSAME,
    transformer: StableAudio3DiTModel,
    text_encoder: T5GemmaEncoderModel,
    duration_embedder: StableAudio3DurationEmbedder,
    tokenizer: PreTrainedTokenizerFast,
) -> StableAudio3Pipeline:
    """The pipeline of these parts, ready for `save_pretrained`; it integrates without new noise (Euler)."""
    return StableAudio3Pipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=with_end(tokenizer),
        duration_embedder=duration_embedder,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(
            num_train_timesteps=1, shift=1.0, stochastic_sampling=False
        ),
    )


# ------------------------------------------------------------------------------- what goes in and out


def encode_captions(
    text_encoder: T5GemmaEncoderModel, tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """What the pipeline makes of `captions`: hidden states (b, 32, d), and which are real (b, 32) bool.

    `tokenizer` is one `with_end`, as the pipeline's own is.
    """
    tokens = tokenizer(
        list(captions), padding="max_length", max_length=CAPTION_TOKENS, truncation=True, return_tensors="pt"
    ).to(text_encoder.device)
    states: Tensor = text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
    return states, tokens.attention_mask.bool()


def encode_sounds(autoencoder: AutoencoderSAME, sounds: Tensor) -> Tensor:
    """Latents (b, 64, 128) as the transformer sees them, of sounds (b, 32000) in [-1, 1]."""
    latents: Tensor = autoencoder.encode(sounds[:, None]).latents
    return latents


@torch.no_grad()
def set_latent_scale(autoencoder: AutoencoderSAME, latents: Tensor) -> None:
    """Give latents like `latents` ((b, 64, 128), as encoded now) channel means 0 and deviation 1 over all.

    The bottleneck subtracts and divides; decoding multiplies again, and what was subtracted goes into the
    bias of the decoder's first layer. Reconstructions stay the same. Channels keep their differences in
    deviation, so that the loss of the transformer weighs them as sound does.
    """
    bottleneck, projection = autoencoder.bottleneck, autoencoder.decoder.proj
    scale = bottleneck.running_std.clone()
    mean = latents.mean((0, 2))
    bottleneck.bias -= (mean * scale)[:, None]
    projection.bias += projection.weight @ (mean * scale)
    bottleneck.running_std.mul_((latents - mean[:, None]).square().mean().sqrt().clamp_min(1e-6))


# ------------------------------------------------------------------------------------------ losses


def autoencoder_loss(autoencoder: nn.Module, sounds: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch of sounds (b, 32000) in [-1, 1], and its parts.

    - `wave`: mean absolute error against the sound's own mean magnitude; it holds phases together.
    - `stft`: spectral convergence and logarithmic magnitudes at three resolutions (arXiv 1910.11480).
    - `mel`: mean absolute error of decadic log-mel levels, what the ear and the judge go by.
    - `latent`: channel means at 0 and variances of 1 on the whole: the bottleneck itself bounds nothing.
    """
    latents = autoencoder.encode(sounds[:, None]).latents.float()  # type: ignore[operator]
    noisy = latents + LATENT_NOISE * torch.randn_like(latents)
    made = autoencoder.decode(noisy).sample.float()[:, 0, : sounds.shape[1]]  # type: ignore[operator]
    with torch.autocast(sounds.device.type, enabled=False):  # spectra do not survive eight bits
        parts = {
            "wave": ((made - sounds).abs().mean(1) / (sounds.abs().mean(1) + 0.005)).mean(),
            "stft": torch.stack([_spectral_loss(made, sounds, window) for window in _WINDOWS]).mean(),
            "mel": F.l1_loss(_log_mel(made), _log_mel(sounds)),
            "latent": latents.mean((0, 2)).square().mean() + (latents.var((0, 2)).mean() - 1).square(),
        }
    total = 2 * parts["wave"] + parts["stft"] + parts["mel"] + 0.1 * parts["latent"]
    return total, parts


def flow_matching_loss(
    transformer: StableAudio3DiTModel,
    duration_embedder: StableAudio3DurationEmbedder,
    latents: Tensor,
    prompt_embeds: tuple[Tensor, Tensor],
    rng: torch.Generator,
) -> Tensor:
    """Mean squared error of the velocity at one noise level an item (arXiv 2403.03206, section 3.1).

    `latents` are (b, 64, 128) from `encode_sounds`, `prompt_embeds` from `encode_captions`. Levels are
    logit-normal, wider than usual: the pipeline's own schedule spends steps from σ = 0.998 down to 0.12.
    """
    noise = torch.randn(latents.shape, generator=rng).to(latents.device)
    sigmas = torch.sigmoid(0.4 + 1.4 * torch.randn(len(latents), generator=rng)).to(latents.device)
    level = sigmas[:, None, None]
    noisy = (1 - level) * latents + level * noise
    predicted = audio_velocity(transformer, duration_embedder, noisy, sigmas, *prompt_embeds)
    return F.mse_loss(predicted.float(), noise - latents)


def audio_velocity(
    transformer: StableAudio3DiTModel,
    duration_embedder: StableAudio3DurationEmbedder,
    latents: Tensor,
    sigmas: Tensor,
    captions: Tensor,
    mask: Tensor,
) -> Tensor:
    """What the transformer answers in the pipeline: noise - latent, (b, c, t). `sigmas` is (b,)."""
    duration = duration_embedder(torch.full((len(latents),), SECONDS, device=latents.device))
    context = torch.cat((captions, duration[:, None].to(captions.dtype)), dim=1)
    known = torch.cat((mask, mask.new_ones(len(mask), 1)), dim=1)
    answer: Tensor = transformer(
        latents,
        sigmas,
        encoder_hidden_states=context,
        global_hidden_states=duration,
        encoder_attention_mask=known,
        return_dict=False,
    )[0]
    return answer


def _spectral_loss(made: Tensor, sounds: Tensor, window: int) -> Tensor:
    """Convergence of the magnitudes, each sound against its own, and distance of their logarithms."""
    a, b = _magnitudes(made, window), _magnitudes(sounds, window)
    norms = torch.linalg.vector_norm(b, dim=(1, 2)) + 0.1
    convergence: Tensor = torch.linalg.vector_norm(a - b, dim=(1, 2)) / norms
    floor = 0.0025 * window**0.5  # about the level of the renders' background noise
    levels = F.l1_loss((a + floor).log(), (b + floor).log())
    return levels + 0.5 * convergence.mean()


def _magnitudes(sounds: Tensor, window: int) -> Tensor:
    """(b, samples) → (b, bins, frames). The root is kept away from 0, where it has no slope."""
    shape = torch.hann_window(window, device=sounds.device)
    spectrum = torch.stft(sounds, window, window // 4, window=shape, return_complex=True)
    return (torch.view_as_real(spectrum).square().sum(-1) + 1e-8).sqrt()


def _log_mel(sounds: Tensor) -> Tensor:
    filters = _mel_filters(64, 1024).to(sounds.device)
    return (filters @ _magnitudes(sounds, 1024)).clamp_min(1e-2).log10()


@lru_cache(maxsize=2)
def _mel_filters(bands: int, window: int) -> Tensor:
    """(bands, bins): triangles evenly spaced on the mel scale between 40 Hz and 8 kHz."""
    ends = 2595.0 * torch.log10(1.0 + torch.tensor([40.0, 8000.0]) / 700.0)
    edges = 700.0 * (10.0 ** (torch.linspace(ends[0].item(), ends[1].item(), bands + 2) / 2595.0) - 1.0)
    bins = torch.linspace(0.0, SAMPLE_RATE / 2, window // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp_min(0.0)
