"""Small media files of every kind, made here, so that no binary lies in the repository."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from modaverse.context import Modality

RATE = 16_000


def picture(width: int = 48, height: int = 32) -> np.ndarray:
    """Large blocks of colour, which every lossy format keeps roughly: red, green over blue, white."""
    array = np.zeros((height, width, 3), np.uint8)
    array[: height // 2, : width // 2] = (220, 20, 20)
    array[: height // 2, width // 2 :] = (20, 200, 20)
    array[height // 2 :, : width // 2] = (20, 20, 220)
    array[height // 2 :, width // 2 :] = (240, 240, 240)
    return array


def tone(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def pillow_bytes(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(picture())).save(buffer, kind, **options)
    return buffer.getvalue()


def sound_bytes(kind: str, subtype: str | None = None, samples: np.ndarray | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone() if samples is None else samples, RATE, format=kind, subtype=subtype)
    return buffer.getvalue()


def stream_bytes(
    kind: str,
    video: str | None = None,
    audio: str | None = None,
    frames: int = 12,
    size: tuple[int, int] = (48, 32),
    **options: str,
) -> bytes:
    """A container with 12 frames at 12 fps and, or, a second of a tone at 48 kHz."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind, container_options=options) as container:
        pictures = container.add_stream(video, rate=12) if video else None
        sounds = container.add_stream(audio, rate=48_000, layout="mono") if audio else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = *size, "yuv420p"
            still = picture(*size)
            for _ in range(frames):
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(still, format="rgb24")))
            container.mux(pictures.encode())
        if sounds is not None:
            frame = av.AudioFrame.from_ndarray(tone(1.0, 48_000)[None], format="flt", layout="mono")
            frame.sample_rate, frame.pts = 48_000, 0
            container.mux(sounds.encode(frame))
            container.mux(sounds.encode())
    return buffer.getvalue()


Maker = Callable[[], bytes]

PICTURES: dict[str, tuple[Maker, str]] = {
    "png": (lambda: pillow_bytes("PNG"), "image/png"),
    "jpg": (lambda: pillow_bytes("JPEG", quality=95), "image/jpeg"),
    "webp": (lambda: pillow_bytes("WEBP", quality=95), "image/webp"),
    "gif": (lambda: pillow_bytes("GIF"), "image/gif"),
    "bmp": (lambda: pillow_bytes("BMP"), "image/bmp"),
}
SOUNDS: dict[str, tuple[Maker, str]] = {
    "wav": (lambda: sound_bytes("WAV"), "audio/wav"),
    "flac": (lambda: sound_bytes("FLAC"), "audio/flac"),
    "mp3": (lambda: stream_bytes("mp3", audio="libmp3lame"), "audio/mpeg"),
    "ogg-vorbis": (lambda: sound_bytes("OGG", "VORBIS"), "audio/ogg"),
    "ogg-opus": (lambda: stream_bytes("ogg", audio="libopus"), "audio/ogg"),
    "m4a": (lambda: stream_bytes("mp4", audio="aac"), "audio/mp4"),
    "mov-sound": (lambda: stream_bytes("mov", audio="aac"), "audio/mp4"),
    "webm-sound": (lambda: stream_bytes("webm", audio="libopus"), "audio/webm"),
    "mka": (lambda: stream_bytes("matroska", audio="aac"), "audio/x-matroska"),
}
CLIPS: dict[str, tuple[Maker, str]] = {
    "mp4": (lambda: stream_bytes("mp4", "libx264"), "video/mp4"),
    "mp4-fragments": (
        lambda: stream_bytes("mp4", "libx264", movflags="frag_keyframe+empty_moov"),
        "video/mp4",
    ),
    "mp4-with-sound": (lambda: stream_bytes("mp4", "libx264", "aac"), "video/mp4"),
    "mov": (lambda: stream_bytes("mov", "mpeg4"), "video/quicktime"),
    "webm": (lambda: stream_bytes("webm", "libvpx-vp9"), "video/webm"),
    "mkv": (lambda: stream_bytes("matroska", "libx264", "aac"), "video/x-matroska"),
}


@dataclass(frozen=True)
class Sample:
    """One small file of a kind, in memory."""

    name: str
    data: bytes
    modality: Modality
    mime: str


TABLES = {Modality.IMAGE: PICTURES, Modality.AUDIO: SOUNDS, Modality.VIDEO: CLIPS}


@functools.cache
def make_sample(modality: Modality, name: str) -> Sample:
    make, mime = TABLES[modality][name]
    return Sample(name, make(), modality, mime)


@pytest.fixture(params=PICTURES)
def picture_file(request: pytest.FixtureRequest) -> Sample:
    return make_sample(Modality.IMAGE, request.param)


@pytest.fixture(params=SOUNDS)
def sound_file(request: pytest.FixtureRequest) -> Sample:
    return make_sample(Modality.AUDIO, request.param)


@pytest.fixture(params=CLIPS)
def clip_file(request: pytest.FixtureRequest) -> Sample:
    return make_sample(Modality.VIDEO, request.param)


@pytest.fixture(params=[(m, name) for m, table in TABLES.items() for name in table], ids=lambda p: p[1])
def any_file(request: pytest.FixtureRequest) -> Sample:
    return make_sample(*request.param)


@pytest.fixture
def make() -> type[Make]:
    return Make


class Make:
    """The makers above, for tests that need other options."""

    picture = staticmethod(picture)
    tone = staticmethod(tone)
    pillow = staticmethod(pillow_bytes)
    sound = staticmethod(sound_bytes)
    stream = staticmethod(stream_bytes)


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write bytes under a name that says nothing of their kind."""

    def write(data: bytes, name: str = "file.dat") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write
