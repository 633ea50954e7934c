"""Running a card: any diffusers pipeline as a `modaverse.interfaces.Generator`.

`PipelineWeights` holds what is loaded once; each `DiffusersGenerator` answers one kind of call of a card,
and all of a card share the weights (an image generator and its img2img sibling cost the memory of one).
Every call gets a pipeline object of its own, a light shell around the shared networks with a scheduler of
its own, so nothing of one call is left for the next.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from modaverse.errors import GenerationCancelled, GenerationError, ModaVerseError, SettingsError
from modaverse.interfaces import CallSpec, Cancelled, Decoded, GenerationRequest, Progress
from modaverse.media import decode

from .card import Call, Card, Precision, check_options
from .conversions import CONVERSIONS, OUTPUTS, SOURCES
from .pipelines import PipelineWeights, check_requirements, out_of_memory, pipeline_class, too_large
from .runners import RUNNERS
from .weights import locate

__all__ = [
    "DiffusersGenerator",
    "PipelineWeights",
    "check_requirements",
    "open_card",
    "out_of_memory",
    "pipeline_class",
]

_RESULTS = ("images", "frames", "audios")  # what pipelines call their output


class DiffusersGenerator:
    """One kind of call of one card; see `modaverse.interfaces.Generator`.

    `directory` is the folder that `save_pretrained` wrote. Without `model` it serves the card's first call.
    """

    concurrency = 1  # autoencoders of clips and some schedulers keep state on their modules

    def __init__(
        self,
        card: Card,
        directory: Path,
        *,
        model: str | None = None,
        device: str = "cpu",
        precision: Precision | None = None,
        weights: PipelineWeights | None = None,
    ) -> None:
        self.card = card
        self.call = card.call(model) if model else card.calls[0]
        self.weights = weights or PipelineWeights(card, directory, device=device, precision=precision)
        self._spec = self.call.spec()
        _check_names(card, self.call)

    @property
    def spec(self) -> CallSpec:
        return self._spec

    @property
    def resident(self) -> object:
        """What occupies memory: generators with the same object share it."""
        return self.weights

    @property
    def memory_bytes(self) -> int:
        gigabytes = self.card.memory_gb
        return round(gigabytes.get(self.weights.precision, gigabytes[self.card.precision]) * 1e9)

    @property
    def fingerprint(self) -> str | None:
        return self.weights.fingerprint

    def load(self) -> None:
        self.weights.load()

    @property
    def park(self) -> Callable[[], None] | None:
        """Only what lies on another device can be set aside in the machine's own memory."""
        return None if self.weights.device.type == "cpu" else self.weights.park

    def unload(self) -> None:
        self.weights.unload()

    def batch_key(self, request: GenerationRequest) -> str | None:
        """Requests of one key can share a run of the pipeline; None where a request runs by itself."""
        if not self.call.together or request.source is not None or "seed" in request.options:
            return None
        return json.dumps(dict(request.options), sort_keys=True)

    def generate(self, request: GenerationRequest, *, progress: Progress, cancelled: Cancelled) -> Decoded:
        """Run the pipeline once. The same request gives the same array on the same machine and threads.

        Raises:
            GenerationError: the request does not fit the card, or the pipeline failed.
            GenerationOutOfMemory: there is too little memory.
            GenerationCancelled: `cancelled()` was true before or between steps.
        """
        return self._run(self.arguments(request), 1, progress, cancelled)[0]

    def generate_together(
        self, requests: Sequence[GenerationRequest], *, progress: Progress, cancelled: Cancelled
    ) -> list[Decoded]:
        """Run the pipeline once for all `requests`, which have one `batch_key`.

        Noise comes from each request's own seed, so that a request gets what it would get alone, up to the
        rounding of sums in another order.

        Raises:
            GenerationError: as `generate`, for all of them together.
        """
        each = [self.arguments(request) for request in requests]
        prompt = self.call.prompt_argument
        arguments = {
            **each[0],
            prompt: [one[prompt] for one in each],
            "generator": [one["generator"] for one in each],
        }
        if isinstance(arguments.get("negative_prompt"), str):  # some want as many as there are prompts
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(requests)
        return self._run(arguments, len(requests), progress, cancelled)

    def _run(
        self, arguments: dict[str, Any], count: int, progress: Progress, cancelled: Cancelled
    ) -> list[Decoded]:
        # A thread that has run nothing yet takes the process's number of threads only when asked for it,
        # and sums in another order give other bytes.
        torch.get_num_threads()
        pipeline = self.weights.shell(self.call)
        _watch(pipeline, arguments, progress, cancelled, self.card)
        try:
            _stop_if(cancelled, self.card)
            output = RUNNERS[self.call.run](pipeline, arguments)
            _stop_if(cancelled, self.card)
            return [OUTPUTS[self.call.output](_one(output, place), self.call) for place in range(count)]
        except ModaVerseError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise too_large(self.card, error) from error
            raise GenerationError(
                f"generator {self.card.name} failed: {type(error).__name__}: {error}",
                hint=f"Try other options, or see `modaverse generators check {self.card.name}`.",
            ) from error

    def arguments(self, request: GenerationRequest) -> dict[str, Any]:
        """The pipeline's arguments: the card's, then the options', then the source's."""
        call = self.call
        arguments: dict[str, Any] = {**call.arguments, call.prompt_argument: request.prompt}
        check_options(self.card.name, self._spec, request)
        for name, value in request.options.items():
            option = call.options[name]
            arguments |= CONVERSIONS[option.convert](value, call, option.argument or name)
        if call.source is not None:
            if request.source is None:
                raise GenerationError(
                    f"{call.model} needs a source of kind {call.source}", hint="Name a medium in Source."
                )
            arguments |= SOURCES[call.prepare](decode(request.source), call, arguments)
        seed = int(arguments.pop("seed", request.seed))
        arguments["generator"] = torch.Generator("cpu").manual_seed(seed % 2**63)
        return arguments


def open_card(
    card: Card,
    *,
    root: Path | None = None,
    device: str = "cpu",
    precision: Precision | None = None,
    download: bool = False,
) -> list[DiffusersGenerator]:
    """One generator for each call of the card, all on the same weights; nothing is loaded yet.

    `root` is the profile's folder of weights, for cards whose weights are a path.

    Raises:
        ModelNotFound: the weights are not on this machine.
    """
    folder = locate(card, root, download=download)
    weights = PipelineWeights(card, folder, device=device, precision=precision)
    return [DiffusersGenerator(card, folder, model=call.model, weights=weights) for call in card.calls]


def _check_names(card: Card, call: Call) -> None:
    """What a card names must exist, so that a slip shows when it is opened and not in an answer."""
    for registry, name in ((OUTPUTS, call.output), (SOURCES, call.prepare), (RUNNERS, call.run)):
        if name and name not in registry:
            raise SettingsError(
                f"card {card.name}: {call.model}: nothing is named {name!r}",
                hint=f"There are: {', '.join(registry)}.",
            )
    for option in call.options.values():
        if option.convert not in CONVERSIONS:
            raise SettingsError(
                f"card {card.name}: {call.model}: no conversion is named {option.convert!r}",
                hint=f"There are: {', '.join(CONVERSIONS)}.",
            )


def _watch(
    pipeline: Any, arguments: dict[str, Any], progress: Progress, cancelled: Cancelled, card: Card
) -> None:
    """Ask the pipeline to call back after each step, in whichever of diffusers' two ways it knows."""
    total = int(arguments.get("num_inference_steps") or 0)

    def tell(step: int) -> None:
        steps = getattr(pipeline, "_num_timesteps", None) or total
        progress(step + 1, max(int(steps), step + 1))
        _stop_if(cancelled, card)

    def on_step_end(_: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        tell(step)
        return tensors

    def callback(step: int, timestep: Any, latents: Any) -> None:
        tell(step)

    ways: dict[str, Callable[..., Any]] = {"callback_on_step_end": on_step_end, "callback": callback}
    parameters = inspect.signature(pipeline.__call__).parameters
    for name, function in ways.items():
        if name in parameters:
            arguments[name] = function
            return


def _one(output: Any, place: int) -> SimpleNamespace:
    """The output as it would be for the request at `place` alone."""
    found = {name: getattr(output, name)[place : place + 1] for name in _RESULTS if hasattr(output, name)}
    return SimpleNamespace(**found)


def _stop_if(cancelled: Cancelled, card: Card) -> None:
    if cancelled():
        raise GenerationCancelled(
            f"generator {card.name} was told to stop", hint="Ask again if it is wanted."
        )
