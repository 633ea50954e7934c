"""Pictures and clips as ImageBind sees them.

Legend: s `image_size`, t `video_frames`, v views (clips × crops).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modaverse.errors import MediaError
from modaverse.imagebind.config import ImageBindConfig
from modaverse.interfaces import Frames, Pixels

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

_LONGEST = 16  # long side of a picture, in short sides, before it is cut


def _normalised(channels_first: Tensor) -> Tensor:
    """(…, 3, s, s) in 0–255 -> the same shape, each channel shifted and scaled."""
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (MEAN, STD))
    return (channels_first.float() - mean) / std


def _check(array: np.ndarray, axes: int, name: str) -> None:
    if array.ndim != axes or array.shape[-1] != 3 or 0 in array.shape or array.dtype != np.uint8:
        raise MediaError(
            f"a {name} of the shape {array.shape} and type {array.dtype} cannot be encoded",
            hint="Give RGB in uint8, channels last, with at least one pixel.",
        )


# ------------------------------------------------------------------------------------------ pictures


def image_tensor(pixels: Pixels, config: ImageBindConfig | None = None) -> Tensor:
    """One picture: (3, s, s) float32, the short side scaled to s (bicubic, antialiased), the centre cut out.

    Raises:
        MediaError: not (height, width, 3) of uint8.
    """
    config = config or ImageBindConfig()
    _check(pixels.array, 3, "picture")
    side = config.image_size
    height, width = pixels.array.shape[:2]
    array = pixels.array
    if (height, width) != (side, side):
        array = np.asarray(_scaled_centre(Image.fromarray(np.ascontiguousarray(array)), side))
    return _normalised(torch.from_numpy(array.copy()).permute(2, 0, 1))


def _scaled_centre(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    short = min(width, height)
    if max(width, height) > _LONGEST * short:
        # A thread of pixels would be scaled to gigabytes, of which only the middle square is kept.
        width, height = min(width, _LONGEST * short), min(height, _LONGEST * short)
        image = _centre(image, width, height)
    size = (side * width // short, side * height // short)
    return _centre(image.resize(size, Image.Resampling.BICUBIC), side, side)


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


# --------------------------------------------------------------------------------------------- video


def video_tensor(frames: Frames, config: ImageBindConfig | None = None) -> Tensor:
    """The views of one video: (v, 3, t, s, s) float32, clip by clip, each crop of a clip in turn.

    Clip i of n, each `video_clip_seconds` long, starts i/n of the way to the last possible start (the first
    starts at 0; where the video is shorter than a clip they coincide). Of each clip `video_frames` frames are
    taken from its first to its last, evenly spaced; each frame is scaled (bilinear, no antialiasing) so that
    its short side is s, and cut into squares along its long side.

    Raises:
        MediaError: not (frames, height, width, 3) of uint8, or no frame rate.
    """
    config = config or ImageBindConfig()
    _check(frames.array, 4, "video")
    if not (math.isfinite(frames.fps) and frames.fps > 0):
        raise MediaError(f"a video of {frames.fps} frames a second", hint="The frame rate must be above 0.")
    clips = clip_frames(frames.array.shape[0], frames.fps, config)
    used = sorted({index for clip in clips for index in clip})
    array = torch.from_numpy(np.ascontiguousarray(frames.array[used])).permute(0, 3, 1, 2)
    # (crops, used frames, 3, s, s): every frame is scaled once, however many clips show it
    crops = torch.stack([_normalised(crop) for crop in _crops(array, config)])
    place = {index: at for at, index in enumerate(used)}
    views = [crops[:, [place[index] for index in clip]] for clip in clips]
    return torch.cat(views).transpose(1, 2).contiguous()


def clip_frames(count: int, fps: float, config: ImageBindConfig) -> list[list[int]]:
    """Which of `count` frames each clip shows: `video_clips` lists of `video_frames` indices."""
    # Where a clip starts just at a frame, rounding decides which frame is first. The published code takes the
    # duration for a float, divides exactly and multiplies as floats; so it is done here.
    room = max(Fraction(count / fps) - Fraction(config.video_clip_seconds), Fraction(0))
    clips = []
    for index in range(config.video_clips):
        start = room * index / config.video_clips
        first = min(math.ceil(float(start) * fps), count - 1)
        end = math.ceil(float(start + Fraction(config.video_clip_seconds)) * fps)
        last = max(min(end, count) - 1, first)
        steps = max(config.video_frames - 1, 1)
        clips.append([first + (last - first) * step // steps for step in range(config.video_frames)])
    return clips


def _crops(frames: Tensor, config: ImageBindConfig) -> list[Tensor]:
    """(n, 3, H, W) uint8 -> `video_crops` times (n, 3, s, s) float in 0–255, along the long side."""
    height, width = frames.shape[-2:]
    side, short = config.image_size, min(height, width)
    sizes = (side * height // short, side * width // short)
    crops = []
    for index in range(config.video_crops):
        share = Fraction(index, config.video_crops - 1) if config.video_crops > 1 else Fraction(1, 2)
        rows, columns = (
            _bilinear_taps(old, new, math.ceil((new - side) * share), side)
            for old, new in zip((height, width), sizes, strict=True)
        )
        crops.append(_blend(_blend(frames, -2, *rows), -1, *columns))
    return crops


def _bilinear_taps(old: int, new: int, start: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """For `count` pixels from `start`, of `new` that `old` are scaled to: lower index, upper index, weight.

    Pixel centres are aligned, as in `torch.nn.functional.interpolate(..., align_corners=False)`; only the
    pixels of one crop are ever computed, however long the long side is.
    """
    at = ((torch.arange(start, start + count, dtype=torch.float64) + 0.5) * (old / new) - 0.5).clamp(min=0)
    lower = at.floor().long().clamp(max=old - 1)
    return lower, (lower + 1).clamp(max=old - 1), (at - lower).float()


def _blend(x: Tensor, axis: int, lower: Tensor, upper: Tensor, weight: Tensor) -> Tensor:
    low, high = (x.index_select(axis, index).float() for index in (lower, upper))
    return torch.lerp(low, high, weight.view(-1, 1) if axis == -2 else weight)
