"""For all tests: no network, few threads, and examples drawn the same each time."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before torch is imported by anything
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
from hypothesis import settings

# No deadline: a machine that is busy is no fault. Derandomised: a run that passes passes again.
settings.register_profile("modaverse", deadline=None, derandomize=True, database=None)
settings.load_profile("modaverse")

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class NetworkUsed(BaseException):
    """A test tried to reach another machine. No `Exception`, so that no code under test swallows it."""


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Let sockets reach this machine only."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


def _guarded(connect: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOOPBACK:
            raise NetworkUsed(f"a test tried to connect to {address}")
        return connect(self, address)

    return guarded


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes a `worlds.World` on the scripts it is given; its pool is closed at the end."""
    from worlds import World

    made: list[World] = []

    def make(*answers: str | Sequence[int], **settings: Any) -> World:
        made.append(World(tmp_path, *answers, **settings))
        return made[-1]

    yield make
    for each in made:
        each.pool.close()


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes a `ModaVerse` on the answers that it is given; closed at the end."""
    from worlds import modaverse_on

    made: list[Any] = []

    def make(*answers: str, **settings: Any) -> Any:
        made.append(modaverse_on(tmp_path / "media", *answers, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
