"""Opening a file that may be anything.

It is opened once and checked through its descriptor, so that what was checked is what is read. No library
opens it under its name, which FFmpeg would take for a URL where it looks like one.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modaverse.errors import MediaError, SettingsError
from modaverse.media.containers import SUPPORTED, Container, identify, missing_bytes, what_it_is


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What a single file may cost. The defaults keep decoding under about 1 GB of memory.

    max_bytes: size of the file.
    max_pixels: width × height of a picture or of one frame of a clip.
    max_frames: frames in a clip.
    max_seconds: length of a clip or a sound.
    max_decoded_bytes: memory for the decoded samples or frames. Sound that needs more is refused; the
        frames of a clip are scaled down to fit, and thinned out where that is not enough.
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 50_000_000
    max_frames: int = 7200
    max_seconds: float = 600.0
    max_decoded_bytes: int = 384 * 2**20

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise SettingsError(
                    f"media limit {name} is {getattr(self, name)}", hint="Give a number above 0."
                )


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file, open at its start, whose container is known."""

    file: io.BufferedReader
    path: Path
    size: int
    head: bytes
    container: Container

    def error(self, fault: str, hint: str) -> MediaError:
        return MediaError(f"{shown(self.path)}: {fault}", hint=hint)

    def damaged(self, detail: str = "") -> MediaError:
        return self.error(
            f"this {self.label} file is truncated or damaged" + (f" ({detail})" if detail else ""),
            "Copy or export the file again, and check that it opens in a viewer or player.",
        )

    @property
    def label(self) -> str:
        if self.container is Container.MP4:
            return "MOV" if self.head[4:12] == b"ftypqt  " else "MP4"
        if self.container is Container.MATROSKA:
            return "WebM" if b"webm" in self.head[:64] else "MKV"
        return {Container.WEBP: "WebP"}.get(self.container, self.container.value.upper())


def shown(path: Path | str) -> str:
    """A path as it may be printed: control characters and undecodable bytes escaped."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


@contextlib.contextmanager
def open_file(path: Path | str, limits: MediaLimits) -> Iterator[OpenFile]:
    """Open a media file for reading.

    Raises:
        MediaError: it is missing, no regular file, not readable, empty, larger than `limits.max_bytes`,
            cut off, or of no supported kind.
    """
    path = Path(path)
    with _open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise MediaError(f"{shown(path)}: the file is empty", hint=f"Give a {SUPPORTED} file.")
        if size > limits.max_bytes:
            raise MediaError(
                f"{shown(path)}: {size / 1e6:,.1f} MB exceed the limit of {limits.max_bytes / 1e6:,.1f} MB",
                hint="Give a shorter or smaller version of it, or raise the media limit max_bytes.",
            )
        head = file.read(4096)
        container = identify(file, head)
        if container is None:
            raise MediaError(
                f"{shown(path)}: {what_it_is(head)}, which is not supported",
                hint=f"Convert it to one of {SUPPORTED}.",
            )
        opened = OpenFile(file, path, size, head, container)
        if (missing := missing_bytes(file, container, head, size)) > 0:
            raise opened.damaged(f"{missing:,} bytes are missing at its end")
        file.seek(0)
        yield opened


def _open_regular(path: Path) -> io.BufferedReader:
    try:
        # Asked before opening, since opening a device can do something, and again after, since the name
        # may have been given to another file. O_NONBLOCK: a FIFO without a writer must not block for ever.
        _require_regular(path, os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise MediaError(
            f"{shown(path)}: no such file", hint="Check the path, or run from the folder that holds the file."
        ) from None
    except PermissionError:
        raise MediaError(
            f"{shown(path)}: the file may not be read", hint="Change its permissions, or copy it."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(
            f"{shown(path)}: the file cannot be opened ({reason})", hint="Give the path of a media file."
        ) from None
    file = os.fdopen(descriptor, "rb")
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
    except MediaError:
        file.close()
        raise
    return file


def _require_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise MediaError(
            f"{shown(path)}: this is a folder", hint="Name the files in it, with one --media for each."
        )
    if not stat.S_ISREG(mode):
        raise MediaError(
            f"{shown(path)}: this is no regular file but a device, pipe or socket",
            hint="Save what it gives to a file first, and give that file.",
        )


@contextlib.contextmanager
def faults(opened: OpenFile, *passed_on: type[Exception]) -> Iterator[None]:
    """Whatever a decoder raises, as a `MediaError`; but `passed_on` as it is."""
    known: tuple[type[Exception], ...] = (MediaError, *passed_on)
    try:
        yield
    except known:
        raise
    except MemoryError:
        raise opened.error("decoding it needs more memory than there is", "Give a smaller version.") from None
    except Exception as error:
        raise opened.damaged(one_line(error)) from error


def one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text[:117] + "...") if len(text) > 120 else text
