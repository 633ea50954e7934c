"""Media files: what they are, what is in them, and how new ones are written.

    sniff(path)        the modality and MIME type, from the content and never from the name
    read_media(path)   the same, with every check that needs no decoding, as a `Media` with its hash
    decode(media)      pixels, frames or samples, never more than `MediaLimits` allows
    write_media(...)   PNG, 16-bit WAV or H.264 MP4: the same values give the same bytes and the same name
    write_copy(...)    content that came from another machine
    as_media(...)      whatever a caller may hand in (path, bytes, PIL picture, array) as a `Media`

Read are .png .jpg .webp .gif .bmp, .wav .flac .mp3 .ogg, .mp4 .mov .webm .mkv. A file of the last four
without a moving picture is sound. Of an animated GIF or WebP the first frame counts: it is a picture.
"""

from __future__ import annotations

from modaverse.media.clips import decode_video
from modaverse.media.decoding import decode, read_media, sniff
from modaverse.media.files import MediaLimits
from modaverse.media.pictures import decode_image
from modaverse.media.sound import decode_audio
from modaverse.media.writing import (
    as_media,
    media_from_array,
    media_from_bytes,
    media_from_pil,
    write_bytes,
    write_copy,
    write_media,
)

__all__ = [
    "MediaLimits",
    "as_media",
    "decode",
    "decode_audio",
    "decode_image",
    "decode_video",
    "media_from_array",
    "media_from_bytes",
    "media_from_pil",
    "read_media",
    "sniff",
    "write_bytes",
    "write_copy",
    "write_media",
]
