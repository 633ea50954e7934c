"""Which modality a file is, and the MIME type that goes with it."""

from __future__ import annotations

from modaverse.context import Modality
from modaverse.media.containers import PICTURES, Container
from modaverse.media.files import MediaLimits, OpenFile
from modaverse.media.streams import moving_pictures, open_stream

_NAMES = {Modality.IMAGE: "a picture", Modality.VIDEO: "a clip", Modality.AUDIO: "a sound"}


def kind(opened: OpenFile, limits: MediaLimits) -> tuple[Modality, str]:
    """Modality and MIME type; containers that hold either clips or sound are opened for this."""
    container = opened.container
    if container in PICTURES:
        return Modality.IMAGE, f"image/{container.value}"
    if container in (Container.WAV, Container.FLAC):
        return Modality.AUDIO, f"audio/{container.value}"
    if container is Container.MP3:
        return Modality.AUDIO, "audio/mpeg"
    with open_stream(opened, limits) as probed:
        modality = Modality.VIDEO if moving_pictures(probed) else Modality.AUDIO
    if container is Container.OGG:
        return modality, f"{modality.value}/ogg"
    if modality is Modality.AUDIO and container is Container.MP4:
        return modality, "audio/mp4"
    name = {"MP4": "mp4", "MOV": "quicktime", "WebM": "webm", "MKV": "x-matroska"}[opened.label]
    return modality, f"{modality.value}/{name}"


def require(opened: OpenFile, wanted: Modality, limits: MediaLimits) -> None:
    """Raise a `MediaError` unless the file is of the modality that is `wanted`."""
    modality, _ = kind(opened, limits)
    opened.file.seek(0)
    if modality is not wanted:
        raise opened.error(
            f"this is {_NAMES[modality]}, but {_NAMES[wanted]} was expected", f"Give {_NAMES[wanted]} here."
        )
