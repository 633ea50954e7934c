"""Several requests to one generator in as few runs of its pipeline as they allow, for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from modaverse.errors import GenerationCancelled
from modaverse.interfaces import Decoded, GenerationRequest

from .diffusers_adapter import DiffusersGenerator


def generate_all(
    generator: DiffusersGenerator,
    requests: Sequence[GenerationRequest],
    *,
    batch: int = 16,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Decoded]:
    """One medium a request, in order; requests that differ in more than prompt and seed, and those with a
    source, run by themselves. The generator must be loaded.

    Raises:
        GenerationError: as `DiffusersGenerator.generate`, for all requests of the batch together.
        GenerationCancelled: `cancelled()` was true before or in a run of the pipeline.
    """
    made: dict[int, Decoded] = {}
    for places in _alike(generator, requests, batch):
        if cancelled():
            raise GenerationCancelled("the batch was told to stop", hint="Ask again if it is wanted.")
        some = [requests[place] for place in places]
        if len(some) == 1:
            made[places[0]] = generator.generate(some[0], progress=_unwatched, cancelled=cancelled)
        else:
            results = generator.generate_together(some, progress=_unwatched, cancelled=cancelled)
            made.update(zip(places, results, strict=True))
    return [made[place] for place in range(len(requests))]


def _alike(
    generator: DiffusersGenerator, requests: Sequence[GenerationRequest], batch: int
) -> Iterator[list[int]]:
    """Places of requests that can share a run."""
    groups: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        key = generator.batch_key(request)
        groups.setdefault(f"alone:{place}" if key is None else key, []).append(place)
    for places in groups.values():
        for start in range(0, len(places), batch):
            yield places[start : start + batch]


def _unwatched(step: int, steps: int) -> None:
    pass
