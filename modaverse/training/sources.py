"""Where the media of rows come from: what identifies them, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modaverse.context import Media, Modality
from modaverse.errors import DataError, MediaError
from modaverse.interfaces import Decoded
from modaverse.media import MediaLimits, decode, read_media
from modaverse.media.files import shown
from modaverse.training.uris import RESOLVERS, resolve, version

_MISSING = "Paths count from the folder of the rows, or in other formats from that of the file (--media)."


@dataclass(frozen=True, slots=True)
class Source:
    """One medium of a row.

    `identity` stands for its content: the hash of a file's bytes, or the URI of what is made on the spot
    with the version of what makes it.
    `where` names the row in messages ("data.jsonl:7"). `file` is None for what no file holds.
    """

    identity: str
    modality: Modality
    where: str
    uri: str
    file: Media | None
    limits: MediaLimits

    def decode(self) -> Decoded:
        """Its pixels, frames or samples.

        Raises:
            MediaError: the file cannot be decoded.
        """
        if self.file is not None:
            return decode(self.file, self.limits)
        made = resolve(self.uri, Path())
        if isinstance(made, Path) or made.modality is not self.modality:
            raise MediaError(f"{self.uri} is no {self.modality}", hint="Name another medium in the row.")
        return made


class SourceReader:
    """Finds sources by URI; each file is opened and hashed once."""

    def __init__(self, limits: MediaLimits | None = None) -> None:
        self._limits = limits or MediaLimits()
        self._files: dict[Path, Media] = {}

    def read(self, uri: str, folder: Path, where: str) -> Source:
        """The source that `uri` names, in a row whose file lies in `folder`.

        Raises:
            MediaError: the file is missing, or is no medium that can be read.
            DataError: the URI is none.
        """
        scheme, _, rest = uri.partition(":")
        if scheme in RESOLVERS:
            identity = f"{uri}#{version(scheme)}"
            return Source(identity, _modality(uri, rest, where), where, uri, None, self._limits)
        try:
            path = resolve(uri, folder)
            if not isinstance(path, Path):
                raise DataError(f"{uri!r} is no path", hint="Name a file.")
            if not path.exists():
                raise MediaError(f"{shown(path)}: no such file", hint=_MISSING)
            if path not in self._files:
                self._files[path] = read_media(path, limits=self._limits)
        except (MediaError, DataError) as error:
            raise type(error)(f"{where}: {error.message}", hint=error.hint) from error
        media = self._files[path]
        return Source(media.sha256, media.modality, where, uri, media, self._limits)


def _modality(uri: str, rest: str, where: str) -> Modality:
    """What a registered URI names: its modality stands between the scheme and the question mark."""
    name = rest.partition("?")[0]
    if name not in list(Modality):
        raise DataError(
            f"{where}: {uri!r} names no medium: {name!r} is no modality",
            hint=f"After the colon stands {', '.join(Modality)}.",
        )
    return Modality(name)
