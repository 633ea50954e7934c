"""Media that evaluation gives: named by URIs of Toybox, and rendered whenever they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from modaverse.context import Media, Modality
from modaverse.interfaces import Decoded, Pixels
from modaverse.media import decode, write_media
from modaverse.toybox.uris import modality_of, resolve, scene_of, unknown_uri, uri_of
from modaverse.toybox.wordings.wishes import AnyScene

FIRST_SEED = 7_001_000_000
"""Seeds of renders begin here, so that none is one that anything was trained on."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """A medium by its URI; what differs in its seed differs in all that its scene leaves open."""

    uri: str

    @property
    def modality(self) -> Modality:
        return modality_of(self.uri)

    @property
    def scene(self) -> AnyScene | None:
        """What it shows; None where that is nothing of Toybox."""
        return scene_of(self.uri)


def fresh(scene: AnyScene, number: int) -> Specimen:
    """Render `number` of a scene."""
    return Specimen(uri_of(scene, FIRST_SEED + number))


def foreign(modality: Modality, number: int) -> Specimen:
    """Something that Toybox does not have, of a kind that no training saw."""
    return Specimen(unknown_uri(modality, "held_out", FIRST_SEED + number))


def spoilt(modality: Modality, number: int) -> Specimen:
    """A render that was spoilt until nothing is left to recognise."""
    return Specimen(unknown_uri(modality, "spoilt", FIRST_SEED + number))


def make(specimen: Specimen) -> Decoded:
    return resolve(specimen.uri)


def written(specimen: Specimen, folder: Path) -> Media:
    """A specimen as a file, as a user would send it."""
    return write_media(make(specimen), folder)


def as_kept(decoded: Decoded) -> Decoded:
    """What is left of a medium once it was written and read again: clips are compressed with loss, and sound
    has 16 bits. Pictures come back as they are."""
    if isinstance(decoded, Pixels):
        return decoded
    with TemporaryDirectory(prefix="modaverse-") as folder:
        return decode(write_media(decoded, folder))


def given(parts: Sequence[object]) -> list[Specimen]:
    """The media among the parts of a request."""
    return [part for part in parts if isinstance(part, Specimen)]
