"""Small functions between ModaVerse's values and the pipelines' arguments, by the names that cards use.

Three registries, each of functions of one signature:

    CONVERSIONS  (option's value, call, its argument)  ─► pipeline arguments
    SOURCES      (decoded Source, call, arguments)     ─► more pipeline arguments
    OUTPUTS      (pipeline output, call)               ─► Pixels | Frames | Waveform

Legend: t: frames, h: height, w: width, c: channels, s: samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from modaverse.errors import GenerationError, MediaError, SettingsError
from modaverse.interfaces import Decoded, Frames, Pixels, Waveform

from .card import Call

Arguments = dict[str, Any]
Number = TypeVar("Number", int, float)


# ------------------------------------------------------------------------------------ options


def same(value: Any, call: Call, argument: str) -> Arguments:
    """The value is the argument."""
    return {argument: value}


def frames(value: float, call: Call, argument: str) -> Arguments:
    """Seconds become the nearest number of frames that the pipeline can make (k·frame_step + 1, k ≥ 1)."""
    steps = max(1, round(value * _given(call.fps, "fps", call) / call.frame_step))
    return {argument: steps * call.frame_step + (1 if call.frame_step > 1 else 0)}


def size(value: str, call: Call, argument: str) -> Arguments:
    """'768x512' becomes width and height."""
    width, _, height = value.partition("x")
    return {"width": int(width), "height": int(height)}


CONVERSIONS: Mapping[str, Callable[[Any, Call, str], Arguments]] = {
    "same": same,
    "frames": frames,
    "size": size,
}


# ------------------------------------------------------------------------------------ sources


def _fitted(array: np.ndarray, call: Call, arguments: Arguments) -> Image.Image:
    """The picture, scaled to the size that is to be made, where arguments or card name one."""
    image = Image.fromarray(array)
    width, height = call.source_size or (arguments.get("width"), arguments.get("height"))
    if width is None or height is None or image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS)


def source_image(source: Decoded, call: Call, arguments: Arguments) -> Arguments:
    """`image`: one PIL picture."""
    if not isinstance(source, Pixels):
        raise _wrong_source(source, call)
    return {"image": _fitted(source.array, call, arguments)}


def source_video(source: Decoded, call: Call, arguments: Arguments) -> Arguments:
    """`video`: a list of PIL pictures, cut to k·frame_step + 1 frames."""
    if not isinstance(source, Frames):
        raise _wrong_source(source, call)
    count = len(source.array)
    if call.frame_step > 1:
        count = (count - 1) // call.frame_step * call.frame_step + 1
    return {"video": [_fitted(frame, call, arguments) for frame in source.array[:count]]}


def source_audio(source: Decoded, call: Call, arguments: Arguments) -> Arguments:
    """`audio`: (1, c, s) float32 at the call's sample rate, mono; `duration`: its length in seconds."""
    if not isinstance(source, Waveform) or call.sample_rate is None:
        raise _wrong_source(source, call)
    mono = source.array.mean(axis=1)
    if source.sample_rate != call.sample_rate:
        import soxr  # only sounds of another rate need it

        mono = soxr.resample(mono, source.sample_rate, call.sample_rate)
    samples = torch.from_numpy(np.ascontiguousarray(mono, dtype=np.float32))
    return {"audio": samples[None, None], "duration": len(mono) / call.sample_rate}


def _given(value: Number | None, name: str, call: Call) -> Number:
    if value is None:
        raise SettingsError(f"{call.model}: the card does not say {name}", hint=f"Give {name} in the card.")
    return value


def _wrong_source(source: Decoded, call: Call) -> MediaError:
    return MediaError(
        f"{call.model} needs {call.source}, not {source.modality}",
        hint="Name a medium of that kind in Source.",
    )


SOURCES: Mapping[str, Callable[[Decoded, Call, Arguments], Arguments]] = {
    "image": source_image,
    "video": source_video,
    "audio": source_audio,
}


# ------------------------------------------------------------------------------------ outputs


def output_images(output: Any, call: Call) -> Decoded:
    """`.images`: (1, h, w, 3) float in [0, 1], or a list of PIL pictures."""
    return Pixels(_bytes(np.asarray(output.images[0]), call))


def output_frames(output: Any, call: Call) -> Decoded:
    """`.frames`: (1, t, h, w, 3) float in [0, 1], or lists of PIL pictures."""
    clip = np.stack([_bytes(np.asarray(frame), call) for frame in output.frames[0]])
    return Frames(clip, _given(call.fps, "fps", call))


def output_audios(output: Any, call: Call) -> Decoded:
    """`.audios`: (1, c, s) or (1, s), float, as a tensor or an array."""
    sound = output.audios[0]
    if isinstance(sound, torch.Tensor):
        sound = sound.detach().cpu().float().numpy()
    sound = np.atleast_2d(np.asarray(sound, dtype=np.float32)).T
    _finite(sound, call)
    return Waveform(
        np.clip(np.ascontiguousarray(sound), -1.0, 1.0), _given(call.sample_rate, "sample_rate", call)
    )


def _bytes(picture: np.ndarray, call: Call) -> np.ndarray:
    """(h, w, 3) uint8 from either bytes or floats in [0, 1]."""
    if picture.dtype == np.uint8:
        return picture
    _finite(picture, call)
    return np.asarray(np.clip(np.rint(picture * 255.0), 0, 255), dtype=np.uint8)


def _finite(values: np.ndarray, call: Call) -> None:
    if not np.isfinite(values).all():
        raise GenerationError(
            f"{call.model}: the generator's output is not a number in places",
            hint="Load this generator at a higher precision; float16 overflows in some autoencoders.",
        )


OUTPUTS: Mapping[str, Callable[[Any, Call], Decoded]] = {
    "images": output_images,
    "frames": output_frames,
    "audios": output_audios,
}
