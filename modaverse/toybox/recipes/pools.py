"""Renders on disk, so that training does not wait for the renderer.

A pool is an array of renders with the truth of each. Sample `i` of a pool depends on (seed, i) alone, so that
a pool which was interrupted goes on where it was, and a longer pool begins with the shorter one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")

CHUNK = 500


class Pool(Generic[T]):
    """`truths[i]` is what render `i` shows. Renders stay on disk until they are taken."""

    def __init__(self, parts: Sequence[np.ndarray], truths: Sequence[T]) -> None:
        self._parts = parts
        self.truths = tuple(truths)

    def __len__(self) -> int:
        return len(self.truths)

    def take(self, indices: Sequence[int]) -> tuple[np.ndarray, list[T]]:
        """Renders (len(indices), …) and their truths."""
        arrays = [self._parts[i // CHUNK][i % CHUNK] for i in indices]
        return np.stack(arrays), [self.truths[i] for i in indices]

    def sample(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, list[T]]:
        """`count` random renders, with repetition."""
        return self.take([int(i) for i in rng.integers(len(self), size=count)])


def build_pool(
    folder: Path,
    count: int,
    seed: int,
    draw: Callable[[random.Random], T],
    render: Callable[[T, np.random.Generator], np.ndarray],
    *,
    report: Callable[[int, int], None] = lambda done, count: None,
) -> Pool[T]:
    """The pool in `folder`, rendered as far as it is missing.

    `draw` decides what sample `i` shows and `render` makes it; both get random numbers of their own for
    each sample. A file of `CHUNK` renders counts once it was renamed to its final name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truths = [draw(random.Random(f"{seed}:{index}")) for index in range(count)]
    parts = []
    for start in range(0, count, CHUNK):
        end = min(start + CHUNK, count)
        # A file is found again only for the same truths, so that a change of `draw` makes a new pool.
        digest = hashlib.sha256(repr(truths[start:end]).encode()).hexdigest()[:8]
        path = folder / f"{seed}-{start:07d}-{digest}.npy"
        if not path.exists():
            renders = [render(truths[i], np.random.default_rng([seed, i])) for i in range(start, end)]
            temporary = path.with_suffix(".tmp.npy")
            np.save(temporary, np.stack(renders))
            temporary.replace(path)
            report(end, count)
        parts.append(np.load(path, mmap_mode="r"))
    return Pool(parts, truths)
