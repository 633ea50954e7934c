"""Media that are broken or made to do harm: each is an error of its row, and the job goes on."""

from __future__ import annotations

import base64
import io
import os
import struct
import wave
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, data: bytes = b"", *, more: bytes = b"", kind: int = 2, bits: int = 8
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def picture(kind: str, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def sound(frames: int = 8000, rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * frames))
    return buffer.getvalue()


def flac(seconds: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(seconds * 8000, np.float32), 8000, format="FLAC")
    return buffer.getvalue()


def box(name: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I", len(body) + 8 if size is None else size) + name + body


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


FTYP = box(b"ftyp", b"isom\0\0\0\0isom")
ZEROS = zlib.compress(bytes(50_000_000), 9)  # 50 kB that unpack to 50 MB
JPEG, WAV, GIF, BMP, WEBP = picture("JPEG"), sound(), picture("GIF"), picture("BMP"), picture("WEBP")
PNG = picture("PNG")

FILES: dict[str, bytes | Callable[[], bytes]] = {
    "empty": b"",
    "one byte": b"\x89",
    "zeros": bytes(5000),
    "text": b"hello, this is no picture\n",
    "json": b'{"a": 1}',
    "page": b"<!DOCTYPE html><script>alert(1)</script>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "xml with entities": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "playlist": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
    "list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "session description": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\x03\x04" + bytes(60),
    "gzip": b"\x1f\x8b\x08" + bytes(60),
    "program": b"\x7fELF" + bytes(60),
    "tiff": b"II*\0" + struct.pack("<I", 8) + bytes(40),
    "icon": b"\0\0\1\0\1\0" + bytes(40),
    "avi": b"RIFF\0\1\0\0AVI LIST",
    "heic": box(b"ftyp", b"heic\0\0\0\0"),
    "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x94",
    # pictures
    "png: start alone": PNG[:8],
    "png: header alone": PNG[:33],
    "png: half": PNG[: len(PNG) // 2],
    "png: of 60,000 squared": png(60_000, 60_000),
    "png: of 4 billion": png(2**31 - 1, 2**31 - 1),
    "png: of no width": png(0, 10, zlib.compress(b"")),
    "png: too few rows": png(500, 500, zlib.compress(bytes(1000))),
    "png: no deflate": png(10, 10, b"\xff" * 50),
    "png: wrong bits": png(10, 10, zlib.compress(bytes(400)), bits=7),
    "png: wrong colours": png(10, 10, zlib.compress(bytes(400)), kind=5),
    "png: text that unpacks": lambda: png(10, 10, b"", more=chunk(b"zTXt", b"a\0\0" + ZEROS)),
    "png: profile that unpacks": lambda: png(10, 10, b"", more=chunk(b"iCCP", b"a\0\0" + ZEROS)),
    "png: chunk of 2 GB": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR" + bytes(40),
    "jpeg: start alone": JPEG[:4],
    "jpeg: half": JPEG[: len(JPEG) // 2],
    "jpeg: of 65,535 squared": patched(JPEG, JPEG.index(b"\xff\xc0") + 5, b"\xff\xff\xff\xff"),
    "jpeg: segments without end": b"\xff\xd8" + b"\xff\xe1\xff\xff" * 500,
    "gif: start alone": GIF[:6],
    "gif: half": GIF[: len(GIF) // 2],
    "gif: of 65,535 squared": patched(GIF, 6, b"\xff\xff\xff\xff"),
    "webp: half": WEBP[: len(WEBP) // 2],
    "webp: another size": patched(WEBP, 4, struct.pack("<I", 2**31)),
    "webp: nothing in it": b"RIFF\x04\0\0\0WEBP",
    "bmp: of 2 billion": patched(BMP, 18, struct.pack("<ii", 2**31 - 1, 2**31 - 1)),
    "bmp: half": BMP[: len(BMP) // 2],
    # sounds
    "wav: start alone": WAV[:12],
    "wav: half": WAV[: len(WAV) // 2],
    "wav: no channels": patched(WAV, 22, b"\0\0"),
    "wav: 65,535 channels": patched(WAV, 22, b"\xff\xff"),
    "wav: no rate": patched(WAV, 24, bytes(4)),
    "wav: no samples": sound(0),
    "wav: 17 minutes": lambda: sound(1020 * 8000, 8000),
    "wav: unknown coding": patched(WAV, 20, b"\x34\x12"),
    "flac: 17 minutes in little": lambda: flac(1020),
    "flac: start alone": b"fLaC\0\0",
    "ogg: start alone": b"OggS\0\2" + bytes(21),
    "mp3: one frame's head": b"\xff\xfb\x90\x64",
    "mp3: a tag of 256 MB": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(100),
    # clips
    "mp4: type alone": FTYP,
    "mp4: a box of 4 GB": FTYP + box(b"moov", b"", 2**32 - 1),
    "mp4: a box of 2^63": FTYP + struct.pack(">I4sQ", 1, b"moov", 2**63),
    "mp4: boxes in boxes": FTYP + b"".join(struct.pack(">I", 16_000 - 8 * n) + b"moov" for n in range(2000)),
    "mp4: empty boxes": FTYP + box(b"free") * 50_000,
    "mkv: start alone": b"\x1a\x45\xdf\xa3\x93",
    "mkv: a size of 2^56": b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xfe" + bytes(40),
    "webm: nothing in it": b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm" + b"\x18\x53\x80\x67\x80",
}
PLACES = {
    "missing": "nowhere.png",
    "climbing": "../outside.png",
    "climbing by a link": "link.png",
    "absolute": "/etc/passwd",
    "this process": "/proc/self/mem",
    "a device": "/dev/zero",
    "a link to a device": "zero.png",
    "a pipe": "pipe",
    "a folder": ".",
    "a link in a circle": "circle.png",
    "a name with a null": "a\0b",
    "a name without end": "x" * 5000,
    "the cloud's own address": "http://169.254.169.254/latest/meta-data/",
    "this machine": "http://localhost/a.png",
    "another protocol": "gopher://example.org/a.png",
}


def uris(folder: Path) -> Iterator[tuple[str, str]]:
    (folder.parent / "outside.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "circle.png").symlink_to("circle.png")
    os.mkfifo(folder / "pipe")
    yield from PLACES.items()
    for number, (name, data) in enumerate(FILES.items()):
        path = folder / f"{number}.png"
        path.write_bytes(data() if callable(data) else data)
        yield name, path.name
    for name in ("png: half", "wav: half", "text"):
        data = FILES[name]
        assert isinstance(data, bytes)
        yield f"{name}, in the row", "data:image/png;base64," + base64.b64encode(data).decode()


def test_the_corpus_is_large() -> None:
    assert len(FILES) + len(PLACES) >= 60


@pytest.mark.slow
def test_each_is_a_clear_error_of_its_row_and_the_job_goes_on(bench, row, pixel) -> None:
    (bench.folder / "rows").mkdir()
    bench.jobs = bench.folder / "rows" / "jobs.jsonl"
    named = dict(uris(bench.jobs.parent))
    rows = [row(name, "say", media=[uri]) for name, uri in named.items()]
    bench.write([row("first", "say", media=[pixel]), *rows, row("last", "say", media=[pixel])])
    end = bench.finish()
    assert bench.ids() == ["first", "last"]
    causes = {entry["id"]: entry["cause"] for entry in bench.errors}
    assert set(causes) == set(named)
    assert end.left == 0
    for name, entry in zip(causes, bench.errors, strict=True):
        assert entry["hint"], name
        assert causes[name].isprintable(), name
        assert len(causes[name]) < 400, name
        assert entry["kind"] in ("MediaError", "DataError"), name
