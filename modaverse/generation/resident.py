"""What occupies memory: which weights are loaded, and which go first when room is needed.

A generator may say more about itself than `interfaces.Generator` asks for. Each of these is optional:

    resident       the object that occupies memory; generators with the same one share it (default: itself)
    memory_bytes   how much memory that takes (default 0: never counted, never evicted)
    concurrency    how many calls it can run at once (default: no limit)
    fingerprint    identifies everything but the request that decides what is made (default: never cached)
    unload()       gives the memory back
    park()         moves it from its device into the machine's own memory, from where `load` is quick
                   (default, or None: it is unloaded instead)
    batch_key(request), generate_together(requests, progress=…, cancelled=…)
                   requests with the same key, which is not None, can share a run, with one result for each
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from modaverse.interfaces import Generator


@dataclass(frozen=True, eq=False)
class Resident:
    """Weights that are loaded and evicted as one. Compared by identity."""

    name: str
    memory_bytes: int
    concurrency: float
    unload: Callable[[], None]
    park: Callable[[], None] | None = None


def residents_of(generators: Mapping[str, Generator]) -> dict[str, Resident]:
    """The resident behind each of `generators`, by the same names."""
    by_object: dict[int, Resident] = {}
    found = {}
    for name, generator in generators.items():
        shared = getattr(generator, "resident", generator)
        if id(shared) not in by_object:
            by_object[id(shared)] = Resident(
                name=name,
                memory_bytes=int(getattr(generator, "memory_bytes", 0)),
                concurrency=float(getattr(generator, "concurrency", math.inf)),
                unload=getattr(generator, "unload", _nothing),
                park=getattr(generator, "park", None),
            )
        found[name] = by_object[id(shared)]
    return found


def _nothing() -> None:
    return None


def half_of_memory() -> int:
    """Half of this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class Shelf:
    """The books on loaded weights; moves nothing itself. Not thread-safe: its owner locks.

    Args:
        budget: bytes that weights may take where they run; None for no limit.
        aside: bytes that parked ones may take in the machine's own memory.
    """

    def __init__(self, budget: int | None, aside: int) -> None:
        self.budget = budget
        self._room_aside = aside
        self._held: OrderedDict[Resident, None] = OrderedDict()
        self._parked: OrderedDict[Resident, None] = OrderedDict()

    def __contains__(self, resident: Resident) -> bool:
        return resident in self._held

    def put(self, resident: Resident) -> None:
        """Note that `resident` is loaded, or about to be, and was used last."""
        self._parked.pop(resident, None)
        self._held[resident] = None
        self._held.move_to_end(resident)

    def remove(self, resident: Resident) -> None:
        """Note that `resident` is no longer there."""
        self._held.pop(resident, None)
        self._parked.pop(resident, None)

    def fits_alone(self, resident: Resident) -> bool:
        return self.budget is None or resident.memory_bytes <= self.budget

    def plan(self, resident: Resident, in_use: Set[Resident]) -> list[Resident] | None:
        """Which idle residents must go so that `resident` fits, or None where even that is not enough."""
        if self.budget is None or resident in self._held:
            return []
        excess = sum(other.memory_bytes for other in self._held) + resident.memory_bytes - self.budget
        going = []
        for other in self._held:
            if excess <= 0:
                break
            if other not in in_use and other.memory_bytes > 0:
                going.append(other)
                excess -= other.memory_bytes
        return going if excess <= 0 else None

    def set_aside(self, resident: Resident, coming: Resident) -> list[Callable[[], None]]:
        """Note that `resident` makes room for `coming`; what is to be done for it, in order.

        It is parked where it can be and fits, if those that were parked longest ago are unloaded for it;
        but `coming` is not, which may be parked itself until there is room for it.
        """
        self.remove(resident)
        room = self._room_aside - (coming.memory_bytes if coming in self._parked else 0)
        if resident.park is None or resident.memory_bytes > room:
            return [resident.unload]
        others = [other for other in self._parked if other is not coming]
        excess = sum(other.memory_bytes for other in others) + resident.memory_bytes - room
        moves = []
        for other in others:
            if excess <= 0:
                break
            del self._parked[other]
            moves.append(other.unload)
            excess -= other.memory_bytes
        self._parked[resident] = None
        return [*moves, resident.park]

    def idle(self, in_use: Set[Resident]) -> list[Resident]:
        """Everything that is loaded and not in use, least recently used first."""
        return [resident for resident in self._held if resident not in in_use]

    def everything(self, in_use: Set[Resident]) -> list[Resident]:
        """What is loaded or parked, and not in use."""
        return [*self.idle(in_use), *self._parked]
