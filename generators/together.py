"""Several requests to one generator in one run of its pipeline, for batches and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from modaverse.errors import GenerationCancelled, GenerationError, ModaVerseError
from modaverse.interfaces import Decoded, GenerationRequest

from .conversions import OUTPUTS
from .diffusers_adapter import DiffusersGenerator
from .runners import RUNNERS

_RESULTS = ("images", "frames", "audios")  # what pipelines call their output


def generate_together(
    generator: DiffusersGenerator,
    requests: Sequence[GenerationRequest],
    *,
    batch: int = 16,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Decoded]:
    """One medium a request, in order; requests that differ in more than prompt and seed, and those with a
    source, run by themselves.

    Noise comes from each request's own seed, so that a request gets what it would get alone, up to the
    rounding of sums in another order. The generator must be loaded.

    Raises:
        GenerationError: as `DiffusersGenerator.generate`, for all requests of the batch together.
        GenerationCancelled: `cancelled()` was true before a run of the pipeline.
    """
    made: dict[int, Decoded] = {}
    for places in _alike(generator, requests, batch):
        if cancelled():
            raise GenerationCancelled("the batch was told to stop", hint="Ask again if it is wanted.")
        some = [requests[place] for place in places]
        made.update(zip(places, _run(generator, some, cancelled), strict=True))
    return [made[place] for place in range(len(requests))]


def _alike(
    generator: DiffusersGenerator, requests: Sequence[GenerationRequest], batch: int
) -> Iterator[list[int]]:
    """Places of requests that can share a run."""
    groups: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        alone = request.source is not None or "seed" in request.options
        key = f"alone:{place}" if alone else repr(sorted(request.options.items()))
        groups.setdefault(key, []).append(place)
    for places in groups.values():
        for start in range(0, len(places), batch):
            yield places[start : start + batch]


def _run(
    generator: DiffusersGenerator, requests: Sequence[GenerationRequest], cancelled: Callable[[], bool]
) -> list[Decoded]:
    if len(requests) == 1:
        return [generator.generate(requests[0], progress=_unwatched, cancelled=cancelled)]
    call = generator.call
    each = [generator.arguments(request) for request in requests]
    arguments: dict[str, Any] = {
        **each[0],
        call.prompt_argument: [one[call.prompt_argument] for one in each],
        "generator": [one["generator"] for one in each],
    }
    if isinstance(arguments.get("negative_prompt"), str):  # some pipelines want as many as there are prompts
        arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(requests)
    try:
        output = RUNNERS[call.run](generator.weights.shell(call), arguments)
        return [OUTPUTS[call.output](_one(output, place), call) for place in range(len(requests))]
    except ModaVerseError:
        raise
    except Exception as error:
        raise GenerationError(
            f"generator {generator.card.name} failed on {len(requests)} requests together: "
            f"{type(error).__name__}: {error}",
            hint="Run them one by one.",
        ) from error


def _unwatched(step: int, steps: int) -> None:
    pass


def _one(output: Any, place: int) -> SimpleNamespace:
    """The output as it would be for the request at `place` alone."""
    found = {name: getattr(output, name)[place : place + 1] for name in _RESULTS if hasattr(output, name)}
    return SimpleNamespace(**found)
