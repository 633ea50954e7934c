"""Writing media: the same values give the same bytes, and a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

from modaverse.context import Media, Modality
from modaverse.errors import InputError, MediaError, StorageError
from modaverse.interfaces import Decoded, Frames, Pixels, Waveform
from modaverse.media.decoding import read_media
from modaverse.media.files import MediaLimits, shown
from modaverse.media.pictures import rgb_array

_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/mp4": ".m4a",
    "audio/webm": ".webm",
    "audio/x-matroska": ".mka",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "video/ogg": ".ogv",
}
# crf 12 is past what eyes tell apart. x264's propagation of cost through macroblocks reads memory that was
# never written when there are B-frames, so that the bytes would depend on what ran before: both are off.
_X264 = {"crf": "12", "preset": "medium", "bf": "0", "mbtree": "0"}
_DEFAULT = MediaLimits()


def write_media(decoded: Decoded, folder: Path | str) -> Media:
    """Write a picture as PNG, sound as 16-bit WAV or a clip as H.264 MP4, named by its content.

    Raises:
        InputError: the array is not of the shape and type that its class describes, or is empty.
        StorageError: it cannot be written (disk full, no permission).
    """
    match decoded:
        case Pixels():
            return _store(_png(decoded), Modality.IMAGE, "image/png", Path(folder))
        case Waveform():
            return _store(_wav(decoded), Modality.AUDIO, "audio/wav", Path(folder))
        case Frames():
            return _store(_mp4(decoded), Modality.VIDEO, "video/mp4", Path(folder))


def media_from_bytes(
    data: bytes,
    folder: Path | str,
    *,
    limits: MediaLimits = _DEFAULT,
    read: Callable[[Path], Media] | None = None,
) -> Media:
    """A media file that is in memory, kept as it is. `read` finds out what it is, instead of `read_media`.

    Raises:
        MediaError: the bytes cannot be used; the message calls them "media given as bytes".
        StorageError: they cannot be written.
    """
    folder = Path(folder)
    with _storing(folder), tempfile.TemporaryDirectory(prefix=".modaverse-", dir=_made(folder)) as scratch:
        path = Path(scratch) / "media given as bytes"
        path.write_bytes(data)
        try:
            media = read(path) if read else read_media(path, limits=limits)
        except InputError as error:
            message = error.message.replace(shown(path), path.name)
            raise type(error)(message, hint=error.hint) from error.__cause__
    return _store(data, media.modality, media.mime, folder)


def write_copy(medium: Media, data: bytes, folder: Path | str) -> Media:
    """A medium whose content came from another machine, as a file named by its content.

    Raises:
        MediaError: `data` is not the medium's content.
        StorageError: it cannot be written.
    """
    if hashlib.sha256(data).hexdigest() != medium.sha256:
        raise MediaError(
            f"{shown(medium.path)}: the file was changed since it was looked at",
            hint="Leave media as they are until all is done.",
        )
    return _store(data, medium.modality, medium.mime, Path(folder))


def media_from_pil(image: Image.Image, folder: Path | str) -> Media:
    """A PIL picture as PNG: upright, transparency laid on white.

    Raises:
        StorageError: it cannot be written.
    """
    return write_media(Pixels(rgb_array(image)), folder)


def media_from_array(
    array: Any, folder: Path | str, *, sample_rate: int | None = None, fps: float | None = None
) -> Media:
    """An array (NumPy, or a tensor on the CPU) as a file.

    With `sample_rate` (Hz) it is sound, (samples,) or (samples, channels), float in [-1, 1] or int16. With
    `fps` a clip, (frames, height, width, 3). With neither a picture, (height, width) or (height, width, 3).
    Pixels are uint8, or float in [0, 1].

    Raises:
        InputError: the shape, type or range is another.
        StorageError: it cannot be written.
    """
    values = np.asarray(array)
    if sample_rate is not None and fps is not None:
        raise InputError("sample_rate and fps are both given", hint="Sound has the one, a clip the other.")
    if sample_rate is not None:
        samples = values / np.float32(32768) if values.dtype == np.int16 else values
        columns = samples[:, None] if samples.ndim == 1 else samples
        return write_media(Waveform(columns, sample_rate), folder)
    pixels = _eight_bit(values)
    if fps is not None:
        return write_media(Frames(pixels, fps), folder)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return write_media(Pixels(pixels), folder)


def as_media(value: Any, folder: Path | str, *, limits: MediaLimits = _DEFAULT) -> Media:
    """Whatever stands for a medium in a request: a path, bytes, a PIL picture, decoded values or an array.

    A path stays where it is; anything else is written into `folder`. An array alone is a picture; sound is
    `Waveform(array, sample_rate)` and a clip `Frames(array, fps)`.

    Raises:
        InputError: it is none of these, or cannot be used.
        StorageError: it cannot be written.
    """
    match value:
        case Media():
            return value
        case str() | os.PathLike():
            return read_media(Path(value), limits=limits)
        case bytes() | bytearray() | memoryview():
            return media_from_bytes(bytes(value), folder, limits=limits)
        case Image.Image():
            return media_from_pil(value, folder)
        case Pixels() | Frames() | Waveform():
            return write_media(value, folder)
        case _ if hasattr(value, "__array__"):
            return media_from_array(value, folder)
    raise InputError(
        f"a medium cannot be made of {type(value).__name__}",
        hint="Give a path, the bytes of a file, a PIL picture, an array, or Pixels, Frames or Waveform.",
    )


def _eight_bit(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if np.issubdtype(values.dtype, np.floating) and values.size and values.min() >= 0 and values.max() <= 1:
        return np.asarray(np.rint(values * 255), dtype=np.uint8)
    raise InputError(
        f"pixels of type {values.dtype} in this range are not understood",
        hint="Give uint8 in 0..255 or float in 0..1; for sound give its sample_rate.",
    )


# ----------------------------------------------------------------------------------- encoding


def _png(pixels: Pixels) -> bytes:
    _require_shape(pixels.array, "a picture is (height, width, 3) uint8", ndim=3)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.array)).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def _wav(waveform: Waveform) -> bytes:
    array = waveform.array
    if array.ndim != 2 or array.size == 0 or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"sound of shape {array.shape} and type {array.dtype} cannot be written",
            hint="Sound is (samples, channels), float in [-1, 1], and not empty.",
        )
    if not np.isfinite(array).all():
        raise InputError(
            "sound with samples that are no numbers cannot be written", hint="Check what made it."
        )
    # 32768 and not 32767: what was read from 16 bits is then written with the same values again.
    scaled = np.clip(np.rint(array * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, scaled, waveform.sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _mp4(frames: Frames) -> bytes:
    """H.264, 4:2:0, BT.709. An odd width or height is made even by repeating the last column or row."""
    _require_shape(frames.array, "a clip is (frames, height, width, 3) uint8", ndim=4)
    if not 0 < frames.fps <= 1000:
        raise InputError(
            f"a clip of {frames.fps} frames per second cannot be written", hint="Give 1 to 1000."
        )
    _, height, width, _ = frames.array.shape
    padding = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    even = np.pad(frames.array, padding, mode="edge")
    buffer = io.BytesIO()
    # bitexact: no version and no date of writing in the file.
    with av.open(buffer, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=_rate(frames.fps), options=dict(_X264))
        stream.width, stream.height, stream.pix_fmt = even.shape[2], even.shape[1], "yuv420p"
        codec = stream.codec_context
        codec.thread_count = 1  # x264's result depends on the number of threads
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        for array in even:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame = frame.reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                threads=1,
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def _rate(fps: float) -> Fraction:
    """A ratio of small numbers, as containers hold it."""
    return Fraction(fps).limit_denominator(1001)


def _require_shape(array: np.ndarray, rule: str, *, ndim: int) -> None:
    if array.ndim != ndim or array.shape[-1] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise InputError(
            f"an array of shape {array.shape} and type {array.dtype} cannot be written", hint=f"Here {rule}."
        )


# ------------------------------------------------------------------------------------ storing


def _store(data: bytes, modality: Modality, mime: str, folder: Path) -> Media:
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{modality.value}-{digest[:16]}{_SUFFIXES[mime]}"
    write_bytes(data, path)
    return Media(modality, path, mime, digest)


def write_bytes(data: bytes, path: Path) -> None:
    """Write a file so that, whatever happens, it is there whole or not at all.

    Raises:
        StorageError: it cannot be written (disk full, no permission).
    """
    folder = path.parent
    with _storing(path):
        name = _made(folder) / f".{path.name}-{secrets.token_hex(4)}"
        try:
            with open(name, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            name.unlink(missing_ok=True)
            raise
        _sync(folder)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _sync(folder: Path) -> None:
    """Make a rename last, where the file system lets a folder be opened for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{shown(path)}: cannot be written ({error.strerror or error})",
            hint="Free some space or choose another folder.",
        ) from error
