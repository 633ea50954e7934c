"""From a modality's input to the tokens that its trunk reads.

Legend: b batch, s positions, d width, c channels, t frames.

Each stem is a module whose parameter names are those of the published checkpoint; `forward` gives the tokens
(b, s, d) with the class token, if there is one, at position 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modaverse.errors import InputError
from modaverse.imagebind.config import ImageBindConfig

_PATCH_NORM_EPS = 1e-5


def _table(*shape: int) -> nn.Parameter:
    parameter = nn.Parameter(torch.empty(*shape))
    nn.init.trunc_normal_(parameter, std=0.02)
    return parameter


def _wrong_shape(modality: str, expected: str, got: Tensor) -> InputError:
    return InputError(
        f"{modality} input has the shape {tuple(got.shape)}",
        hint=f"Expected {expected}, with a clip axis after the batch if it has several clips.",
    )


class PositionTable(nn.Module):
    """Holds a learned absolute position embedding under the checkpoint's name."""

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.pos_embed = _table(1, positions, width)


class SpaceTimePatches(nn.Module):
    """A convolution whose kernel equals its stride, done as one matrix product over the patches."""

    def __init__(self, width: int, frames: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.weight = _table(width, 3, frames, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, H, W) or (b, 3, t, H, W) -> (b, patches, d), row by row."""
        if x.ndim == 4:
            # A still picture stands for equal frames: the same product with a kernel summed over time.
            x, weight = x.unsqueeze(2), self.weight.sum(dim=2, keepdim=True)
        else:
            weight = self.weight
        b, c, t, height, width = x.shape
        p = self.patch
        patches = x.view(b, c, t, height // p, p, width // p, p).permute(0, 3, 5, 1, 2, 4, 6)
        return F.linear(patches.reshape(b, (height // p) * (width // p), c * t * p * p), weight.flatten(1))


class PatchStem(nn.Module):
    """A bare space-time projection (vision), or a 2-D convolution followed by LayerNorm (the others)."""

    def __init__(self, projection: nn.Module, width: int, *, norm: bool) -> None:
        super().__init__()
        self.proj = projection
        self.norm_layer: nn.Module = nn.LayerNorm(width, eps=_PATCH_NORM_EPS) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        if x.ndim == 4:  # a convolution's (b, d, rows, columns)
            x = x.flatten(2).transpose(1, 2)
        out: Tensor = self.norm_layer(x)
        return out


def _with_class_token(patches: Tensor, cls_token: Tensor, positions: Tensor) -> Tensor:
    return torch.cat((cls_token.expand(patches.shape[0], -1, -1), patches), dim=1) + positions


class PictureTokens(nn.Module):
    """Tokens of vision, audio, depth and thermal: patches, class token, position embeddings.

    `stem_name` is the attribute under which the checkpoint keeps the stem.
    """

    def __init__(self, modality: str, config: ImageBindConfig) -> None:
        super().__init__()
        width = config.trunk(modality)[0]
        side = config.image_size
        self.modality, self.frames = modality, config.video_frames
        self.cls_token = _table(1, 1, width)
        self.pos_embedding_helper = PositionTable(config.tokens(modality), width)
        self._stem_name = "depth_stem" if modality == "depth" else "rgbt_stem"
        if modality == "vision":
            patches = SpaceTimePatches(width, config.video_frames, config.vision_patch)
            # The checkpoint numbers the projection 1, because another step (the repetition of still pictures,
            # which is part of SpaceTimePatches here) came before it.
            stem = PatchStem(nn.Sequential(nn.Identity(), patches), width, norm=False)
            self.input_shape: tuple[int, ...] = (3, side, side)
        else:
            audio = modality == "audio"
            kernel = config.audio_kernel if audio else getattr(config, f"{modality}_patch")
            stride = config.audio_stride if audio else kernel
            convolution = nn.Conv2d(1, width, kernel, stride, bias=False)
            stem = PatchStem(convolution, width, norm=True)
            self.input_shape = (1, config.audio_mel_bins, config.audio_frames) if audio else (1, side, side)
        setattr(self, self._stem_name, stem)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        patches = getattr(self, self._stem_name)(x)
        return _with_class_token(patches, self.cls_token, self.pos_embedding_helper.pos_embed)

    def _check(self, x: Tensor) -> None:
        shape = tuple(x.shape[1:])
        film = (3, self.frames, *self.input_shape[1:])
        if shape == self.input_shape or (self.modality == "vision" and shape == film):
            return
        expected = f"(batch, {', '.join(map(str, self.input_shape))})"
        if self.modality == "vision":
            expected += f" for pictures or (batch, clips, {', '.join(map(str, film))}) for video"
        raise _wrong_shape(self.modality, expected, x)


class TextTokens(nn.Module):
    """Token and position embeddings, and the causal mask, which the checkpoint holds as a buffer."""

    mask: Tensor

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        length, width = config.text_context_length, config.text_embed_dim
        self.token_embedding = nn.Embedding(config.text_vocab_size, width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.pos_embed = _table(1, length, width)
        self.register_buffer("mask", torch.full((length, length), float("-inf")).triu(1))

    def forward(self, ids: Tensor) -> Tensor:
        """(b, s) token ids -> (b, s, d), s ≤ the context length."""
        s = ids.shape[-1]
        if ids.ndim != 2 or not 0 < s <= self.mask.shape[0] or ids.is_floating_point():
            raise _wrong_shape("text", f"token ids (batch, 1..{self.mask.shape[0]})", ids)
        embedded: Tensor = self.token_embedding(ids)
        return embedded + self.pos_embed[:, :s]


class MotionStem(nn.Module):
    """A linear layer over runs of samples, then LayerNorm."""

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        inside = config.imu_channels * config.imu_kernel
        self.proj = nn.Linear(inside, config.imu_embed_dim, bias=False)
        self.norm_layer = nn.LayerNorm(config.imu_embed_dim, eps=_PATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm_layer(self.proj(x))
        return out


class MotionTokens(nn.Module):
    """Tokens of the motion sensors (IMU): runs of `imu_kernel` samples of all channels."""

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        self.kernel = config.imu_kernel
        self.input_shape = (config.imu_channels, config.imu_length)
        self.cls_token = _table(1, 1, config.imu_embed_dim)
        self.pos_embed = _table(1, config.tokens("imu"), config.imu_embed_dim)
        self.imu_stem = MotionStem(config)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, samples) -> (b, 1 + runs, d)."""
        if tuple(x.shape[1:]) != self.input_shape:
            raise _wrong_shape("imu", f"(batch, {self.input_shape[0]}, {self.input_shape[1]})", x)
        runs = x.unfold(-1, self.kernel, self.kernel)  # (b, c, runs, kernel)
        return _with_class_token(
            self.imu_stem(runs.transpose(1, 2).flatten(2)), self.cls_token, self.pos_embed
        )
