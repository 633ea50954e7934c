"""The parts of mini's clip generator, a small Wan, and the loss that trains it.

    text ─► tokenizer ─► UMT5 ─► captions ┐
    noise (24, 5, 8, 8) ───────► Wan transformer ─► latents ─► causal 3D autoencoder ─► (3, 9, 64, 64)

The classes are diffusers' and transformers' own, at sizes for two CPU cores; what is assembled here is an
ordinary `WanPipeline`. Conventions (rectified flow, arXiv 2209.03003, as that pipeline integrates it):

    x_σ = (1 - σ)·latent + σ·noise,  the transformer is told 1000·σ and answers noise - latent.

One transformer makes clips from words, and from words and a picture: the picture is the first latent frame,
given clean and at noise level 0 (the way of Wan 2.2's 5B model, `expand_timesteps` of its pipeline).

Legend: b: batch, c: latent channels, t: latent frames, h, w: latent height and width, s: tokens, d: width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

SIZE = 64
FRAMES = 9
LATENT_CHANNELS = 24
LATENT_SHAPE = (LATENT_CHANNELS, 5, 8, 8)
CAPTION_TOKENS = 32
TEXT_WIDTH = 96

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]


def build_video_autoencoder() -> AutoencoderKLWan:
    """(3, 9, 64, 64) in [-1, 1] ↔ (24, 5, 8, 8); the first frame alone is the first latent frame.

    Pixels are folded 4×4 into channels before the first convolution and unfolded after the last, so that
    nothing is computed at full resolution: wide layers on small maps, which take no longer a step than
    narrow ones on maps of 32×32. Two frames to a latent, not Wan's four: with as many numbers, principal
    components keep more that way (things recognisable with 12 channels 94 %, with 24 99 %; four frames to 16
    channels 85 %).
    """
    return AutoencoderKLWan(
        base_dim=48,
        decoder_base_dim=60,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[True],
        patch_size=4,
        in_channels=48,
        out_channels=48,
        scale_factor_temporal=2,
        scale_factor_spatial=8,
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    )


def build_video_transformer() -> WanTransformer3DModel:
    """Wan's transformer: 80 tokens of 1×2×2 latents that look at the caption, 2.4M parameters."""
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=4,
        attention_head_dim=40,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=128,
        ffn_dim=480,
        num_layers=6,
        rope_max_seq_len=64,
    )


def build_video_text_encoder(tokenizer: PreTrainedTokenizerFast) -> UMT5EncoderModel:
    """Two layers over the tokenizer's vocabulary."""
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer),
            d_model=TEXT_WIDTH,
            d_kv=24,
            d_ff=192,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def with_end(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A copy that ends every text with the end token, as T5's tokenizers do: no text is then empty."""
    tokenizer = copy.deepcopy(tokenizer)
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    tokenizer.padding_side = "right"
    return tokenizer


def assemble_video_pipeline(
    autoencoder: AutoencoderKLWan,
    transformer: WanTransformer3DModel,
    text_encoder: UMT5EncoderModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    shift: float = 1.0,
) -> WanPipeline:
    """The pipeline of these parts, ready for `save_pretrained`. `shift` > 1 spends more steps on noise."""
    return WanPipeline(
        tokenizer=with_end(tokenizer),
        text_encoder=text_encoder,
        vae=autoencoder,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        transformer=transformer,
    )


def encode_captions(
    text_encoder: UMT5EncoderModel, tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """What the pipeline makes of `captions`: (b, 32, d), zero beyond their ends, and their mask (b, 32) bool.

    `tokenizer` is one `with_end`, as the pipeline's own is.
    """
    tokens = tokenizer(
        list(captions), padding="max_length", max_length=CAPTION_TOKENS, truncation=True, return_tensors="pt"
    ).to(text_encoder.device)
    states: Tensor = text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
    mask = tokens.attention_mask.bool()
    return states * mask[..., None], mask


def encode_clips(autoencoder: AutoencoderKLWan, clips: Tensor) -> Tensor:
    """Latents (b, 24, 5, 8, 8) as the transformer sees them, of clips (b, 3, 9, 64, 64) in [-1, 1]."""
    mode: Tensor = autoencoder.encode(clips).latent_dist.mode()
    mean, deviation = (_channels(values, mode) for values in _statistics(autoencoder))
    return (mode - mean) / deviation


def set_latent_scale(autoencoder: AutoencoderKLWan, latents: Tensor) -> None:
    """Set means and deviations so that every channel of `latents` (many raw modes) gets 0 and 1."""
    flat = latents.transpose(0, 1).flatten(1)
    autoencoder.register_to_config(
        latents_mean=flat.mean(1).tolist(), latents_std=flat.std(1).clamp_min(1e-6).tolist()
    )


def _statistics(autoencoder: AutoencoderKLWan) -> tuple[list[float], list[float]]:
    return autoencoder.config.latents_mean, autoencoder.config.latents_std


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype)[None, :, None, None, None]


def flow_matching_loss(
    transformer: WanTransformer3DModel,
    latents: Tensor,
    prompt_embeds: Tensor,
    rng: torch.Generator,
    *,
    first_frame: bool = False,
    velocity: Velocity | None = None,
) -> Tensor:
    """Mean squared error of the velocity at one noise level an item (arXiv 2403.03206, section 3.1).

    Levels are logit-normal. `latents` are (b, 24, 5, 8, 8) from `encode_clips`, `prompt_embeds` (b, 32, d)
    from `encode_captions`. With `first_frame` the first latent frame is given, and the loss is that of the
    others. `velocity` takes the place of `video_velocity` with the transformer bound, e.g. compiled.
    """
    noise = torch.randn(latents.shape, generator=rng).to(latents.device)
    sigmas = torch.sigmoid(torch.randn(len(latents), generator=rng)).to(latents.device)
    levels = frame_levels(sigmas, latents.shape[2], first_frame=first_frame)
    spread = levels[:, None, :, None, None]
    noisy = (1 - spread) * latents + spread * noise
    told = levels if first_frame else sigmas
    predicted = (
        velocity(noisy, told, prompt_embeds)
        if velocity
        else video_velocity(transformer, noisy, told, prompt_embeds)
    )
    start = 1 if first_frame else 0
    return F.mse_loss(predicted.float()[:, :, start:], (noise - latents)[:, :, start:])


def frame_levels(sigmas: Tensor, frames: int, *, first_frame: bool) -> Tensor:
    """Noise level of each latent frame, (b, t): all the same, or 0 for the first."""
    levels = sigmas[:, None].repeat(1, frames)
    if first_frame:
        levels[:, 0] = 0.0
    return levels


def video_velocity(
    transformer: WanTransformer3DModel, latents: Tensor, sigmas: Tensor, captions: Tensor
) -> Tensor:
    """What the transformer answers: noise - latent, (b, c, t, h, w). `sigmas` is (b,), or (b, t) by frame."""
    times = 1000.0 * sigmas
    if sigmas.ndim == 2:
        tokens_per_frame = latents.shape[3] * latents.shape[4] // 4
        times = times.repeat_interleave(tokens_per_frame, dim=1)
    answer: Tensor = transformer(latents, times, captions, return_dict=False)[0]
    return answer
