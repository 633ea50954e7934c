"""Telling from its first bytes what a file is, and from its layout whether it is whole, without decoding."""

from __future__ import annotations

import contextlib
import io
from enum import StrEnum

SUPPORTED = "PNG, JPEG, WebP, GIF, BMP, WAV, FLAC, MP3, OGG, MP4, MOV, WebM or MKV"


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


def identify(file: io.BufferedReader, head: bytes) -> Container | None:
    """The container of a file that starts with `head`; None where it is no supported one."""
    found = _identify(head)
    if found is None and head.startswith(b"ID3"):
        # A tag of any length may stand before MP3 frames or a FLAC stream.
        file.seek(_id3_length(head))
        return Container.FLAC if file.read(4) == b"fLaC" else Container.MP3
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


def what_it_is(head: bytes) -> str:
    """In words, for a file that is not supported."""
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


def missing_bytes(file: io.BufferedReader, container: Container, head: bytes, size: int) -> int:
    """How many bytes the file's own layout says are missing at its end (0: none, or it does not say).

    Decoders forgive a missing end, which would pass half a clip for a whole one.
    """
    match container:
        case Container.WAV | Container.WEBP:
            declared = int.from_bytes(head[4:8], "little")
            # Recorders that write to a pipe cannot come back to fill in the size.
            unknown = declared in (0, 0xFFFFFFFF, 0x7FFFFFFF) or head[:4] == b"RF64"
            missing = 0 if unknown else declared + 8 - size
            return missing if missing > 8 else 0  # some writers count the header or a pad byte twice
        case Container.MP4:
            return _missing_in_boxes(file, size)
        case Container.MATROSKA:
            return _missing_in_segment(head, size)
        case Container.OGG:
            return _missing_in_last_page(file, size)
        case Container.MP3:
            return _missing_after_xing(file, head, size)
        case _:
            return 0


def _missing_in_boxes(file: io.BufferedReader, end: int) -> int:
    """Walk the top-level boxes of an ISO base media file (ISO/IEC 14496-12, 4.2)."""
    position = 0
    for _ in range(100_000):  # fragmented files have two boxes a fragment
        file.seek(position)
        header = file.read(16)
        if len(header) < 8 or not all(32 <= byte < 127 for byte in header[4:8]):
            return 0
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:  # 0 means "up to the end of the file", the rest is no box
            return 0
        position += size
        if position >= end:
            return position - end
    return 0


def _missing_in_segment(head: bytes, end: int) -> int:
    """Compare the size of a Matroska segment (RFC 9559) with the file."""
    header = _ebml_size(head, 4)
    if header is None:
        return 0
    value, position = header
    position += value
    if head[position : position + 4] != b"\x18\x53\x80\x67":
        return 0
    segment = _ebml_size(head, position + 4)
    if segment is None:
        return 0
    value, position = segment
    return max(0, position + value - end)


def _ebml_size(data: bytes, position: int) -> tuple[int, int] | None:
    """An EBML variable-size integer (RFC 8794, 4): its value and where it ends; None where it is unknown."""
    if position >= len(data) or data[position] == 0:
        return None
    length = 9 - data[position].bit_length()
    raw = int.from_bytes(data[position : position + length], "big")
    value = raw & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else (value, position + length)


def _missing_in_last_page(file: io.BufferedReader, end: int) -> int:
    """Whether the last page of an Ogg stream is complete (RFC 3533, 6); a page has at most 65,307 bytes."""
    file.seek(max(0, end - 65_307))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return 27 - (len(tail) - at) if at >= 0 else 0
    segments = tail[at + 26]
    lacing = tail[at + 27 : at + 27 + segments]
    if len(lacing) < segments:
        return segments - len(lacing)
    return at + 27 + segments + sum(lacing) - len(tail)


def _missing_after_xing(file: io.BufferedReader, head: bytes, end: int) -> int:
    """Compare the byte count of a Xing or Info header, which most encoders write, with the file."""
    start = _id3_length(head) if head.startswith(b"ID3") else 0
    file.seek(start)
    frame = file.read(64)
    for name in (b"Xing", b"Info"):
        at = frame.find(name)
        if at < 0:
            continue
        file.seek(start + at + 4)
        flags = int.from_bytes(file.read(4), "big")
        if flags & 2:
            file.seek(4 * (flags & 1), io.SEEK_CUR)
            return max(0, start + int.from_bytes(file.read(4), "big") - end)
    return 0
