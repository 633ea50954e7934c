"""WebDataset tars: members with one stem are one sample, a medium with its caption (.txt, or in .json).

A tar is read as a stream, once, and nothing in it is believed: what a member is called decides only which
members belong together, never where anything is written. A medium is known by its content, checked within
limits, and kept under its hash. Links, devices and whatever else is no plain file are passed over.
"""

from __future__ import annotations

import json
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modaverse.data.captions import Captioned
from modaverse.data.entries import Places
from modaverse.errors import DataError, InputError
from modaverse.media import MediaLimits, media_from_bytes
from modaverse.media.files import shown

MAX_TEXT = 2**20
"""Bytes of a caption's member."""

_TEXT = ("txt", "json")
MEDIA = frozenset(
    {"png", "jpg", "jpeg", "webp", "gif", "bmp", "wav", "flac", "mp3", "ogg", "mp4", "mov", "webm", "mkv"}
)
"""Suffixes of members that are tried as media; which kind they are is read from their content."""

_CAPTIONS = ("caption", "captions", "text", "title")
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


@dataclass
class _Sample:
    key: str
    captions: list[str] = field(default_factory=list)
    uris: list[str] = field(default_factory=list)


def read_tar(
    path: Path, places: Places, limits: MediaLimits | None = None
) -> Iterator[Captioned | InputError]:
    """Samples of a tar, compressed or not. Media are written to `media/` in the folder of the rows.

    Raises:
        DataError: the file is no tar, or is cut off; what came before was given.
        StorageError: a medium cannot be written.
    """
    limits = limits or MediaLimits()
    sample: _Sample | None = None
    for name, data in _members(path, limits):
        where = f"{shown(path)}: {shown(name)}"
        key, suffix = _split(name)
        if sample is None or key != sample.key:
            if sample is not None:
                yield _captioned(sample, path)
            sample = _Sample(key)
        try:
            if isinstance(data, DataError):
                raise data
            if suffix in _TEXT:
                sample.captions += _captions(data, suffix, where)
            else:
                media = media_from_bytes(data, places.out / "media", limits=limits)
                sample.uris.append(f"media/{media.path.name}")
        except InputError as error:
            yield DataError(error.message.replace("media given as bytes", where), hint=error.hint)
    if sample is not None:
        yield _captioned(sample, path)


def _members(path: Path, limits: MediaLimits) -> Iterator[tuple[str, bytes | DataError]]:
    """Names and contents of plain files, in the order in which they lie there."""
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if not member.isreg():
                    continue
                suffix = _split(member.name)[1]
                if suffix not in MEDIA and suffix not in _TEXT:
                    continue
                bound = MAX_TEXT if suffix in _TEXT else limits.max_bytes
                if member.size > bound:
                    yield member.name, _too_large(path, member, bound)
                    continue
                file = archive.extractfile(member)
                data = b"" if file is None else file.read()
                if len(data) != member.size:
                    raise tarfile.ReadError("it is cut off")
                yield member.name, data
                # tarfile remembers them all, and there may be millions.
                archive.members = []  # type: ignore[attr-defined]
            # tarfile takes a header that breaks off for the end. A tar consists of blocks of 512 bytes.
            if getattr(archive.fileobj, "comptype", "") == "tar" and path.stat().st_size % tarfile.BLOCKSIZE:
                raise tarfile.ReadError("it is cut off")
    except _BROKEN as error:
        raise DataError(
            f"{shown(path)}: no tar that can be read to its end: {error}", hint="Download it again."
        ) from error


def _too_large(path: Path, member: tarfile.TarInfo, bound: int) -> DataError:
    return DataError(
        f"{shown(path)}: {shown(member.name)}: {member.size:,} bytes exceed the limit of {bound:,}",
        hint="Leave it out (--skip-wrong).",
    )


def _split(name: str) -> tuple[str, str]:
    """Stem and suffix of a member, as WebDataset has them: the stem ends at the base name's first dot."""
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower().rpartition(".")[2]


def _captions(data: bytes, suffix: str, where: str) -> list[str]:
    try:
        text = data.decode("utf-8")
        if suffix == "txt":
            return [line.strip() for line in text.splitlines() if line.strip()]
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {error}", hint="Captions are text or JSON, in UTF-8.") from error
    if not isinstance(value, dict):
        return []
    found: object = next((value[name] for name in _CAPTIONS if value.get(name)), [])
    listed = found if isinstance(found, list) else [found]
    return [" ".join(item.split()) for item in listed if isinstance(item, str) and item.strip()]


def _captioned(sample: _Sample, path: Path) -> Captioned | InputError:
    where = f"{shown(path)}: {shown(sample.key)}"
    if len(sample.uris) != 1 or not sample.captions:
        what = f"{len(sample.uris)} media and {len(sample.captions)} captions"
        return DataError(f"{where}: {what}", hint="A sample is one medium and at least one caption.")
    return Captioned(sample.uris[0], tuple(dict.fromkeys(sample.captions)), where)
