"""Pools that are closed at the end of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modaverse.generation import GeneratorPool


@pytest.fixture
def pools() -> Iterator[list[GeneratorPool]]:
    """Pools to be closed at the end, whatever happens."""
    opened: list[GeneratorPool] = []
    yield opened
    for pool in opened:
        pool.close()
