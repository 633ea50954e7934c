"""The attention of Stable Audio 3's networks, computed the way two CPU cores like it, for training only.

The classes' own processors call the fused kernel, whose backward pass is slow on a CPU at these lengths, and
the autoencoder's masks all but a narrow band of a dense matrix. These give the same numbers in less time:
plain products for the transformer, and for the autoencoder only the blocks that the band touches. Processors
are no part of a saved model.

Legend: b: batch, n: positions, s: context positions, h: heads, d: head width, m: blocks,
w: half-width of the band.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderSAME, StableAudio3DiTModel
from torch import Tensor

_BLOCK = 32


class BandedAttention:
    """`SAMEAttnProcessor` (not differential) for a band of `width` positions to either side."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, attn: Any, hidden_states: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        n, w = hidden_states.shape[1], self.width
        query, key, value = (_heads(x, attn) for x in attn.to_qkv(hidden_states).chunk(3, dim=-1))
        turns = attn.rope(n, hidden_states.device)
        query = _turn(attn.q_norm(query), turns) * attn.dim_heads**-0.5
        key = _turn(attn.k_norm(key), turns)
        blocks = -(-n // _BLOCK)
        spare = blocks * _BLOCK - n
        query = F.pad(query, (0, 0, 0, 0, 0, spare))
        query = query.reshape(len(query), blocks, _BLOCK, *query.shape[2:]).transpose(2, 3)
        key = _windows(key, w, spare)  # b m h d n
        value = _windows(value, w, spare).transpose(-1, -2)
        scores = (query @ key).float().masked_fill(~_band(n, blocks, w)[:, None], -1e9)
        mixed = scores.softmax(dim=-1).to(value.dtype) @ value
        joined: Tensor = attn.to_out(mixed.transpose(2, 3).flatten(1, 2)[:, :n].flatten(2))
        return joined


class PlainSelfAttention:
    """`StableAudio3SelfAttnProcessor` (not differential) by plain products."""

    def __call__(self, attn: Any, hidden_states: Tensor, rope: Tensor) -> Tensor:
        query, key, value = (_heads(x, attn) for x in attn.to_qkv(hidden_states).chunk(3, dim=-1))
        query, key = _turn(attn.q_norm(query), rope), _turn(attn.k_norm(key), rope)
        joined: Tensor = attn.to_out(_mix(query, key, value))
        return joined


class PlainCrossAttention:
    """`StableAudio3CrossAttnProcessor` (not differential) by plain products, without a mask.

    The transformer puts its padding embedding into masked places and attends to all of them.
    """

    def __call__(
        self, attn: Any, hidden_states: Tensor, context: Tensor, context_mask: Tensor | None = None
    ) -> Tensor:
        query = attn.q_norm(_heads(attn.to_q(hidden_states), attn))
        key, value = (_heads(x, attn) for x in attn.to_kv(context).chunk(2, dim=-1))
        joined: Tensor = attn.to_out(_mix(query, attn.k_norm(key), value))
        return joined


def use_fast_attention(model: AutoencoderSAME | StableAudio3DiTModel) -> None:
    """Give a model that is about to train the processors of this module, in place.

    Raises:
        ValueError: its attention is differential.
    """
    if model.config.use_differential_attention:
        raise ValueError(f"{type(model).__name__} with differential attention: there is no fast form of it")
    if isinstance(model, StableAudio3DiTModel):
        for layer in model.transformer_blocks:
            layer.self_attn.set_processor(PlainSelfAttention())
            layer.cross_attn.set_processor(PlainCrossAttention())
        return
    for block in (*model.encoder.blocks, *model.decoder.blocks):
        width = block.sliding_window * (block.stride + 1)
        for layer in block.transformers:
            layer.attn.set_processor(BandedAttention(width))


def _heads(x: Tensor, attn: Any) -> Tensor:
    return x.reshape(*x.shape[:-1], attn.heads, attn.dim_heads)


def _turn(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate the first channels of (b, n, h, d) by the angles `turns` (n, r): halves, not neighbours."""
    rotated, rest = x[..., : turns.shape[-1]], x[..., turns.shape[-1] :]
    first, second = rotated.chunk(2, dim=-1)
    cosine, sine = turns.cos()[:, None].to(x.dtype), turns.sin()[:, None].to(x.dtype)
    return torch.cat((rotated * cosine + torch.cat((-second, first), -1) * sine, rest), dim=-1)


def _mix(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention, (b, n, h, d) with (b, s, h, d) → (b, n, h·d)."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    mixed: Tensor = scores.softmax(dim=-1).to(value.dtype) @ value
    return mixed.transpose(1, 2).flatten(2)


def _windows(x: Tensor, width: int, spare: int) -> Tensor:
    """(b, n, h, d) → (b, m, h, d, block + 2w): each block with its neighbours on both sides."""
    padded = F.pad(x, (0, 0, 0, 0, width, width + spare))
    return padded.unfold(1, _BLOCK + 2 * width, _BLOCK)


def _band(n: int, blocks: int, width: int) -> Tensor:
    """(m, block, block + 2w) bool: what each position of each block may look at."""
    row = torch.arange(_BLOCK)[:, None]
    column = torch.arange(_BLOCK + 2 * width)
    near = (column >= row) & (column <= row + 2 * width)
    place = torch.arange(blocks)[:, None] * _BLOCK + column - width
    inside = (place >= 0) & (place < n)
    return near & inside[:, None]
