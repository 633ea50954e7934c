"""A tiny LLM, a tiny encoder and a few rows with real media: a whole training run in a second."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from torch import Tensor

from modaverse.imagebind import ImageBind, ImageBindConfig, ImageBindEncoder
from modaverse.interfaces import Decoded, Pixels, Waveform
from modaverse.media import write_media
from modaverse.settings import LoraSettings, ProjectorSettings
from modaverse.testing import save_tiny_llm
from modaverse.training.settings import LearningRates, TrainSettings

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}
TONES = {"low": 200.0, "high": 3000.0}


class CountingEncoder(ImageBindEncoder):
    """Counts the media that are encoded."""

    encoded = 0

    def encode_decoded(self, decoded: Iterable[Decoded]) -> Tensor:
        embeddings = super().encode_decoded(decoded)
        self.encoded += len(embeddings)
        return embeddings


class Settings(Protocol):
    def __call__(self, **changes: Any) -> TrainSettings: ...


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ImageBindConfig(
        out_embed_dim=16,
        vision_embed_dim=16,
        vision_num_blocks=1,
        vision_num_heads=2,
        audio_embed_dim=16,
        audio_num_blocks=1,
        audio_num_heads=2,
        text_embed_dim=16,
        text_num_blocks=1,
        text_num_heads=2,
        text_vocab_size=8,
        image_size=16,
        vision_patch=8,
        audio_clips=1,
        audio_stride=16,
    )
    folder = tmp_path_factory.mktemp("encoder")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ImageBind(config, modalities=("vision", "audio"))
    ImageBindEncoder(net).save_pretrained(folder)
    return folder


@pytest.fixture
def encoder(encoder_folder: Path) -> CountingEncoder:
    loaded = ImageBindEncoder.from_pretrained(encoder_folder)
    return CountingEncoder(loaded.net)


@pytest.fixture(scope="session")
def llm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 rows: pictures and sounds to name, pictures to draw and then to describe, and words alone."""
    folder = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(0)
    names: dict[str, str] = {}
    for colour, value in COLOURS.items():
        noise = rng.integers(-20, 20, (16, 16, 3))
        pixels = (np.array(value) + noise).clip(0, 255).astype(np.uint8)
        names[colour] = write_media(Pixels(pixels), folder / "media").path.name
    for tone, frequency in TONES.items():
        wave = np.sin(np.arange(16_000) / 16_000 * 2 * np.pi * frequency).astype(np.float32)[:, None]
        names[tone] = write_media(Waveform(wave, 16_000), folder / "media").path.name

    rows: list[list[Any]] = []
    for colour in COLOURS:
        medium = {"uri": f"media/{names[colour]}"}
        rows.append(["What colour?", medium, None, f"It is {colour}."])
        rows.append([medium, "Name the colour", None, f"That is {colour}."])
        rows.append([f"Draw {colour}", None, "Here: ", ("T-to-I", colour), medium, f" It is {colour}."])
        rows.append([f"Please draw something {colour} now", None, ("T-to-I", f"a {colour} thing"), medium])
    for tone in TONES:
        rows.append(["What do you hear?", {"uri": f"media/{names[tone]}"}, None, f"A {tone} tone."])
    rows += [["Hello", None, "Hello! What shall I draw?"], ["Thanks", None, "You are welcome."]]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row_of(parts)) + "\n" for parts in rows), encoding="utf-8")
    return path


def row_of(parts: list[Any]) -> dict[str, Any]:
    """A row from parts: text, {"uri": …}, (model, input); None between the request and the answer."""
    border = parts.index(None)

    def part(value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return {"type": "media", **value}
        if isinstance(value, tuple):
            return {"type": "meta_response", "model": value[0], "input": value[1]}
        return {"type": "text", "text": value}

    return {
        "turns": [
            {"role": "user", "parts": [part(value) for value in parts[:border]]},
            {"role": "assistant", "parts": [part(value) for value in parts[border + 1 :]]},
        ]
    }


@pytest.fixture
def settings(
    rows_file: Path, llm_folder: Path, encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    cache = tmp_path_factory.mktemp("features")

    def settings(**changes: Any) -> TrainSettings:
        values: dict[str, Any] = {
            "data": (rows_file,),
            "llm": str(llm_folder),
            "encoder": encoder_folder,
            "projector": ProjectorSettings(k=2),
            "lora": LoraSettings(r=4, alpha=8, dropout=0.1, target_modules="all-linear"),
            "learning_rates": LearningRates(projectors=5e-3, lora=5e-3, tokens=5e-3),
            "batch_size": 4,
            "steps": 6,
            "precision": "float32",
            "log_every": 1,
            "feature_cache": cache,
        }
        return TrainSettings.parse(values | changes)

    return settings
