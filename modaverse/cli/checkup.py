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
from typing import TYPE_CHECKING

from modaverse.errors import ModaVerseError

if TYPE_CHECKING:
    from modaverse.settings import Profile

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
    checks: tuple[tuple[str, Callable[[], Finding | list[Finding]]], ...] = (
        ("python", python),
        ("packages", packages),
        ("torch", torch_devices),
        ("media", media),
        ("generators", generator_cards),
        ("profile", lambda: profile_parts(profile)),
        ("fits", profiles_that_fit),
        ("memory", memory),
        ("disk", disk),
    )
    for what, check in checks:
        try:
            found = check()
            yield from [found] if isinstance(found, Finding) else found
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
    from modaverse.generators.plugins import plugins

    cards = [load_card(name) for name in card_names()]
    calls = sum(len(card.calls) for card in cards)
    others = ", ".join(plugin.name for plugin in plugins()) or "none"
    return Finding("generators", bool(cards), f"{len(cards)} cards with {calls} calls; plug-ins: {others}")


def profile_parts(name: str) -> list[Finding]:
    """Whether the files of every part of a profile are on this machine, and how to get those that are not;
    they are not loaded."""
    from modaverse.cli.card_check import check_card
    from modaverse.interfaces import Place
    from modaverse.settings import load_profile

    profile = load_profile(name)
    place = Place(root=profile.generators.root)
    faults = {card: check_card(card, place) for card in profile.generators.cards}
    parts = {"LLM": _missing_llm(profile)}
    if profile.llm.adapter is not None:  # without one, an LLM reads no media
        parts["adapter"] = _missing_files(profile.llm.adapter, "Train it, or install ModaVerse again.")
        parts["encoder"] = _missing_files(profile.encoder.path, "Train it, or install ModaVerse again.")
    parts |= {card: (fault.message, fault.hint) if fault else None for card, fault in faults.items()}
    missing = [
        Finding("profile", False, f"{profile.name} lacks {part}: {lack[0]}", lack[1])
        for part, lack in parts.items()
        if lack
    ]
    return missing or [Finding("profile", True, f"{profile.name} has its {len(parts)} parts")]


def _missing_llm(profile: Profile) -> tuple[str, str] | None:
    """What is wrong and the way out, or None."""
    llm = profile.llm
    if llm.path is not None:
        return _missing_files(llm.path, "Give the folder of an LLM as llm.path in the profile.")
    from huggingface_hub import try_to_load_from_cache

    name, revision = str(llm.repository), llm.revision or "main"
    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return None
    return f"{name} is not on this machine", f"Run: hf download {name} --revision {revision}"


def _missing_files(path: Path, hint: str) -> tuple[str, str] | None:
    there = path.is_file() or any(path.glob("*.safetensors"))
    return None if there else (f"no weights in {path}", hint)


def profiles_that_fit() -> Finding:
    """Which of the profiles that ship this machine has the memory for, one generator loaded at a time."""
    from modaverse.cli.fit import fits

    told, untold = fits()
    told.sort(key=lambda one: not one.fits)
    detail = "; ".join([*map(str, told), *(f"{name} is not here to be measured" for name in untold)])
    well = not told or told[0].fits or bool(untold)
    return Finding("fits", well, detail, "Use a machine with more memory, or a profile with less to load.")


def memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    return Finding("memory", True, f"{total:.1f} GB")


def disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / GIGABYTE
    return Finding("disk", free >= 1, f"{free:.1f} GB free here", "Free some space: replies are saved here.")
