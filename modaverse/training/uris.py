"""What the `uri` of a medium in a row stands for: a file, or something that is made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from modaverse.errors import DataError
from modaverse.interfaces import Decoded

RESOLVERS = {"toybox": "modaverse.toybox.uris:resolve"}
"""Scheme → "module:function", imported when first used."""


def resolve(uri: str, folder: Path) -> Path | Decoded:
    """A path (relative ones count from `folder`, where the rows lie), or a decoded medium.

    Raises:
        DataError: the URI's scheme is unknown, or it names what does not exist.
    """
    scheme, colon, rest = uri.partition(":")
    if colon and scheme in RESOLVERS:
        module, _, name = RESOLVERS[scheme].partition(":")
        make: Callable[[str], Decoded] = getattr(import_module(module), name)
        return make(uri)
    if rest.startswith("//"):
        raise DataError(
            f"{uri!r}: media are not fetched from {scheme}", hint="Download the file and give its path."
        )
    return folder / uri
