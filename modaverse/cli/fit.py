"""Which profiles fit the memory of this machine, reckoned without their weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from modaverse.errors import ModaVerseError
from modaverse.footprint import footprint
from modaverse.settings import Profile, load_profile, profile_names

_USABLE = 0.9  # of the memory: the rest goes to activations, the driver and whatever else runs


@dataclass(frozen=True, slots=True)
class Fit:
    """Bytes that a profile needs with its LLM `kept` in some precision, and those that there are for it."""

    profile: str
    kept: str
    asked: bool  # whether the profile keeps it so by itself
    needed: int
    there: int

    @property
    def fits(self) -> bool:
        return self.needed <= _USABLE * self.there

    def __str__(self) -> str:
        how = "" if self.asked or not self.fits else f' with llm.quantized = "{self.kept}"'
        verb = "needs" if self.fits else "is too large:"
        return f"{self.profile}{how} {verb} {self.needed / 1e9:.1f} GB of {self.there / 1e9:.1f} GB"


def fits() -> tuple[list[Fit], list[str]]:
    """The profiles that ship, each as it is or else in the largest precision that fits; and the names of
    those of which nothing tells the size."""
    import torch

    gpu = torch.cuda.is_available()
    if gpu:
        there = torch.cuda.get_device_properties(0).total_memory
    else:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told, untold = [], []
    for name in profile_names():
        try:
            told.append(fit(load_profile(name), there, gpu=gpu))
        except ModaVerseError:
            untold.append(name)
    return told, untold


def fit(profile: Profile, there: int, *, gpu: bool) -> Fit:
    """Whether a profile fits into so many bytes. Only a GPU computes with quantised weights."""
    ways = _ways(profile, gpu)
    tried = [Fit(profile.name, kept, kept == ways[0], footprint(profile, kept).alone, there) for kept in ways]
    return next((one for one in tried if one.fits), tried[0])


def _ways(profile: Profile, gpu: bool) -> Sequence[str]:
    """In which precisions the LLM can be kept; the first is how the profile does it."""
    if profile.llm.quantized is not None:
        return (profile.llm.quantized,)
    own = ("bfloat16" if gpu else "float32") if profile.llm.dtype == "auto" else profile.llm.dtype
    own = "bfloat16" if own == "float16" else own  # as large
    return (own, "int8", "int4") if gpu else (own,)
