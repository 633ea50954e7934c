"""Results by everything that decides them, so that nothing is generated twice.

The key is a hash over the generator's fingerprint (card, weights, precision, device, library versions,
threads), the name of the call, the prompt, the seed, the options and the source's hash. A result is a file
and an entry that names it; both are written under a temporary name and renamed, so that a killed process
leaves no half entry, and a file whose content has changed since is not served.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

from modaverse.context import Media, Modality
from modaverse.interfaces import GenerationRequest

_log = logging.getLogger(__name__)


def request_key(request: GenerationRequest, fingerprint: str | None) -> str | None:
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
        if media is None or not _intact(media):
            media = self._read(key)
        if media is None:
            return None
        try:
            here = into / media.path.name
            if here != media.path:
                _copy(media.path, here)
            return Media(media.modality, here, media.mime, media.sha256)
        except OSError as error:
            _log.warning("cannot copy %s from the cache: %s", media.path, error)
            return None

    def keep(self, key: str | None, media: Media) -> None:
        """Remember a result. A cache that cannot be written to costs a warning, never the result."""
        if key is None:
            return
        self._known[key] = media
        if self._folder is None:
            return
        try:
            _copy(media.path, self._folder / media.path.name)
            entry = {
                "file": media.path.name,
                "modality": media.modality.value,
                "mime": media.mime,
                "sha256": media.sha256,
            }
            _write(self._folder / f"{key}.json", json.dumps(entry).encode())
        except OSError as error:
            _log.warning("cannot keep %s in the cache: %s", media.path, error)

    def _read(self, key: str) -> Media | None:
        if self._folder is None:
            return None
        try:
            entry = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
            path = self._folder / Path(entry["file"]).name
            media = Media(Modality(entry["modality"]), path, str(entry["mime"]), str(entry["sha256"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return media if _intact(media) else None


def _intact(media: Media) -> bool:
    try:
        with media.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == media.sha256
    except OSError:
        return False


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            with source.open("rb") as original:
                shutil.copyfileobj(original, file)
            _settle(file.fileno(), file.name, target)


def _write(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        file.write(content)
        file.flush()
        _settle(file.fileno(), file.name, target)


def _settle(number: int, name: str, target: Path) -> None:
    os.fsync(number)
    os.replace(name, target)
