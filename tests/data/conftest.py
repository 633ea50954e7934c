"""A few small media of each kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modaverse.interfaces import Frames, Pixels, Waveform
from modaverse.media import write_media


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """red.png, blue.png, green.png, tone.wav, hum.wav, film.mp4."""
    folder = tmp_path_factory.mktemp("captioned")
    wave = np.sin(np.arange(4_000) / 3).astype(np.float32)[:, None]
    made = {
        "red.png": Pixels(np.full((8, 8, 3), (200, 30, 30), np.uint8)),
        "blue.png": Pixels(np.full((8, 8, 3), (30, 30, 200), np.uint8)),
        "green.png": Pixels(np.full((8, 8, 3), (30, 200, 30), np.uint8)),
        "tone.wav": Waveform(wave, 8_000),
        "hum.wav": Waveform(wave / 2, 8_000),
        "film.mp4": Frames(np.zeros((2, 16, 16, 3), np.uint8), 8),
    }
    for name, value in made.items():
        write_media(value, folder).path.rename(folder / name)
    return folder
