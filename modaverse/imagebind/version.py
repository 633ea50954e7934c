"""Versions of an encoder: what a cached embedding, and a projector that learnt to read it, depend on."""

from __future__ import annotations

import hashlib
import json

import torch

from modaverse.context import Modality
from modaverse.imagebind.encoder import ImageBindEncoder

PREPARATION = 1
"""Version of the preprocessing code: raised when equal media give other embeddings than before."""

_TRUNKS = {Modality.IMAGE: "vision", Modality.VIDEO: "vision", Modality.AUDIO: "audio"}


def modality_version(encoder: ImageBindEncoder, modality: Modality) -> str:
    """32 hexadecimal digits over configuration, preprocessing and the weights that embed `modality`.

    Pictures and clips share weights, so they share a version. Weights in another precision are another
    version, since they give other embeddings.
    """
    trunk = _TRUNKS[modality]
    digest = hashlib.sha256()
    settings = {"preparation": PREPARATION, "trunk": trunk, "config": encoder.config.to_dict()}
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(encoder.net.state_dict().items()):
        if name.split(".")[1] == trunk:
            value = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def encoder_version(encoder: ImageBindEncoder) -> str:
    """All versions of what an encoder holds, on one line: "audio:3f… vision:a9…"."""
    held = {trunk: modality for modality, trunk in _TRUNKS.items() if trunk in encoder.net.modalities}
    return " ".join(f"{trunk}:{modality_version(encoder, held[trunk])}" for trunk in sorted(held))
