"""What FFmpeg demuxes: MP4, MOV, WebM, MKV, OGG and MP3; and the bounds that any medium has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import av

from modaverse.errors import MediaError
from modaverse.media.files import MediaLimits, OpenFile, faults


@contextlib.contextmanager
def open_stream(opened: OpenFile, limits: MediaLimits) -> Iterator[av.container.InputContainer]:
    """A demuxer of the sniffed kind on the open file; it can open nothing else."""
    opened.file.seek(0)
    with faults(opened):
        container = av.open(
            opened.file,
            mode="r",
            format=opened.container.value,
            metadata_errors="replace",
            stream_options=[{"max_pixels": str(limits.max_pixels)}] * 16,
            io_open=_refuse,
        )
    with container:
        if not moving_pictures(container) and not container.streams.audio:
            raise opened.error(
                "there is neither a picture nor a sound in it", "Give a file with a video or audio track."
            )
        yield container


def _refuse(url: str, *_: Any) -> NoReturn:
    raise PermissionError(f"a media file may not open others ({url})")


def moving_pictures(container: av.container.InputContainer) -> list[Any]:
    """Video streams that are no cover picture."""
    attached = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & attached]


def require_decoder(opened: OpenFile, stream: Any) -> None:
    """FFmpeg leaves the codec of a stream empty where it knows none for it."""
    if stream.codec_context is None:
        raise opened.error(
            f"the {stream.type} in this {opened.label} file is of a coding that cannot be read",
            "Convert it, for example to H.264 or AAC in an MP4 file.",
        )


def check_duration(opened: OpenFile, container: av.container.InputContainer, limits: MediaLimits) -> None:
    """Compare what the header says of length, frames and frame size with `limits`.

    Raises:
        MediaError: it announces more.
    """
    seconds = (container.duration or 0) / av.time_base
    if seconds > limits.max_seconds:
        too_long(opened, seconds, limits)
    for stream in moving_pictures(container):
        require_decoder(opened, stream)
        check_pixels(opened, stream.codec_context.width, stream.codec_context.height, limits)
        if stream.frames > limits.max_frames:
            raise opened.error(
                f"the clip has {stream.frames:,} frames, the limit is {limits.max_frames:,}",
                "Cut it shorter, or raise the media limit max_frames.",
            )


def check_pixels(opened: OpenFile, width: int, height: int, limits: MediaLimits) -> None:
    if width < 1 or height < 1:
        raise opened.damaged(f"its size is {width} × {height}")
    if width * height > limits.max_pixels:
        raise too_large(opened, f"{width:,} × {height:,} are", limits)


def too_large(opened: OpenFile, what: str, limits: MediaLimits) -> MediaError:
    return opened.error(
        f"{what} more than {limits.max_pixels:,} pixels",
        "Scale it down, or raise the media limit max_pixels.",
    )


def too_long(opened: OpenFile, seconds: float, limits: MediaLimits) -> NoReturn:
    raise opened.error(
        f"it lasts {seconds:,.1f} s, the limit is {limits.max_seconds:,.1f} s",
        "Cut it shorter, or raise the media limit max_seconds.",
    )
