"""What decides the answers of a profile, so that a run which would answer otherwise is noticed."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modaverse.errors import ModelNotFound
from modaverse.settings import Profile

# What says where things lie, how fast they go or what is refused, and not what comes out.
_NEUTRAL = (
    "media",
    "name",
    "description",
    "device",
    "llm.path",
    "llm.adapter",
    "llm.device_map",
    "encoder.path",
    "generators.cards",
    "generators.root",
    "generators.memory_gb",
    "generators.workers",
    "generators.deadline",
    "generators.cache",
)


def profile_identity(profile: Profile) -> dict[str, str]:
    """The settings of a profile that count, the hash of all weights, and the version of ModaVerse.

    Raises:
        ModelNotFound: a model's files are not there.
        SettingsError: a card or the device is wrong.
    """
    return language_identity(profile) | generator_identity(profile)


def language_identity(profile: Profile) -> dict[str, str]:
    """What decides what the LLM says: all of it but the generators.

    Raises:
        ModelNotFound: a model's files are not there.
        SettingsError: the device is wrong.
    """
    from modaverse.assembly import pick_device

    values = _flat(profile.model_dump(mode="json"))
    identity = {
        name: value
        for name, value in values.items()
        if name not in _NEUTRAL and name.partition(".")[0] not in _NEUTRAL
    }
    identity["modaverse"] = version("modaverse")
    identity["device"] = pick_device(profile.device).type
    for name, path in (
        ("llm", profile.llm.path),
        ("adapter", profile.llm.adapter),
        ("encoder", profile.encoder.path),
    ):
        if path is not None:
            identity[f"weights of {name}"] = _weights(path)
    return identity


def generator_identity(profile: Profile) -> dict[str, str]:
    """What decides what the generators make. They are opened for it, which finds missing ones before anything
    large is loaded.

    Raises:
        ModelNotFound: a generator's files are not there.
        SettingsError: a card or the device is wrong.
    """
    from modaverse.assembly import open_generators, pick_device

    identity = {}
    for generator in open_generators(profile, pick_device(profile.device)):
        fingerprint = getattr(generator, "fingerprint", None)
        identity[f"generator of {generator.spec.model}"] = str(fingerprint or "of unknown version")[:64]
    return identity


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Tables in tables as dotted names with their values as JSON."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = json.dumps(value)
    return flat


def _weights(path: Path) -> str:
    """The hash of all files in a folder, or of one file."""
    from modaverse.generators.weights import fingerprint

    if path.is_dir():
        digest: str = fingerprint(path)
        return digest[:16]
    if not path.is_file():
        raise ModelNotFound(f"{path}: no such folder", hint="Name the folder or file of the weights.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
