"""Values that travel with the content of their media, so that machines need share no files.

A medium that arrives is written into a folder of the machine where it is used. It is the same medium, by
its hash; only its path differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from modaverse.batch.values import Outcome, Request
from modaverse.context import Media
from modaverse.errors import MediaError
from modaverse.interfaces import GenerationRequest
from modaverse.media import write_copy

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Parcel(Generic[V]):
    """A value, and the content of its media by their hashes."""

    value: V
    contents: Mapping[str, bytes]

    def put(self, medium: Media, folder: Path) -> Media:
        """One of the media as a file in `folder`.

        Raises:
            MediaError: the content is another one by now.
            StorageError: it cannot be written.
        """
        return write_copy(medium, self.contents[medium.sha256], folder)


def pack(value: V, media: Iterable[Media]) -> Parcel[V]:
    """
    Raises:
        MediaError: a medium cannot be read any more.
    """
    contents = {}
    for medium in media:
        try:
            contents[medium.sha256] = medium.path.read_bytes()
        except OSError as error:
            raise MediaError(
                f"{medium.path}: it cannot be read any more ({error.strerror or error})",
                hint="Leave media where they are until the job is finished.",
            ) from error
    return Parcel(value, contents)


def pack_request(request: Request) -> Parcel[Request]:
    """
    Raises:
        MediaError: a medium cannot be read any more.
    """
    return pack(request, (part for part in request.parts if isinstance(part, Media)))


def unpack_request(parcel: Parcel[Request], folder: Path) -> Request:
    """
    Raises:
        MediaError: a medium was changed since it was looked at.
        StorageError: a medium cannot be written.
    """
    parts = parcel.value.parts
    return replace(
        parcel.value,
        parts=tuple(parcel.put(part, folder) if isinstance(part, Media) else part for part in parts),
    )


def pack_call(call: GenerationRequest) -> Parcel[GenerationRequest]:
    """
    Raises:
        MediaError: what it starts from cannot be read any more.
    """
    return pack(call, () if call.source is None else (call.source,))


def unpack_call(parcel: Parcel[GenerationRequest], folder: Path) -> GenerationRequest:
    """
    Raises:
        StorageError: what it starts from cannot be written.
    """
    call = parcel.value
    return call if call.source is None else replace(call, source=parcel.put(call.source, folder))


def pack_outcome(outcome: Outcome) -> Parcel[Outcome]:
    """With what was made; the request's own media are where the request came from."""
    return pack(outcome, () if outcome.reply is None else outcome.reply.media)


def unpack_outcome(parcel: Parcel[Outcome], request: Request, folder: Path) -> Outcome:
    """An outcome whose media are those of the `request` as it was sent, and what was made, in `folder`.

    Raises:
        StorageError: what was made cannot be written.
    """
    outcome = parcel.value
    if outcome.reply is None:
        return outcome
    record = tuple(
        parcel.put(part, folder) if isinstance(part, Media) else part for part in outcome.reply.record
    )
    return replace(outcome, reply=replace(outcome.reply, request=request.parts, record=record))
