"""Decoding clips, by FFmpeg."""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np

from modaverse.context import Modality
from modaverse.interfaces import Frames
from modaverse.media.files import MediaLimits, OpenFile, faults, open_file
from modaverse.media.kinds import require
from modaverse.media.streams import check_duration, check_pixels, moving_pictures, open_stream

_DEFAULT = MediaLimits()


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
        require(opened, Modality.VIDEO, limits)
        with open_stream(opened, limits) as container, faults(opened):
            check_duration(opened, container, limits)
            return _read_frames(opened, container, limits)


def _read_frames(opened: OpenFile, container: av.container.InputContainer, limits: MediaLimits) -> Frames:
    stream = moving_pictures(container)[0]
    stream.thread_type = "AUTO"
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    seconds = (container.duration or 0) / av.time_base
    expected = stream.frames or round(seconds * fps) or limits.max_frames
    check_pixels(opened, stream.codec_context.width, stream.codec_context.height, limits)
    size, stride = _fit(stream.codec_context.width, stream.codec_context.height, expected, limits)
    frames: list[np.ndarray] = []
    times: list[float] = []
    for index, frame in enumerate(container.decode(stream)):
        if index >= limits.max_frames:
            raise opened.error(
                f"the clip has more than {limits.max_frames:,} frames",
                "Cut it shorter, or raise the media limit max_frames.",
            )
        check_pixels(opened, frame.width, frame.height, limits)
        if frame.pts is not None and frame.time_base is not None:
            times.append(float(frame.pts * frame.time_base))
        if index % stride == 0:
            frames.append(_upright(frame, size))
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


def _fit(width: int, height: int, frames: int, limits: MediaLimits) -> tuple[tuple[int, int], int]:
    """The (width, height) and the stride with which `frames` frames fit into `limits.max_decoded_bytes`."""
    room = limits.max_decoded_bytes / (3 * max(1, frames))
    floor = min(1.0, 256 / min(width, height))
    scale = min(1.0, max(floor, (room / (width * height)) ** 0.5))
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return size, max(1, math.ceil(size[0] * size[1] / room))


def _upright(frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
    method = "AREA" if size[0] < frame.width else "BILINEAR"
    pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1], interpolation=method)
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
