"""From a file to pixels, frames or samples, within `MediaLimits`.

Limits are checked twice: against what the header announces, before anything is allocated, and against what
really comes out, since headers lie. Decoders raise whatever they like on damaged data (OSError,
SyntaxError, struct.error, ...); here that becomes one `MediaError` which names the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
import soundfile
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from modaverse.context import Media, Modality
from modaverse.errors import MediaError
from modaverse.interfaces import Decoded, Frames, Pixels, Waveform
from modaverse.media.files import PICTURES, Container, MediaLimits, OpenFile, open_file

_NAMES = {Modality.IMAGE: "a picture", Modality.VIDEO: "a clip", Modality.AUDIO: "a sound"}
_DEFAULT = MediaLimits()


def sniff(path: Path | str) -> tuple[Modality, str]:
    """The modality and MIME type of a file, read from its content.

    Raises:
        MediaError: the file cannot be used.
    """
    with open_file(path, _DEFAULT) as opened:
        return _kind(opened)


def read_media(path: Path | str, *, limits: MediaLimits = _DEFAULT) -> Media:
    """A file as `Media`: sniffed, hashed, and checked as far as its header goes.

    Raises:
        MediaError: the file cannot be used, or announces more than `limits` allows.
    """
    with open_file(path, limits) as opened:
        modality, mime = _kind(opened)
        if modality is Modality.IMAGE:
            _open_picture(opened, limits)
        elif opened.container in (Container.WAV, Container.FLAC):
            with _open_sound(opened) as sound:
                _check_sound(opened, sound, limits)
        else:
            with _open_stream(opened, limits) as container:
                _check_duration(opened, container, limits)
        opened.file.seek(0)
        digest = hashlib.file_digest(opened.file, "sha256").hexdigest()
    return Media(modality, Path(path), mime, digest)


def decode(media: Media, limits: MediaLimits = _DEFAULT) -> Decoded:
    """What is in a medium, by its modality.

    Raises:
        MediaError: the file cannot be decoded within `limits`.
    """
    decoders: dict[Modality, Callable[[Path, MediaLimits], Decoded]] = {
        Modality.IMAGE: decode_image,
        Modality.VIDEO: decode_video,
        Modality.AUDIO: decode_audio,
    }
    return decoders[media.modality](media.path, limits)


def _kind(opened: OpenFile) -> tuple[Modality, str]:
    container = opened.container
    if container in PICTURES:
        return Modality.IMAGE, f"image/{container.value}"
    if container in (Container.WAV, Container.FLAC):
        return Modality.AUDIO, f"audio/{container.value}"
    if container is Container.MP3:
        return Modality.AUDIO, "audio/mpeg"
    with _open_stream(opened, _DEFAULT) as probed:
        modality = Modality.VIDEO if _moving_pictures(probed) else Modality.AUDIO
    if container is Container.OGG:
        return modality, f"{modality.value}/ogg"
    name = {"MP4": "mp4", "MOV": "quicktime", "WebM": "webm", "MKV": "x-matroska"}[opened.label]
    return (
        modality,
        f"{modality.value}/{'mp4' if modality is Modality.AUDIO and name == 'quicktime' else name}",
    )


def _require(opened: OpenFile, wanted: Modality) -> None:
    modality, _ = _kind(opened)
    opened.file.seek(0)
    if modality is not wanted:
        raise opened.error(
            f"this is {_NAMES[modality]}, but {_NAMES[wanted]} was expected", f"Give {_NAMES[wanted]} here."
        )


# ---------------------------------------------------------------------------------- pictures

_PLUGINS: dict[Container, Callable[..., ImageFile.ImageFile]] = {
    # The plugins by name: Image.open would try others too, and warns about large pictures before it can
    # be asked how large they are.
    Container.PNG: PngImagePlugin.PngImageFile,
    Container.JPEG: JpegImagePlugin.JpegImageFile,
    Container.WEBP: WebPImagePlugin.WebPImageFile,
    Container.GIF: GifImagePlugin.GifImageFile,
    Container.BMP: BmpImagePlugin.BmpImageFile,
}
_quiet = threading.Lock()  # warnings.catch_warnings changes state that threads share


def decode_image(path: Path | str, limits: MediaLimits = _DEFAULT) -> Pixels:
    """A picture as RGB, turned upright by its EXIF orientation, transparency laid on white.

    Returns:
        Pixels, (height, width, 3) uint8. Of an animated picture, the first frame.

    Raises:
        MediaError: the file is no picture, is damaged, or has more than `limits.max_pixels`.
    """
    with open_file(path, limits) as opened:
        _require(opened, Modality.IMAGE)
        with _quiet, warnings.catch_warnings(), _faults(opened):
            warnings.simplefilter("ignore")  # about odd metadata, which does not matter here
            return Pixels(rgb_array(_open_picture(opened, limits)))


def _open_picture(opened: OpenFile, limits: MediaLimits) -> ImageFile.ImageFile:
    with _faults(opened):
        opened.file.seek(0)
        image = _PLUGINS[opened.container](opened.file)
    _check_pixels(opened, image.width, image.height, limits)
    return image


def _check_pixels(opened: OpenFile, width: int, height: int, limits: MediaLimits) -> None:
    if width < 1 or height < 1:
        raise opened.damaged(f"its size is {width} × {height}")
    if width * height > limits.max_pixels:
        raise opened.error(
            f"{width:,} × {height:,} are more than {limits.max_pixels:,} pixels",
            "Scale it down, or raise the media limit max_pixels.",
        )


def rgb_array(image: Image.Image) -> np.ndarray:
    """Any PIL picture as (height, width, 3) uint8: upright, 8 bits a channel, transparency on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel: PIL's own conversion clips instead of scaling
        grey = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        return np.array(canvas)
    return np.array(image.convert("RGB"))


# ------------------------------------------------------------------------------------- sound


def decode_audio(path: Path | str, limits: MediaLimits = _DEFAULT) -> Waveform:
    """Sound with its own sample rate and channels.

    Returns:
        Waveform, (samples, channels) float32 in [-1, 1].

    Raises:
        MediaError: the file is no sound, is damaged, or is longer than `limits` allow.
    """
    with open_file(path, limits) as opened:
        _require(opened, Modality.AUDIO)
        if opened.container in (Container.WAV, Container.FLAC):
            samples, rate = _read_sound(opened, limits)
        else:
            samples, rate = _read_audio_stream(opened, limits)
    if len(samples) == 0:
        raise opened.error("there is no sound in it", "Give a file with at least one sample.")
    if not np.isfinite(samples).all():
        raise opened.damaged("some samples are no numbers")
    return Waveform(np.clip(samples, -1.0, 1.0, out=samples), rate)


@contextlib.contextmanager
def _open_sound(opened: OpenFile) -> Iterator[soundfile.SoundFile]:
    opened.file.seek(0)
    try:
        sound = soundfile.SoundFile(opened.file)
    except soundfile.SoundFileError as error:
        raise opened.damaged(_one_line(error)) from None
    with sound:
        yield sound


def _check_sound(opened: OpenFile, sound: soundfile.SoundFile, limits: MediaLimits) -> None:
    if sound.samplerate < 1 or sound.channels < 1:
        raise opened.damaged(f"{sound.channels} channels at {sound.samplerate} Hz")
    # A stream whose length was never filled in announces the largest number there is.
    if 0 <= sound.frames < 2**62:
        _check_length(opened, sound.frames, sound.samplerate, sound.channels, limits)


def _check_length(opened: OpenFile, samples: int, rate: int, channels: int, limits: MediaLimits) -> None:
    if samples > limits.max_seconds * rate:
        _too_long(opened, samples / rate, limits)
    if samples * channels * 4 > limits.max_decoded_bytes:
        raise opened.error(
            f"its {channels} channels at {rate:,} Hz, decoded, pass {limits.max_decoded_bytes / 1e6:,.0f} MB",
            "Shorten it, lower its sample rate, or raise the media limit max_decoded_bytes.",
        )


def _too_long(opened: OpenFile, seconds: float, limits: MediaLimits) -> NoReturn:
    raise opened.error(
        f"it lasts {seconds:,.1f} s, the limit is {limits.max_seconds:,.1f} s",
        "Cut it shorter, or raise the media limit max_seconds.",
    )


def _read_sound(opened: OpenFile, limits: MediaLimits) -> tuple[np.ndarray, int]:
    with _open_sound(opened) as sound:
        _check_sound(opened, sound, limits)
        blocks: list[np.ndarray] = []
        total = 0
        with _faults(opened):
            while len(block := sound.read(65_536, dtype="float32", always_2d=True)):
                blocks.append(block)
                total += len(block)
                _check_length(opened, total, sound.samplerate, sound.channels, limits)
        if opened.container is Container.FLAC and total < sound.frames < 2**62:
            raise opened.damaged(f"{total:,} of {sound.frames:,} samples")
        return _joined(blocks, sound.channels), sound.samplerate


def _read_audio_stream(opened: OpenFile, limits: MediaLimits) -> tuple[np.ndarray, int]:
    with _open_stream(opened, limits) as container, _faults(opened):
        _check_duration(opened, container, limits)
        stream = container.streams.audio[0]
        rate, channels = stream.rate, stream.channels
        if not rate or not channels:
            raise opened.damaged("no sample rate")
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
        blocks: list[np.ndarray] = []
        total = 0
        for frame in container.decode(stream):
            for part in resampler.resample(frame):
                blocks.append(part.to_ndarray().T)
                total += part.samples
            _check_length(opened, total, rate, channels, limits)
        blocks.extend(part.to_ndarray().T for part in resampler.resample(None))
        announced = container.duration
    if announced and total / rate < 0.9 * announced / av.time_base - 0.2:
        raise opened.damaged(f"{total / rate:.1f} of {announced / av.time_base:.1f} s")
    return _joined(blocks, channels), rate


def _joined(blocks: list[np.ndarray], channels: int) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate([np.zeros((0, channels), np.float32), *blocks]))


# ------------------------------------------------------------------------------------- clips


def decode_video(path: Path | str, limits: MediaLimits = _DEFAULT) -> Frames:
    """A clip's frames, upright. One frame a frame: a clip of uneven rate is not evened out.

    Where the frames would need more than `limits.max_decoded_bytes`, they are scaled down, to a short
    side of 256 pixels if need be, and then thinned out evenly (`fps` says the rate that is left).

    Returns:
        Frames, (frames, height, width, 3) uint8, and their mean rate.

    Raises:
        MediaError: the file is no clip, is damaged, or is larger or longer than `limits` allow.
    """
    with open_file(path, limits) as opened:
        _require(opened, Modality.VIDEO)
        with _open_stream(opened, limits) as container, _faults(opened):
            _check_duration(opened, container, limits)
            return _read_frames(opened, container, limits)


def _read_frames(opened: OpenFile, container: av.container.InputContainer, limits: MediaLimits) -> Frames:
    stream = _moving_pictures(container)[0]
    stream.thread_type = "AUTO"
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    seconds = (container.duration or 0) / av.time_base
    expected = stream.frames or round(seconds * fps) or limits.max_frames
    _check_pixels(opened, stream.codec_context.width, stream.codec_context.height, limits)
    scale, stride = _fit(stream.codec_context.width, stream.codec_context.height, expected, limits)
    frames: list[np.ndarray] = []
    times: list[float] = []
    for index, frame in enumerate(container.decode(stream)):
        if index >= limits.max_frames:
            raise opened.error(
                f"the clip has more than {limits.max_frames:,} frames",
                "Cut it shorter, or raise the media limit max_frames.",
            )
        _check_pixels(opened, frame.width, frame.height, limits)
        if frame.pts is not None and frame.time_base is not None:
            times.append(float(frame.pts * frame.time_base))
        if index % stride == 0:
            frames.append(_upright(frame, scale))
            if frames[-1].shape != frames[0].shape:
                raise opened.error("its frames differ in size", "Export the clip again with one size.")
            if len(frames) * frames[0].nbytes > 1.25 * limits.max_decoded_bytes:
                raise opened.damaged(f"more frames than the {expected:,} that it announces")
    if not frames:
        raise opened.damaged("no frame can be decoded")
    span = times[-1] - times[0] if len(times) > 1 else 0.0
    if seconds and not fps and len(times) > 1 and span > 0:
        fps = (len(times) - 1) / span
    if stream.frames and len(times) < stream.frames and span + 2 / (fps or 1) < 0.9 * seconds:
        raise opened.damaged(f"{len(times):,} of {stream.frames:,} frames")
    return Frames(np.stack(frames), (fps or 25.0) / stride)


def _fit(width: int, height: int, frames: int, limits: MediaLimits) -> tuple[float, int]:
    """The scale (≤ 1) and the stride with which `frames` frames fit into `limits.max_decoded_bytes`."""
    room = limits.max_decoded_bytes / 3 / max(1, frames * width * height)
    if room >= 1:
        return 1.0, 1
    floor = min(1.0, 256 / min(width, height))
    scale = max(room**0.5, floor)
    return scale, max(1, int(np.ceil(scale**2 / room)))


def _upright(frame: av.VideoFrame, scale: float) -> np.ndarray:
    width, height = max(1, int(frame.width * scale)), max(1, int(frame.height * scale))
    method = "AREA" if scale < 1 else "BILINEAR"
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation=method)
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


# ------------------------------------------------------------------------ what FFmpeg reads


@contextlib.contextmanager
def _open_stream(opened: OpenFile, limits: MediaLimits) -> Iterator[av.container.InputContainer]:
    """A demuxer of the sniffed kind on the open file; it can open nothing else."""
    opened.file.seek(0)
    with _faults(opened):
        container = av.open(
            opened.file,
            mode="r",
            format=opened.container.value,
            metadata_errors="replace",
            stream_options=[{"max_pixels": str(limits.max_pixels)}] * 16,
            io_open=_refuse,
        )
    with container:
        if not _moving_pictures(container) and not container.streams.audio:
            raise opened.error(
                "there is neither a picture nor a sound in it", "Give a file with a video or audio track."
            )
        yield container


def _refuse(url: str, *_: Any) -> NoReturn:
    raise PermissionError(f"a media file may not open others ({url})")


def _moving_pictures(container: av.container.InputContainer) -> list[Any]:
    """Video streams that are no cover picture."""
    attached = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & attached]


def _check_duration(opened: OpenFile, container: av.container.InputContainer, limits: MediaLimits) -> None:
    seconds = (container.duration or 0) / av.time_base
    if seconds > limits.max_seconds:
        _too_long(opened, seconds, limits)
    for stream in _moving_pictures(container):
        _check_pixels(opened, stream.codec_context.width, stream.codec_context.height, limits)
        if stream.frames > limits.max_frames:
            raise opened.error(
                f"the clip has {stream.frames:,} frames, the limit is {limits.max_frames:,}",
                "Cut it shorter, or raise the media limit max_frames.",
            )


@contextlib.contextmanager
def _faults(opened: OpenFile) -> Iterator[None]:
    """Whatever a decoder raises, as a `MediaError`."""
    try:
        yield
    except MediaError:
        raise
    except MemoryError:
        raise opened.error("decoding it needs more memory than there is", "Give a smaller version.") from None
    except Exception as error:
        raise opened.damaged(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text[:117] + "...") if len(text) > 120 else text
