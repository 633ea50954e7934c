"""ImageBind, written afresh: network, preprocessing and tokenizer."""

from __future__ import annotations

from modaverse.imagebind.audio import audio_features, audio_tensor, fbank
from modaverse.imagebind.config import MODALITIES, ImageBindConfig
from modaverse.imagebind.network import ImageBind
from modaverse.imagebind.vision import image_tensor, video_tensor

__all__ = [
    "MODALITIES",
    "ImageBind",
    "ImageBindConfig",
    "audio_features",
    "audio_tensor",
    "fbank",
    "image_tensor",
    "video_tensor",
]
