"""Opening a file that may be anything, and telling from its content what it is.

Nothing here decodes. A file is opened once and checked through its descriptor, so that what was
checked is what is read; it is never opened by a library under its name, which FFmpeg would take for a
URL where it looks like one.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from modaverse.errors import MediaError, SettingsError

SUPPORTED = "PNG, JPEG, WebP, GIF, BMP, WAV, FLAC, MP3, OGG, MP4, MOV, WebM or MKV"


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


class Container(StrEnum):
    """How a file is laid out. The values are FFmpeg's names where FFmpeg reads it."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    GIF = "gif"
    BMP = "bmp"
    WAV = "wav"
    FLAC = "flac"
    MP3 = "mp3"
    OGG = "ogg"
    MP4 = "mov"
    MATROSKA = "matroska"


PICTURES = frozenset({Container.PNG, Container.JPEG, Container.WEBP, Container.GIF, Container.BMP})


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
        opened = OpenFile(file, path, size, head, _container(path, file, head))
        if (missing := missing_bytes(opened)) > 0:
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


# ---------------------------------------------------------------------------- what a file is

_PICTURE_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", Container.PNG),
    (b"\xff\xd8\xff", Container.JPEG),
    (b"GIF87a", Container.GIF),
    (b"GIF89a", Container.GIF),
    (b"fLaC", Container.FLAC),
    (b"OggS", Container.OGG),
    (b"\x1a\x45\xdf\xa3", Container.MATROSKA),
)
_RIFF = {b"WEBP": Container.WEBP, b"WAVE": Container.WAV}
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_PICTURE_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "CR3"} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"
)
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})

# Kinds that people have on their disks and that are better named than called unknown.
_UNSUPPORTED = (
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"8BPS", "a Photoshop document"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"FORM", "an AIFF file"),
    (b"MThd", "a MIDI file"),
    (b"#!AMR", "an AMR file"),
    (b"caff", "a CAF file"),
    (b"FLV\x01", "a Flash video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (b"\x00\x00\x01\xba", "an MPEG programme stream"),
    (b"\x00\x00\x01\xb3", "an MPEG video stream"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"#EXTM3U", "a playlist"),
    (b"\x7fELF", "a program"),
)


def _container(path: Path, file: io.BufferedReader, head: bytes) -> Container:
    found = _identify(head)
    if found is None and head.startswith(b"ID3"):
        # A tag of any length may stand before MP3 frames or a FLAC stream.
        file.seek(_id3_length(head))
        after = file.read(16)
        found = Container.FLAC if after.startswith(b"fLaC") else Container.MP3
    if found is None:
        raise MediaError(
            f"{shown(path)}: {_what_it_is(head)}, which is not supported",
            hint=f"Convert it to one of {SUPPORTED}.",
        )
    return found


def _identify(head: bytes) -> Container | None:
    for magic, container in _PICTURE_MAGIC:
        if head.startswith(magic):
            return container
    if head[:4] in (b"RIFF", b"RF64"):
        return _RIFF.get(head[8:12])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return Container.BMP
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _PICTURE_BRANDS else Container.MP4
    if head[4:8] in _QUICKTIME_BOXES:
        return Container.MP4
    return Container.MP3 if _is_mp3_frame(head) else None


def _is_mp3_frame(head: bytes) -> bool:
    """Whether an MPEG audio frame begins here: sync, version, layer III, bit rate and sample rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bit_rate, sample_rate = head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and layer == 1 and bit_rate not in (0, 15) and sample_rate != 3


def _id3_length(head: bytes) -> int:
    """Bytes of an ID3v2 tag, header included; its size is four groups of seven bits."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size + 10


def _what_it_is(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return f"this is {_PICTURE_BRANDS[head[8:12]]}, a kind of picture"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "this is an AVI file"
    for magic, name in _UNSUPPORTED:
        if head.startswith(magic):
            return f"this is {name}"
    start = head.lstrip()[:200].lower()
    if b"<svg" in start:
        return "this is an SVG drawing"
    if start.startswith((b"<!doctype html", b"<html")):
        return "this is a web page"
    if len(head) < 4096 or b"\x00" not in head:
        with contextlib.suppress(UnicodeDecodeError):
            head[:-4].decode() if len(head) == 4096 else head.decode()
            if b"\x00" not in head:
                return "this is a text file"
    return "this is of a kind that was not recognised"


# ---------------------------------------------------------------------------- cut-off files


def missing_bytes(opened: OpenFile) -> int:
    """How many bytes the file's own layout says are missing at its end (0: none, or it does not say).

    Decoders forgive a missing end, which would pass half a clip for a whole one.
    """
    match opened.container:
        case Container.WAV | Container.WEBP:
            declared = int.from_bytes(opened.head[4:8], "little")
            # Recorders that write to a pipe cannot come back to fill in the size.
            unknown = declared in (0, 0xFFFFFFFF, 0x7FFFFFFF) or opened.head[:4] == b"RF64"
            missing = 0 if unknown else declared + 8 - opened.size
            return missing if missing > 8 else 0  # some writers count the header or a pad byte twice
        case Container.MP4:
            return _missing_in_boxes(opened)
        case Container.MATROSKA:
            return _missing_in_segment(opened)
        case Container.OGG:
            return _missing_in_last_page(opened)
        case _:
            return 0


def _missing_in_boxes(opened: OpenFile) -> int:
    """Walk the top-level boxes of an ISO base media file (ISO/IEC 14496-12, 4.2)."""
    position = 0
    for _ in range(100_000):  # fragmented files have two boxes a fragment
        opened.file.seek(position)
        header = opened.file.read(16)
        if len(header) < 8 or not all(32 <= byte < 127 for byte in header[4:8]):
            return 0
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:  # 0 means "up to the end of the file", the rest is no box
            return 0
        position += size
        if position >= opened.size:
            return position - opened.size
    return 0


def _missing_in_segment(opened: OpenFile) -> int:
    """Compare the size of a Matroska segment (RFC 9559) with the file."""
    header = _ebml_size(opened.head, 4)
    if header is None:
        return 0
    value, position = header
    position += value
    if opened.head[position : position + 4] != b"\x18\x53\x80\x67":
        return 0
    segment = _ebml_size(opened.head, position + 4)
    if segment is None:
        return 0
    value, position = segment
    return max(0, position + value - opened.size)


def _ebml_size(data: bytes, position: int) -> tuple[int, int] | None:
    """An EBML variable-size integer (RFC 8794, 4): its value and where it ends; None where it is unknown."""
    if position >= len(data) or data[position] == 0:
        return None
    length = 9 - data[position].bit_length()
    raw = int.from_bytes(data[position : position + length], "big")
    value = raw & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else (value, position + length)


def _missing_in_last_page(opened: OpenFile) -> int:
    """Whether the last page of an Ogg stream is complete (RFC 3533, 6); a page has at most 65,307 bytes."""
    start = max(0, opened.size - 65_307)
    opened.file.seek(start)
    tail = opened.file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return 27 - (len(tail) - at) if at >= 0 else 0
    segments = tail[at + 26]
    lacing = tail[at + 27 : at + 27 + segments]
    if len(lacing) < segments:
        return segments - len(lacing)
    return at + 27 + segments + sum(lacing) - len(tail)
