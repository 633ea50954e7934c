"""A start for the sound autoencoder from which it learns: a linear transform code.

With its usual initialisation SAME passes nothing from patches to latents (its output projections are zero, so
attention has yet to discover where to look), and for hundreds of steps the best it can do is silence. Here it
starts as what one would have used before networks: each patch is taken apart into cosines (the mapping), the
first attention layer carries the patches of a segment to its latent (heads that look a fixed number of
positions back), and the projections to latents and back are the principal components of real sounds. All
other layers start as the identity that the class makes them. Training goes on from there.

Rotary attention looks at a fixed distance when query and key are constant vectors, turned against each other
by the angle of that distance. The constants come from the bias of the norm on channels that carry no sound.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import AutoencoderSAME
from torch import Tensor

_FREE = 16  # channels at the end that carry no sound
_BIAS = 0.5  # of the norm, on the free channels
_SCALE = 0.5  # of what the tokens carry
_SOFT = 0.25  # slope of the first layer's tanh: nearly linear over the tokens' range
_STEEP = 2.0  # of the others'
_GAINS = (8.0, 4.0, 2.0)  # of the fastest rotary pairs: how sharply the heads look
_AMPLITUDE = 0.8


@torch.no_grad()
def start_as_transform_code(autoencoder: AutoencoderSAME, sounds: Tensor) -> None:
    """Set the weights of `autoencoder`, in place: a linear code for sounds like `sounds` (n, samples).

    Raises:
        ValueError: not one level of resampling, or too narrow for its patches.
    """
    if len(autoencoder.encoder.blocks) != 1:
        raise ValueError("the autoencoder has several levels of resampling; this start is for one")
    encoder, decoder = autoencoder.encoder.blocks[0], autoencoder.decoder.blocks[0]
    patch, width, stride = encoder.in_channels, encoder.out_channels, encoder.stride
    if patch == width or width < _FREE + stride:
        raise ValueError(f"{width} channels for patches of {patch}: more (and not as many) are needed")
    for name, parameter in autoencoder.named_parameters():
        if name.endswith("alpha") and not name.endswith(("q_norm.alpha", "k_norm.alpha")):
            parameter.fill_(_STEEP)
    cosines = _cosines(patch)
    heads, share = encoder.transformers[0].attn.heads, encoder.transformers[0].attn.heads // stride
    kept = min(share * encoder.transformers[0].attn.dim_heads, (width - _FREE) // stride, patch)
    _start_mappings(encoder.mapping, decoder.mapping, cosines, kept)

    part_of = [head * stride // heads for head in range(heads)]  # which patch of a segment a head is for
    _look_back(encoder.transformers[0], [part - stride for part in part_of])
    _look_back(decoder.transformers[0], [-1 - part for part in part_of])
    for head, part in enumerate(part_of):
        first = (head - part * share) * encoder.transformers[0].attn.dim_heads
        _carry(encoder.transformers[0].attn, head, source=first, target=part * kept + first, end=kept - first)
        _carry(decoder.transformers[0].attn, head, source=part * kept + first, target=first, end=kept - first)

    features = sounds[:, : sounds.shape[1] // (patch * stride) * patch * stride].reshape(-1, stride, patch)
    _start_projections(autoencoder, (_SCALE * features @ cosines[:kept].T).flatten(1))


def _cosines(n: int) -> Tensor:
    """(n, n): the orthonormal discrete cosine transform, a frequency a row."""
    index = torch.arange(n)
    rows = torch.cos(math.pi / n * (index + 0.5) * index[:, None]) * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    return rows


def _start_mappings(analysis: Any, synthesis: Any, cosines: Tensor, kept: int) -> None:
    """Patches → cosines in the first channels, and the first `kept` of them back."""
    patch, width = len(cosines), analysis.weight_v.shape[0]
    rows = 1e-4 * torch.randn(width, patch)
    count = min(patch, width - _FREE)
    rows[:count] = _SCALE * cosines[:count]
    back = 1e-3 * torch.randn(patch, width)
    back[:, :kept] = cosines[:kept].T / _SCALE
    for convolution, weight in ((analysis, rows), (synthesis, back)):
        convolution.weight_v.copy_(weight[:, :, None])
        convolution.weight_g.copy_(weight.norm(dim=1)[:, None, None])
        convolution.bias.zero_()


def _look_back(layer: Any, offsets: list[int]) -> None:
    """Make head k of a transformer layer look at the position `offsets[k]` away, and carry nothing yet."""
    attn, norm = layer.attn, layer.norm_attn
    width, size = attn.heads * attn.dim_heads, attn.dim_heads
    norm.alpha.fill_(_SOFT)
    norm.gamma.fill_(1.0 / _SOFT)
    norm.beta.zero_()
    norm.beta[-_FREE:] = _BIAS
    frequencies = attn.rope.inv_freq
    pairs, half = min(len(_GAINS), len(frequencies)), len(frequencies)
    weight = attn.to_qkv.weight
    weight[: 2 * width].normal_(std=0.01)
    weight[2 * width :].zero_()
    attn.to_out.weight.zero_()
    for head, offset in enumerate(offsets):
        query, key = torch.zeros(size), torch.zeros(size)
        angle = frequencies[:pairs] * offset
        query[:pairs], query[half : half + pairs] = _AMPLITUDE * angle.cos(), _AMPLITUDE * angle.sin()
        key[:pairs] = _AMPLITUDE
        for first, norm_of, wanted in (
            (head * size, attn.q_norm, query),
            (width + head * size, attn.k_norm, key),
        ):
            constant = torch.atanh(wanted) / norm_of.alpha / (_BIAS * _FREE)
            weight[first : first + size, -_FREE:] = constant[:, None]
    for norm_of in (attn.q_norm, attn.k_norm):
        for pair in range(pairs):
            norm_of.gamma[pair] = norm_of.gamma[half + pair] = _GAINS[pair]


def _carry(attn: Any, head: int, *, source: int, target: int, end: int) -> None:
    """Let `head` add channels from `source` on of where it looks to those from `target` on of where it is."""
    width, size = attn.heads * attn.dim_heads, attn.dim_heads
    for index in range(min(size, end)):
        attn.to_qkv.weight[2 * width + head * size + index, source + index] = 1.0
        attn.to_out.weight[target + index, head * size + index] = 1.0


def _start_projections(autoencoder: AutoencoderSAME, features: Tensor) -> None:
    """Latents = principal components of `features` (n, f), their deviations drawn halfway together."""
    latents = autoencoder.config.latent_dim
    used = features.shape[1]
    values, vectors = torch.linalg.eigh((features.T @ features / len(features)).double())
    power, basis = values[-latents:].flip(0).clamp_min(1e-9), vectors[:, -latents:].flip(1)
    gain = power**-0.25
    gain /= (power * gain**2).mean().sqrt()
    for projection in (autoencoder.encoder.proj, autoencoder.decoder.proj):
        projection.weight.zero_()
        projection.bias.zero_()
    autoencoder.encoder.proj.weight[:, :used] = (basis * gain).T.float()
    autoencoder.decoder.proj.weight[:used] = (basis / gain).float()
