"""Features of media, computed once: the encoder is frozen, so what it says of a medium never changes.

They lie in a folder for each version of the encoder, in files of many features. A file is written whole under
a temporary name, synchronised and renamed, so that one which is there is complete: a process that is killed
loses what it had not written yet, and several processes may write side by side.

Legend: n features, d their width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file

from modaverse.context import Modality
from modaverse.errors import MediaError, StorageError
from modaverse.imagebind.encoder import ImageBindEncoder
from modaverse.imagebind.version import modality_version
from modaverse.interfaces import Decoded
from modaverse.training.sources import Source

_log = logging.getLogger(__name__)

SHARD_ROWS = 4096
SHARD_SECONDS = 60.0
"""A file is written when it has so many features, or when so much work would be lost."""

Report = Callable[[int, int], None]
"""Told (done, of all)."""


def default_folder() -> Path:
    """The user's cache: $XDG_CACHE_HOME/modaverse/features, by default in ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "modaverse" / "features"


class FeatureStore:
    """Features (d,) of one version of an encoder, by the identity of their medium.

    Raises:
        StorageError: the folder cannot be used.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim
        self._shards: dict[str, np.ndarray] = {}
        self._places: dict[bytes, tuple[str, int]] = {}
        self._new: dict[bytes, np.ndarray] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take up what this and other processes have written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = sorted(path.name for path in self.folder.glob("*.safetensors"))
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        for name in names:
            if name not in self._shards:
                self._open(name)

    def _open(self, name: str) -> None:
        try:
            keys, features = _map(self.folder / name)
            if features.shape != (len(keys), self.dim) or keys.shape[1:] != (32,):
                raise ValueError(f"features of shape {features.shape}")
        except (OSError, ValueError, KeyError, struct.error) as error:
            _log.warning("%s is passed over, its features are computed again: %s", self.folder / name, error)
            return
        self._shards[name] = features
        self._places.update({bytes(key): (name, row) for row, key in enumerate(np.array(keys))})

    def __contains__(self, identity: str) -> bool:
        key = _key(identity)
        return key in self._places or key in self._new

    def get(self, identity: str) -> torch.Tensor:
        """The feature of a medium: (d,) float32.

        Raises:
            KeyError: it is not there.
        """
        key = _key(identity)
        if key in self._new:
            return torch.from_numpy(self._new[key].copy())
        name, row = self._places[key]
        return torch.from_numpy(np.array(self._shards[name][row]))

    def add(self, identities: Sequence[str], features: torch.Tensor) -> None:
        """Remember (n, d) features; they are on disk after the next `write`."""
        rows = features.detach().float().cpu().numpy()
        self._new.update({_key(identity): row for identity, row in zip(identities, rows, strict=True)})

    @property
    def unwritten(self) -> int:
        return len(self._new)

    def write(self) -> None:
        """Put what was added on disk.

        Raises:
            StorageError: the disk is full, or the folder may not be written.
        """
        if not self._new:
            return
        keys = np.stack([np.frombuffer(key, np.uint8) for key in self._new])
        name = f"{secrets.token_hex(8)}.safetensors"
        scratch = self.folder / f".{name}.part"
        try:
            save_file({"keys": keys, "features": np.stack(list(self._new.values()))}, scratch)
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(scratch, self.folder / name)
        except (OSError, SafetensorError) as error:
            scratch.unlink(missing_ok=True)
            raise _unwritable(self.folder, error) from error
        self._open(name)
        self._new.clear()


def _unwritable(folder: Path, error: Exception) -> StorageError:
    return StorageError(
        f"The cache of features {folder} cannot be written: {getattr(error, 'strerror', None) or error}",
        hint="Free some space, or set feature_cache to another folder; what was written is kept.",
    )


def _key(identity: str) -> bytes:
    return hashlib.sha256(identity.encode()).digest()


def _map(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Keys and features of a file, left on disk: reading one feature reads no others."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > size:
            raise ValueError("it is cut off")
        header = json.loads(file.read(length))

    def array(name: str, dtype: type) -> np.ndarray:
        start, end = header[name]["data_offsets"]
        if 8 + length + end > size:
            raise ValueError("it is cut off")
        shape = tuple(header[name]["shape"])
        return np.memmap(path, dtype=dtype, mode="r", offset=8 + length + start, shape=shape)

    return array("keys", np.uint8), array("features", np.float32)


# ------------------------------------------------------------------------------- filling the stores


class Features:
    """The features of media of all modalities, from the stores or, where they are missing, the encoder.

    Args:
        folder: where the stores of all encoders lie.
    """

    def __init__(self, encoder: ImageBindEncoder, folder: Path) -> None:
        self._encoder = encoder
        self._folder = folder
        self._stores: dict[Modality, FeatureStore] = {}

    @property
    def dim(self) -> int:
        return self._encoder.dim

    def store(self, modality: Modality) -> FeatureStore:
        """The store of a modality; pictures and clips have one."""
        if modality not in self._stores:
            version = modality_version(self._encoder, modality)
            known = {store.folder.name: store for store in self._stores.values()}
            self._stores[modality] = known.get(version) or FeatureStore(self._folder / version, self.dim)
        return self._stores[modality]

    def get(self, modality: Modality, identity: str) -> torch.Tensor:
        """(d,) float32, on the CPU.

        Raises:
            KeyError: it was not computed (see `compute`).
        """
        return self.store(modality).get(identity)

    def missing(self, sources: Mapping[str, Source]) -> dict[str, Source]:
        """Those of `sources`, by identity, that no store holds."""
        return {
            identity: source
            for identity, source in sources.items()
            if identity not in self.store(source.modality)
        }

    def compute(self, sources: Mapping[str, Source], *, report: Report = lambda done, count: None) -> int:
        """Encode what is missing and keep it; returns how many media were encoded.

        An interrupt keeps what is done.

        Raises:
            MediaError: a medium cannot be read; the features computed before it are kept.
            StorageError: the stores cannot be written.
        """
        missing = self.missing(sources)
        done = 0
        try:
            for modality in Modality:
                chosen = [source for source in missing.values() if source.modality is modality]
                written = time.monotonic()
                for start in range(0, len(chosen), self._encoder.views_per_batch):
                    part = chosen[start : start + self._encoder.views_per_batch]
                    store = self.store(modality)
                    store.add(
                        [source.identity for source in part],
                        self._encoder.encode_decoded(_decoded(part)),
                    )
                    done += len(part)
                    report(done, len(missing))
                    if store.unwritten >= SHARD_ROWS or time.monotonic() - written > SHARD_SECONDS:
                        store.write()
                        written = time.monotonic()
        finally:
            for store in self._stores.values():
                store.write()
        return done

    def refresh(self) -> None:
        """Take up what other processes have computed."""
        for store in self._stores.values():
            store.refresh()


def _decoded(sources: Sequence[Source]) -> Iterator[Decoded]:
    for source in sources:
        try:
            yield source.decode()
        except MediaError as error:
            raise MediaError(f"{source.where}: {error.message}", hint=error.hint) from error
