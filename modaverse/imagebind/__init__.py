"""ImageBind, written afresh: network, preprocessing, tokenizer, and the encoder of the system.

    net = ImageBind.from_checkpoint("imagebind_huge.pth", modalities=("vision", "audio"))
    net({"vision": load_image("cat.png")[None], "audio": load_audio("cat.wav")[None]})   # {…: (1, 1024)}

The code is under this project's licence; the published *weights* are for non-commercial use only
(CC BY-NC-SA 4.0).
"""

from __future__ import annotations

from modaverse.imagebind.audio import audio_features, audio_tensor, fbank
from modaverse.imagebind.config import MODALITIES, ImageBindConfig
from modaverse.imagebind.encoder import ImageBindEncoder
from modaverse.imagebind.loading import load_audio, load_image, load_video
from modaverse.imagebind.network import ImageBind
from modaverse.imagebind.tokenizer import ClipTokenizer, tokenize
from modaverse.imagebind.vision import image_tensor, video_tensor

__all__ = [
    "MODALITIES",
    "ClipTokenizer",
    "ImageBind",
    "ImageBindConfig",
    "ImageBindEncoder",
    "audio_features",
    "audio_tensor",
    "fbank",
    "image_tensor",
    "load_audio",
    "load_image",
    "load_video",
    "tokenize",
    "video_tensor",
]
