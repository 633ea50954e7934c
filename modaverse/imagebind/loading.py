"""From a media file to the tensor that the network reads; published sizes unless a configuration is given."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from modaverse.imagebind.audio import audio_tensor
from modaverse.imagebind.config import ImageBindConfig
from modaverse.imagebind.vision import image_tensor, video_tensor
from modaverse.media import MediaLimits, decode_audio, decode_image, decode_video


def load_image(
    path: str | Path, config: ImageBindConfig | None = None, *, limits: MediaLimits | None = None
) -> Tensor:
    """A picture: (3, 224, 224) float32. See `image_tensor`.

    Raises:
        MediaError: the file is no picture, is damaged, or is larger than `limits` allow.
    """
    return image_tensor(decode_image(Path(path), limits or MediaLimits()), config)


def load_audio(
    path: str | Path, config: ImageBindConfig | None = None, *, limits: MediaLimits | None = None
) -> Tensor:
    """Sound: (3, 1, 128, 204) float32, clips first. See `audio_tensor`.

    Raises:
        MediaError: the file is no sound, is damaged, or is longer than `limits` allow.
    """
    return audio_tensor(decode_audio(Path(path), limits or MediaLimits()), config)


def load_video(
    path: str | Path, config: ImageBindConfig | None = None, *, limits: MediaLimits | None = None
) -> Tensor:
    """A video: (15, 3, 2, 224, 224) float32, views first. See `video_tensor`.

    Raises:
        MediaError: the file is no video, is damaged, or is longer than `limits` allow.
    """
    return video_tensor(decode_video(Path(path), limits or MediaLimits()), config)
