"""The parts of mini's picture generator, a small Z-Image, and the loss that trains it.

    text ─► tokenizer ─► Qwen3 (the last layer but one) ─► captions ┐
    noise (8, 16, 16) ────────────────────────► Z-Image transformer ─► latents ─► autoencoder ─► (3, 64, 64)

The classes are diffusers' and transformers' own, at sizes for two CPU cores, and what is assembled here is
an ordinary `ZImagePipeline`. Conventions (rectified flow, arXiv 2209.03003, as that pipeline integrates it):

    x_σ = (1 - σ)·latent + σ·noise,  the transformer is told t = 1 - σ and answers latent - noise.

Editing is a shorter way down the same noise levels: it begins where `ZImageImg2ImgPipeline` begins, at the
picture before under noise of its strength s, and leads straight to the picture after:

    x_s = (1 - s)·before + s·noise,  x_σ = after + σ/s·(x_s - after),  the answer is (after - x_s) / s.

With s = 1 that is the way from words alone, so one transformer learns both; without any change (before =
after) the two agree at every level. What it sees of the picture before, against the caption, tells it what to
change.

Legend: b: batch, c: latent channels, h, w: latent height and width, s: tokens, d: width, n: heads.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3Model

SIZE = 64
LATENT_CHANNELS = 8
LATENT_SIZE = 16
CAPTION_TOKENS = 32  # what the transformer fills captions up to anyway
TEXT_WIDTH = 96

Velocity = Callable[[ZImageTransformer2DModel, Tensor, Tensor, Tensor, Tensor], Tensor]

# The prompt as it is and an end, so that an empty prompt (guidance's other half) is one token and not none.
CHAT_TEMPLATE = "{{ messages[0]['content'] }}{{ eos_token }}"


def build_image_autoencoder() -> AutoencoderKL:
    """(3, 64, 64) in [-1, 1] ↔ (8, 16, 16). Few channels at full resolution, where convolutions cost most."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 48, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
        scaling_factor=1.0,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
        force_upcast=False,
    )


def build_image_transformer() -> ZImageTransformer2DModel:
    """Z-Image's transformer: 64 tokens of 2×2 latents beside 32 of the caption, 4.5M parameters."""
    return ZImageTransformer2DModel(
        in_channels=LATENT_CHANNELS,
        dim=192,
        n_layers=5,
        n_refiner_layers=1,
        n_heads=4,
        n_kv_heads=4,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=[16, 16, 16],
        axes_lens=[256, 32, 32],
    )


def build_image_text_encoder(tokenizer: PreTrainedTokenizerBase) -> Qwen3Model:
    """Two layers over the tokenizer's vocabulary; the pipeline reads what the first one gives.

    The second layer is there because the pipeline takes `hidden_states[-2]`; it stays as it was made.
    """
    return Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=24,
            max_position_embeddings=512,
            attention_dropout=0.0,
        )
    )


def assemble_image_pipeline(
    autoencoder: AutoencoderKL,
    transformer: ZImageTransformer2DModel,
    text_encoder: Qwen3Model,
    tokenizer: PreTrainedTokenizerBase,
    *,
    shift: float = 1.0,
) -> ZImagePipeline:
    """The pipeline of these parts, ready for `save_pretrained`. `shift` > 1 spends more steps on noise.

    The pipeline's tokenizer is a copy with the template above, and a padding token where there is none.
    """
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = CHAT_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
    )


def encode_captions(
    text_encoder: Qwen3Model, tokenizer: PreTrainedTokenizerBase, captions: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """What the pipeline makes of `captions`: features (b, 32, d) and which of them are real (b, 32) bool."""
    tokens = tokenizer(
        [caption + tokenizer.eos_token for caption in captions],
        padding="max_length",
        max_length=CAPTION_TOKENS,
        truncation=True,
        return_tensors="pt",
    )
    mask = tokens.attention_mask.bool()
    output = text_encoder(input_ids=tokens.input_ids, attention_mask=mask, output_hidden_states=True)
    return output.hidden_states[-2], mask


def encode_pictures(autoencoder: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Latents (b, 8, 16, 16) as the transformer sees them, of pictures (b, 3, 64, 64) in [-1, 1]."""
    mode: Tensor = autoencoder.encode(pictures).latent_dist.mode()
    return (mode - float(autoencoder.config.shift_factor)) * float(autoencoder.config.scaling_factor)


def set_latent_scale(autoencoder: AutoencoderKL, latents: Tensor) -> None:
    """Set the autoencoder's shift and scale so that `latents` (many raw modes) get mean 0 and deviation 1."""
    autoencoder.register_to_config(
        shift_factor=float(latents.mean()), scaling_factor=float(1.0 / latents.std().clamp_min(1e-6))
    )


@dataclass(frozen=True, slots=True)
class Starts:
    """Where the ways to some pictures begin: `latents` (b, 8, 16, 16) of the pictures before, under noise of
    `strengths` (b,); with strength 1 nothing of the picture before is left."""

    latents: Tensor
    strengths: Tensor


def flow_matching_loss(
    transformer: ZImageTransformer2DModel,
    latents: Tensor,
    prompt_embeds: tuple[Tensor, Tensor],
    rng: torch.Generator,
    velocity: Velocity | None = None,
    starts: Starts | None = None,
) -> Tensor:
    """Mean squared error of the velocity at one noise level an item (arXiv 2403.03206, section 3.1).

    Levels are logit-normal, which puts the weight where the picture takes shape. `latents` are (b, 8, 16, 16)
    from `encode_pictures`, `prompt_embeds` from `encode_captions`; gradients reach both. `velocity` takes
    the place of `image_velocity`: `torch.compile(image_velocity, dynamic=False)` is a third faster.

    Ways begin at noise, or where `starts` says. Levels of edits are even over their shorter way: at its
    beginning, where most of the picture before can be seen, it is decided what of it stays.
    """
    noise = torch.randn(latents.shape, generator=rng).to(latents.device)
    sigmas = torch.sigmoid(torch.randn(len(latents), generator=rng)).to(latents.device)
    begin, length = noise, torch.ones_like(sigmas)
    if starts is not None:
        even = torch.rand(len(latents), generator=rng).to(latents.device)
        length = starts.strengths
        sigmas = torch.where(length < 1, length * even, sigmas)
        begin = torch.lerp(starts.latents, noise, length[:, None, None, None])
    noisy = torch.lerp(latents, begin, (sigmas / length)[:, None, None, None])
    predicted = (velocity or image_velocity)(transformer, noisy, sigmas, *prompt_embeds)
    return F.mse_loss(predicted.float(), (latents - begin) / length[:, None, None, None])


# ------------------------------------------------------- the transformer, batched for items of equal length


def image_velocity(
    transformer: ZImageTransformer2DModel, latents: Tensor, sigmas: Tensor, captions: Tensor, mask: Tensor
) -> Tensor:
    """`ZImageTransformer2DModel.forward` for a batch of equal lengths: latent - noise, (b, c, h, w).

    The class takes lists, item by item, and multiplies complex numbers; on a CPU this does the same sums in
    about three quarters of the time. `captions` is (b, s, d) with s a multiple of 32, `mask` marks its real
    tokens; `sigmas` is (b,).
    """
    height, width = latents.shape[2] // 2, latents.shape[3] // 2
    patches = height * width
    if patches % 32 or captions.shape[1] % 32:
        raise ValueError(f"{patches} patches and {captions.shape[1]} caption tokens: give multiples of 32")
    device = latents.device.type
    kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else latents.dtype
    rotation = _rotation(transformer, height, width, captions.shape[1], kind)
    time = transformer.t_embedder((1.0 - sigmas) * transformer.t_scale).to(kind)

    image = transformer.all_x_embedder["2-1"](_patchify(latents)).to(kind)
    for block in transformer.noise_refiner:
        image = _block(block, image, rotation[:, :patches], time)

    text = transformer.cap_embedder(captions).to(kind)
    text = torch.where(mask[..., None], text, transformer.cap_pad_token.to(kind))
    for block in transformer.context_refiner:
        text = _block(block, text, rotation[:, patches:], None)

    both = torch.cat((image, text), dim=1)
    for block in transformer.layers:
        both = _block(block, both, rotation, time)
    return _unpatchify(transformer.all_final_layer["2-1"](both[:, :patches], c=time), height, width)


def _patchify(latents: Tensor) -> Tensor:
    """(b, c, h, w) → (b, h/2·w/2, 4c), a patch's channels innermost."""
    b, c, h, w = latents.shape
    split = latents.reshape(b, c, h // 2, 2, w // 2, 2)
    return split.permute(0, 2, 4, 3, 5, 1).reshape(b, h * w // 4, 4 * c)


def _unpatchify(tokens: Tensor, height: int, width: int) -> Tensor:
    """(b, height·width, 4c) → (b, c, 2·height, 2·width)."""
    split = tokens.reshape(len(tokens), height, width, 2, 2, -1)
    return split.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), -1, 2 * height, 2 * width)


def _rotation(
    transformer: ZImageTransformer2DModel, height: int, width: int, caption: int, kind: torch.dtype
) -> Tensor:
    """Cosines and sines of the rotary embedding, (2, s, 1, d/n/2): the image's tokens, then the caption's."""
    grid = transformer.create_coordinate_grid
    places = torch.cat(
        (
            grid((1, height, width), (caption + 1, 0, 0)).flatten(0, 2),
            grid((caption, 1, 1), (1, 0, 0)).flatten(0, 2),
        )
    )
    turns = transformer.rope_embedder(places)[:, None]
    return torch.stack((turns.real, turns.imag)).to(transformer.device, kind)


def _block(block: Any, x: Tensor, rotation: Tensor, time: Tensor | None) -> Tensor:
    """`ZImageTransformerBlock.forward`; without `time` it is the kind that knows no noise level."""
    if time is None:
        x = x + _norm(
            _attend(block.attention, _norm(x, block.attention_norm1), rotation), block.attention_norm2
        )
        return x + _norm(_feed(block.feed_forward, _norm(x, block.ffn_norm1)), block.ffn_norm2)
    modulation: Tensor = block.adaLN_modulation(time).unsqueeze(1)
    scale_a, gate_a, scale_f, gate_f = modulation.chunk(4, dim=-1)
    attended = _attend(block.attention, _norm(x, block.attention_norm1) * (1 + scale_a), rotation)
    x = x + gate_a.tanh() * _norm(attended, block.attention_norm2)
    fed = _feed(block.feed_forward, _norm(x, block.ffn_norm1) * (1 + scale_f))
    return x + gate_f.tanh() * _norm(fed, block.ffn_norm2)


def _attend(attention: Any, x: Tensor, rotation: Tensor) -> Tensor:
    """Softmax attention by plain products: at 96 tokens the fused kernel's backward pass is slower."""
    weights = torch.cat((attention.to_q.weight, attention.to_k.weight, attention.to_v.weight))
    query, key, value = F.linear(x, weights).reshape(*x.shape[:2], 3, attention.heads, -1).unbind(2)
    query = _turn(_norm(query, attention.norm_q), rotation).transpose(1, 2)  # b n s d/n
    key = _turn(_norm(key, attention.norm_k), rotation).transpose(1, 2)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    mixed = scores.softmax(dim=-1).to(value.dtype) @ value.transpose(1, 2)
    joined: Tensor = attention.to_out[0](mixed.transpose(1, 2).flatten(2))
    return joined


def _turn(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate neighbouring pairs of (b, s, n, d/n)."""
    cosine, sine = rotation
    even, odd = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(-2)


def _norm(x: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.eps)


def _feed(feed_forward: Any, x: Tensor) -> Tensor:
    gate, value = F.linear(x, torch.cat((feed_forward.w1.weight, feed_forward.w3.weight))).chunk(2, dim=-1)
    fed: Tensor = feed_forward.w2(F.silu(gate) * value)
    return fed
