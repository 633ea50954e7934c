"""What an LLM worker and a generator worker are made of. It travels to each of them as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

from modaverse.assembly import assemble, open_pool
from modaverse.batch.identity import generator_identity, language_identity
from modaverse.generation import GeneratorPool
from modaverse.interfaces import Pool
from modaverse.pipeline import ModaVerse
from modaverse.settings import Profile


class Parts(Protocol):
    """How workers are made; a value that can be pickled."""

    @property
    def device(self) -> str:
        """Where models run: `cpu`, `cuda`, or `auto`."""
        ...

    @property
    def places(self) -> int:
        """Calls that a generator worker is given at a time; 0 where there are no generators."""
        ...

    def on(self, device: str) -> Self:
        """The same on another device."""
        ...

    def language_identity(self) -> Mapping[str, str]:
        """What decides what an LLM worker says; nothing large is loaded for it.

        Raises:
            ModelNotFound: a model's files are not on this machine.
        """
        ...

    def language(self, folder: Path, pool: Pool) -> ModaVerse:
        """LLM and encoder, with generators that are elsewhere. Media that are no files go to `folder`."""
        ...

    def generator_identity(self) -> Mapping[str, str]:
        """What decides what a generator worker makes, likewise."""
        ...

    def generators(self, folder: Path) -> GeneratorPool:
        """The generators of one worker. What they make goes to `folder`.

        Raises:
            ModelNotFound: a model's files are not on this machine.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProfileParts:
    """Implements `Parts` for a profile, whose paths must lead to the same files on every machine."""

    profile: Profile

    @property
    def device(self) -> str:
        return self.profile.device

    @property
    def places(self) -> int:
        generators = self.profile.generators
        return generators.workers * generators.batch if generators.cards else 0

    def on(self, device: str) -> ProfileParts:
        return replace(self, profile=self.profile.model_copy(update={"device": device}))

    def language_identity(self) -> Mapping[str, str]:
        return language_identity(self.profile)

    def language(self, folder: Path, pool: Pool) -> ModaVerse:
        return ModaVerse(self.profile, lambda media: assemble(self.profile, media, pool), folder=folder)

    def generator_identity(self) -> Mapping[str, str]:
        return generator_identity(self.profile)

    def generators(self, folder: Path) -> GeneratorPool:
        return open_pool(self.profile, folder)
