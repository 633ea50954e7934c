"""The sizes of an ImageBind, all six modalities, and how media are cut for it.

The defaults are those of the published `imagebind_huge` (Girdhar et al., "ImageBind: One Embedding Space To
Bind Them All", arXiv 2305.05665); a smaller encoder is the same class with other numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from modaverse.errors import SettingsError

MODALITIES = ("vision", "text", "audio", "depth", "thermal", "imu")

TextPool = Literal["highest_id", "last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBindConfig:
    """Every size and setting. Frozen; checked when it is built.

    Raises:
        SettingsError: a value is out of range or two values do not fit each other.
    """

    # One shared space, and per modality the width, depth and heads of its trunk.
    out_embed_dim: int = 1024
    vision_embed_dim: int = 1280
    vision_num_blocks: int = 32
    vision_num_heads: int = 16
    text_embed_dim: int = 1024
    text_num_blocks: int = 24
    text_num_heads: int = 16
    audio_embed_dim: int = 768
    audio_num_blocks: int = 12
    audio_num_heads: int = 12
    depth_embed_dim: int = 384
    depth_num_blocks: int = 12
    depth_num_heads: int = 8
    thermal_embed_dim: int = 768
    thermal_num_blocks: int = 12
    thermal_num_heads: int = 12
    imu_embed_dim: int = 512
    imu_num_blocks: int = 6
    imu_num_heads: int = 8

    # Stochastic depth of the last block (earlier blocks less, linearly); only in training.
    vision_drop_path: float = 0.0
    text_drop_path: float = 0.0
    audio_drop_path: float = 0.1
    depth_drop_path: float = 0.0
    thermal_drop_path: float = 0.0
    imu_drop_path: float = 0.7
    imu_head_dropout: float = 0.5  # also only in training

    # Scale after normalisation: text's is learned from this start, the others are constants.
    text_scale: float = 1 / 0.07
    audio_scale: float = 20.0
    depth_scale: float = 5.0
    thermal_scale: float = 10.0
    imu_scale: float = 5.0
    max_scale: float = 100.0

    # Pictures (side in pixels; depth and thermal pictures are of the same side) and their patches.
    image_size: int = 224
    vision_patch: int = 14
    depth_patch: int = 16
    thermal_patch: int = 16

    # Video: `video_clips` clips of `video_clip_seconds`, clip i of n starting i/n of the way to the last
    # possible start; of each clip `video_frames` frames from its first to its last, which is also the depth
    # of the stem's kernel; of each frame `video_crops` square crops along the long side.
    video_clips: int = 5
    video_clip_seconds: float = 2.0
    video_frames: int = 2
    video_crops: int = 3

    # Sound: `audio_clips` clips of `audio_clip_seconds` at `audio_sample_rate` Hz, spread in the same way,
    # each a filter bank of `audio_mel_bins` × `audio_frames`, less audio_mean, divided by audio_std.
    audio_sample_rate: int = 16_000
    audio_clips: int = 3
    audio_clip_seconds: float = 2.0
    audio_mel_bins: int = 128
    audio_frames: int = 204
    audio_mean: float = -4.268
    audio_std: float = 9.138
    audio_kernel: int = 16
    audio_stride: int = 10

    # Text: where a sentence's embedding is read. "highest_id": at the highest token id of the row, which is
    # CLIP's end-of-text token; "last": at the last position that is not `text_pad_id`.
    text_vocab_size: int = 49_408
    text_context_length: int = 77
    text_pad_id: int = 0
    text_pool: TextPool = "highest_id"

    # Motion sensors: channels × samples, cut into runs of `imu_kernel` samples.
    imu_channels: int = 6
    imu_length: int = 2000
    imu_kernel: int = 8

    def __post_init__(self) -> None:
        self._check_ranges()
        for modality in MODALITIES:
            width, heads = self.trunk(modality)[0], self.trunk(modality)[2]
            if width % heads:
                raise SettingsError(
                    f"{modality}_embed_dim {width} is no multiple of {modality}_num_heads {heads}",
                    hint="Choose a width that the heads divide.",
                )
        if self.text_pool not in get_args(TextPool):
            raise SettingsError(
                f'text_pool is "{self.text_pool}"', hint=f"Use one of {', '.join(get_args(TextPool))}."
            )
        self._check_division("image_size", "vision_patch")
        self._check_division("imu_length", "imu_kernel")
        for side in ("audio_mel_bins", "audio_frames"):
            if getattr(self, side) < self.audio_kernel:
                raise SettingsError(
                    f"{side} {getattr(self, side)} is less than audio_kernel {self.audio_kernel}",
                    hint="Choose a smaller kernel.",
                )

    def _check_ranges(self) -> None:
        for entry in fields(self):
            name, value = entry.name, getattr(self, entry.name)
            if name == "text_pool":
                continue
            real = entry.type == "float"
            if isinstance(value, bool) or not isinstance(value, (int, float) if real else int):
                kind = "a number" if real else "a whole number"
                raise SettingsError(f"{name} is {value!r}", hint=f"{name} must be {kind}.")
            if not math.isfinite(value):
                raise SettingsError(f"{name} is {value}", hint=f"{name} must be finite.")
            if name.endswith(("_drop_path", "_dropout")):
                if not 0 <= value < 1:
                    raise SettingsError(f"{name} is {value}", hint=f"{name} must be in [0, 1).")
            elif name == "text_pad_id":
                if not 0 <= value < self.text_vocab_size:
                    raise SettingsError(f"{name} is {value}", hint=f"{name} must be an id of the vocabulary.")
            elif name != "audio_mean" and value <= 0:
                raise SettingsError(f"{name} is {value}", hint=f"{name} must be above 0.")

    def _check_division(self, whole: str, part: str) -> None:
        if getattr(self, whole) % getattr(self, part):
            raise SettingsError(
                f"{whole} {getattr(self, whole)} is no multiple of {part} {getattr(self, part)}",
                hint=f"Choose a {part} that divides {whole}.",
            )

    # ----------------------------------------------------------------------------- derived sizes

    def trunk(self, modality: str) -> tuple[int, int, int]:
        """(width, blocks, heads) of a modality's trunk."""
        return (
            getattr(self, f"{modality}_embed_dim"),
            getattr(self, f"{modality}_num_blocks"),
            getattr(self, f"{modality}_num_heads"),
        )

    def tokens(self, modality: str) -> int:
        """Positions that a modality's trunk sees, class token included."""
        if modality == "text":
            return self.text_context_length
        if modality == "imu":
            return 1 + self.imu_length // self.imu_kernel
        if modality == "audio":
            rows, columns = (
                (side - self.audio_kernel) // self.audio_stride + 1
                for side in (self.audio_mel_bins, self.audio_frames)
            )
            return 1 + rows * columns
        patch: int = getattr(self, f"{modality}_patch")
        return 1 + (self.image_size // patch) ** 2

    # --------------------------------------------------------------------------- to and from JSON

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageBindConfig:
        """A configuration from plain values; what is not named keeps its published default.

        Raises:
            SettingsError: an unknown name, or a value that does not hold.
        """
        known = {entry.name for entry in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SettingsError(
                f"an ImageBind configuration has no setting {', '.join(unknown)}",
                hint="See the fields of modaverse.imagebind.ImageBindConfig.",
            )
        return cls(**values)
