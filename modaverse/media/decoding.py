"""From a file to `Media`, and from `Media` to pixels, frames or samples, within `MediaLimits`.

Limits are checked twice: against what the header announces, before anything is allocated, and against
what really comes out, since headers lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from modaverse.context import Media, Modality
from modaverse.interfaces import Decoded
from modaverse.media.clips import decode_video
from modaverse.media.containers import Container
from modaverse.media.files import MediaLimits, open_file
from modaverse.media.kinds import kind
from modaverse.media.pictures import decode_image, open_picture
from modaverse.media.sound import check_sound, decode_audio, open_sound
from modaverse.media.streams import check_duration, open_stream

_DEFAULT = MediaLimits()


def sniff(path: Path | str) -> tuple[Modality, str]:
    """The modality and MIME type of a file, read from its content.

    Raises:
        MediaError: the file cannot be used.
    """
    with open_file(path, _DEFAULT) as opened:
        return kind(opened, _DEFAULT)


def read_media(path: Path | str, *, limits: MediaLimits = _DEFAULT) -> Media:
    """A file as `Media`: sniffed, hashed, and checked as far as its header goes.

    Raises:
        MediaError: the file cannot be used, or announces more than `limits` allows.
    """
    with open_file(path, limits) as opened:
        modality, mime = kind(opened, limits)
        if modality is Modality.IMAGE:
            with open_picture(opened, limits):
                pass  # its header was read and checked
        elif opened.container in (Container.WAV, Container.FLAC):
            with open_sound(opened) as sound:
                check_sound(opened, sound, limits)
        else:
            with open_stream(opened, limits) as container:
                check_duration(opened, container, limits)
        opened.file.seek(0)
        digest = hashlib.file_digest(opened.file, "sha256").hexdigest()
    return Media(modality, Path(path), mime, digest)


def decode(media: Media, limits: MediaLimits = _DEFAULT) -> Decoded:
    """What is in a medium, by its modality.

    Raises:
        MediaError: the file cannot be decoded within `limits`.
    """
    decoders: dict[Modality, Callable[[Path, MediaLimits], Decoded]] = {
        Modality.IMAGE: decode_image,
        Modality.VIDEO: decode_video,
        Modality.AUDIO: decode_audio,
    }
    return decoders[media.modality](media.path, limits)
