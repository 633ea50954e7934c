"""From the media that a row names to files that were looked at."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from modaverse.batch.fetch import Fetcher
from modaverse.batch.values import MediaRef
from modaverse.context import Media
from modaverse.errors import InputError, MediaError
from modaverse.media import MediaLimits, as_media, media_from_bytes
from modaverse.media.files import shown
from modaverse.training.uris import RESOLVERS, resolve

_DATA = re.compile(r"data:[^,]{0,200}?(?P<base64>;base64)?,", re.IGNORECASE)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):")


class References:
    """Opens media for the rows of one file.

    Paths are relative to `base`, the file's folder, and must lie below `root` when all links and `..` are
    resolved. What is no file already is kept in `folder`. `read` opens a file and finds out what it is.
    """

    def __init__(
        self,
        base: Path,
        folder: Path,
        *,
        root: Path | None,
        limits: MediaLimits,
        fetcher: Fetcher,
        read: Callable[[Path], Media],
    ) -> None:
        self._base = base.resolve()
        self._root = (root or base).resolve()
        self._folder = folder
        self._limits = limits
        self._fetcher = fetcher
        self._read = read

    def check(self, ref: MediaRef) -> None:
        """Find out whether there is something to open, without opening it.

        Raises:
            InputError: there is not, or it may not be opened.
        """
        match _kind(ref.uri):
            case "data":
                self._decoded(ref.uri)
            case "http" | "https":
                self._fetcher.check(ref.uri)
            case "file" | "":
                self._path(ref.uri)
            case scheme if scheme not in RESOLVERS:
                resolve(ref.uri, self._base)  # which says that nothing is fetched from there

    def open(self, ref: MediaRef) -> Media:
        """The medium, which was decoded once and is sound.

        Raises:
            InputError: it cannot be used.
            StorageError: it cannot be kept in the folder.
        """
        match _kind(ref.uri):
            case "data":
                return self._keep(self._decoded(ref.uri), ref)
            case "http" | "https":
                return self._keep(self._fetcher.fetch(ref.uri), ref)
            case "file" | "":
                return self._read(self._path(ref.uri))
            case _:
                return as_media(resolve(ref.uri, self._base), self._folder, limits=self._limits)

    def _keep(self, data: bytes, ref: MediaRef) -> Media:
        try:
            return media_from_bytes(data, self._folder, limits=self._limits, read=self._read)
        except InputError as error:
            message = error.message.replace("media given as bytes", str(ref), 1)
            raise type(error)(message, hint=error.hint) from error

    def _path(self, uri: str) -> Path:
        if _kind(uri) == "file":
            uri = unquote(urlsplit(uri).path)
        try:
            path = (self._base / uri).resolve()
            if not path.is_relative_to(self._root):
                raise MediaError(
                    f"{shown(uri)}: it lies outside of {shown(self._root)}",
                    hint="Media lie below the folder of the rows, or below --media-root.",
                )
            status = path.stat()
        except FileNotFoundError:
            raise MediaError(
                f"{shown(uri)}: no such file", hint=f"Paths count from {shown(self._base)}."
            ) from None
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise MediaError(
                f"{shown(uri)[:200]}: the file cannot be opened ({reason})",
                hint="Give the path of a media file.",
            ) from None
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f"{shown(uri)}: this is no regular file", hint="Give the path of a media file.")
        if not os.access(path, os.R_OK):
            raise MediaError(f"{shown(uri)}: the file may not be read", hint="Change its permissions.")
        return path

    def _decoded(self, uri: str) -> bytes:
        """What a `data:` URI holds (RFC 2397)."""
        found = _DATA.match(uri)
        if found is None:
            raise MediaError(f"{uri[:60]!r} is no data URI", hint="Write data:TYPE;base64,DATA.")
        if len(uri) > 3 * self._limits.max_bytes:
            raise MediaError(
                f"{uri[:60]}…: it has more than {self._limits.max_bytes / 1e6:,.1f} MB",
                hint="Give a smaller version, or raise the media limit max_bytes.",
            )
        payload = uri[found.end() :]
        if not found["base64"]:
            return unquote_to_bytes(payload)
        try:
            return base64.b64decode("".join(payload.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise MediaError(f"{uri[:60]}…: no base64 ({error})", hint="Encode the file again.") from None


def _kind(uri: str) -> str:
    """The scheme of a URI, or nothing for a path. A path may have a colon in it."""
    found = _SCHEME.match(uri)
    scheme = found["scheme"].lower() if found else ""
    known = scheme in ("data", "file") or scheme in RESOLVERS or uri[len(scheme) + 1 :].startswith("//")
    return scheme if known else ""
