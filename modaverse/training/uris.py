"""What the `uri` of a medium in a row stands for: a file, or something that is made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from modaverse.errors import DataError
from modaverse.interfaces import Decoded

RESOLVERS = {"toybox": "modaverse.toybox.uris"}
"""Scheme → module, imported when first used. It has `resolve(uri) -> Decoded`, and `version() -> str`, which
changes when a URI may give another medium than before."""


def resolve(uri: str, folder: Path) -> Path | Decoded:
    """A path (relative ones count from `folder`, where the rows lie), or a decoded medium.

    Raises:
        DataError: the URI's scheme is unknown, or it names what does not exist.
    """
    scheme, colon, rest = uri.partition(":")
    if colon and scheme in RESOLVERS:
        make: Callable[[str], Decoded] = import_module(RESOLVERS[scheme]).resolve
        return make(uri)
    if rest.startswith("//"):
        raise DataError(
            f"{uri!r}: media are not fetched from {scheme}", hint="Download the file and give its path."
        )
    return folder / uri


def version(scheme: str) -> str:
    """Of what makes the media of a registered scheme."""
    tell: Callable[[], str] = import_module(RESOLVERS[scheme]).version
    return tell()
