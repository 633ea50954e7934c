"""Results by everything that decides them, so that nothing is generated twice.

The key is a hash over the generator's fingerprint (card, weights, precision, processor, library versions,
threads), the name of the call, the prompt, the seed, the options, the source's hash, and how many calls may
share a run. A result is a file and an entry that names it; both appear whole or not at all, and a file whose
content has changed since is not served.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
from pathlib import Path

from modaverse.context import Media, Modality
from modaverse.errors import StorageError
from modaverse.interfaces import GenerationRequest
from modaverse.media import write_bytes

_log = logging.getLogger(__name__)


def request_key(request: GenerationRequest, fingerprint: str | None, *, batch: int = 1) -> str | None:
    """The cache key, or None where the generator does not say what it is."""
    if fingerprint is None:
        return None
    deciding = {
        "fingerprint": fingerprint,
        "model": request.model,
        "prompt": request.prompt,
        "seed": request.seed,
        "options": dict(request.options),
        "source": request.source.sha256 if request.source else None,
        "batch": batch,
    }
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


class ResultCache:
    """Results of this process, and of earlier ones where there is a `folder`. Safe to use from any thread."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, Media] = {}

    def find(self, key: str | None, into: Path) -> Media | None:
        """The result of an equal request, with its file in the folder `into`; None where there is none."""
        if key is None:
            return None
        media = self._known.get(key)
        content = None if media is None else _content(media.path, media.sha256)
        if content is None:
            media = self._read(key)
            content = None if media is None else _content(media.path, media.sha256)
        if media is None or content is None:
            return None
        here = into / media.path.name
        try:
            _put(media.path, content, media.sha256, here)
        except StorageError as error:
            _log.warning("cannot take %s from the cache: %s", media.path, error)
            return None
        return Media(media.modality, here, media.mime, media.sha256)

    def keep(self, key: str | None, media: Media) -> None:
        """Remember a result. A cache that cannot be written to costs a warning, never the result."""
        if key is None:
            return
        self._known[key] = media
        content = None if self._folder is None else _content(media.path, media.sha256)
        if self._folder is None or content is None:
            return
        entry = {
            "file": media.path.name,
            "modality": media.modality.value,
            "mime": media.mime,
            "sha256": media.sha256,
        }
        try:
            _put(media.path, content, media.sha256, self._folder / media.path.name)
            write_bytes(json.dumps(entry).encode(), self._folder / f"{key}.json")
        except StorageError as error:
            _log.warning("cannot keep %s in the cache: %s", media.path, error)

    def _read(self, key: str) -> Media | None:
        if self._folder is None:
            return None
        try:
            entry = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
            path = self._folder / Path(entry["file"]).name
            return Media(Modality(entry["modality"]), path, str(entry["mime"]), str(entry["sha256"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None


def _content(path: Path, sha256: str) -> bytes | None:
    """What is in a file, if it is still what it was."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def _put(source: Path, content: bytes, sha256: str, target: Path) -> None:
    """See that `target` has the content of `source`: as another name of the same file where the file system
    can do that, which takes no time and no space, and otherwise as a copy.

    Raises:
        StorageError: it cannot be written.
    """
    if source == target or _content(target, sha256) is not None:
        return
    name = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, name)
        os.replace(name, target)
    except OSError:
        with contextlib.suppress(OSError):
            name.unlink()
        write_bytes(content, target)
