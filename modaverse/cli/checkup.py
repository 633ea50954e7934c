"""What `modaverse doctor` looks at: each check really does what it reports on."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from modaverse.errors import ModaVerseError

GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `hint` is the way out where it is not well."""

    what: str
    well: bool
    detail: str
    hint: str = ""


def findings(profile: str) -> Iterator[Finding]:
    """All checks, one after the other; a few of them take a second."""
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("python", python),
        ("packages", packages),
        ("torch", torch_devices),
        ("media", media),
        ("generators", generator_cards),
        ("profile", lambda: profile_parts(profile)),
        ("memory", memory),
        ("disk", disk),
    )
    for what, check in checks:
        try:
            yield check()
        except ModaVerseError as error:
            yield Finding(what, False, error.message, error.hint)
        except Exception as error:  # whatever is broken here, the other checks still say what they find
            yield Finding(what, False, f"{type(error).__name__}: {error}", "Install ModaVerse again.")


def python() -> Finding:
    version = platform.python_version()
    detail = f"{version} on {platform.system()} {platform.machine()}"
    return Finding("python", sys.version_info >= (3, 11), detail, "ModaVerse needs Python 3.11 or newer.")


def packages() -> Finding:
    """Whether everything that ModaVerse itself requires is installed, in a version that it works with."""
    from packaging.requirements import Requirement

    faults = []
    requirements = [Requirement(line) for line in metadata.requires("modaverse") or ()]
    needed = [item for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]
    for item in needed:
        try:
            version = metadata.version(item.name)
        except metadata.PackageNotFoundError:
            faults.append(f"{item.name} is missing")
            continue
        if not item.specifier.contains(version, prereleases=True):
            faults.append(f"{item.name} {version} is not {item.specifier}")
    detail = "; ".join(faults) or f"{len(needed)} required, all there"
    return Finding("packages", not faults, detail, "Run pip install --upgrade modaverse.")


def torch_devices() -> Finding:
    import torch

    devices = [f"CPU with {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        devices.append(f"{device.name} with {device.total_memory / GIGABYTE:.0f} GB")
    if torch.backends.mps.is_available():
        devices.append("Apple GPU")
    return Finding("torch", True, f"{torch.__version__}: {', '.join(devices)}")


def media() -> Finding:
    """Write a picture, a sound and a clip, and read them again."""
    import numpy as np

    from modaverse.interfaces import Decoded, Frames, Pixels, Waveform
    from modaverse.media import decode, write_media

    samples: tuple[Decoded, ...] = (
        Pixels(np.full((16, 16, 3), 128, np.uint8)),
        Waveform(np.zeros((1600, 1), np.float32), 16_000),
        Frames(np.full((3, 16, 16, 3), 128, np.uint8), 8.0),
    )
    names = []
    with tempfile.TemporaryDirectory() as folder:
        for sample in samples:
            written = write_media(sample, folder)
            if decode(written).array.shape != sample.array.shape:
                return Finding("media", False, f"{written.mime} is not read as written", "Reinstall av.")
            names.append(written.path.suffix[1:].upper())
    return Finding("media", True, f"{', '.join(names)} are written and read")


def generator_cards() -> Finding:
    from modaverse.generators.card import card_names, load_card

    cards = [load_card(name) for name in card_names()]
    calls = sum(len(card.calls) for card in cards)
    return Finding("generators", bool(cards), f"{len(cards)} cards with {calls} calls")


def profile_parts(name: str) -> Finding:
    """Whether the files of every part of a profile are on this machine; they are not loaded."""
    from modaverse.cli.card_check import check_card
    from modaverse.interfaces import Place
    from modaverse.settings import load_profile

    profile = load_profile(name)
    place = Place(root=profile.generators.root)
    folders = {"adapter": profile.llm.adapter, "encoder": profile.encoder.path}
    if profile.llm.path is not None:  # what lies in a hub's cache is found when it is loaded
        folders["LLM"] = profile.llm.path
    missing = [part for part, path in folders.items() if not path.is_file() and not _holds_weights(path)]
    missing += [card for card in profile.generators.cards if check_card(card, place)]
    if missing:
        hint = "See modaverse generators check; other parts come with ModaVerse, or by training."
        return Finding("profile", False, f"{profile.name} lacks {', '.join(missing)}", hint)
    count = len(folders) + len(profile.generators.cards)
    return Finding("profile", True, f"{profile.name} has its {count} parts")


def _holds_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    return Finding("memory", True, f"{total:.1f} GB")


def disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / GIGABYTE
    return Finding("disk", free >= 1, f"{free:.1f} GB free here", "Free some space: replies are saved here.")
