"""Running a card: any diffusers pipeline as a `modaverse.interfaces.Generator`.

`PipelineWeights` holds what is loaded once; each `DiffusersGenerator` answers one kind of call of a card,
and all of a card share the weights (an image generator and its img2img sibling cost the memory of one).
Every call gets a pipeline object of its own, a light shell around the shared networks with a scheduler of
its own, so nothing of one call is left for the next.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib.util
import inspect
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from modaverse.errors import (
    CheckpointError,
    GenerationCancelled,
    GenerationError,
    GenerationOutOfMemory,
    ModaVerseError,
    ModelError,
    SettingsError,
)
from modaverse.interfaces import CallSpec, Cancelled, Decoded, GenerationRequest, Progress
from modaverse.media import decode

from .card import Call, Card, Precision, check_options
from .conversions import CONVERSIONS, OUTPUTS, SOURCES
from .runners import RUNNERS
from .weights import check_safe, fingerprint, locate

_DTYPES: Mapping[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


_QUIET = threading.Lock()  # warning filters and progress bars belong to the whole process
_LOUD = (diffusers.utils.logging, transformers.utils.logging)


class PipelineWeights:
    """The networks of one card, loaded or not. `load` and `unload` may be called from any thread."""

    def __init__(
        self, card: Card, folder: Path, *, device: str = "cpu", precision: Precision | None = None
    ) -> None:
        self.card = card
        self.folder = folder
        self.device = torch.device(device)
        self.precision: Precision = precision or _fitting(card.precision, self.device)
        self._pipeline: Any = None
        self._lock = threading.Lock()
        self._fingerprint: str | None = None

    @classmethod
    def holding(cls, card: Card, pipeline: Any) -> PipelineWeights:
        """Networks that are in memory already, as training has them."""
        weights = cls(card, Path(), precision="float32")
        weights._pipeline = pipeline
        return weights

    def load(self) -> None:
        """Load every component from safetensors files; nothing is done where they are loaded already.

        Raises:
            CheckpointError: the folder holds code or pickles, or another pipeline than the card's.
            ModelError: a package that the card requires is not installed.
        """
        with self._lock:
            if self._pipeline is None:
                self._pipeline = self._read()

    def _read(self) -> Any:
        check_requirements(self.card)
        check_safe(self.folder)
        kind = pipeline_class(self.card.calls[0].pipeline)
        try:
            with _without_noise():
                pipeline = kind.from_pretrained(
                    self.folder,
                    dtype=self._dtypes(),
                    variant=self.card.weights.variant,
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=False,
                )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            if out_of_memory(error):
                raise _too_large(self.card, error) from error
            raise CheckpointError(
                f"generator {self.card.name}: {self.folder} cannot be loaded as {kind.__name__}: {error}",
                hint="The files are incomplete or of another model; fetch them again.",
            ) from error
        return pipeline.to(self.device)

    def _dtypes(self) -> torch.dtype | dict[str, torch.dtype]:
        """One for all components, or by component where the card names exceptions."""
        default = _DTYPES[self.precision]
        exceptions = self.card.weights.components
        if self.precision == "float32" or not exceptions:
            return default
        return {"default": default, **{name: _DTYPES[other] for name, other in exceptions.items()}}

    def unload(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._pipeline = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def shell(self, call: Call) -> Any:
        """A new pipeline object of the call's class around the loaded networks, with its own scheduler."""
        loaded = self._pipeline
        if loaded is None:
            raise GenerationError(f"generator {self.card.name} is not loaded", hint="Call load() first.")
        kind = pipeline_class(call.pipeline)
        components = dict(loaded.components)
        components["scheduler"] = type(loaded.scheduler).from_config(loaded.scheduler.config)
        given = {**{name: loaded.config[name] for name in loaded.config}, **components, **call.configuration}
        wanted = [name for name in inspect.signature(kind.__init__).parameters if name != "self"]
        pipeline = kind(**{name: given[name] for name in wanted if name in given})
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @property
    def fingerprint(self) -> str:
        """Changes with anything, other than the request, that decides what is made."""
        if self._fingerprint is None:
            parts = (
                self.card.model_dump_json(),
                fingerprint(self.folder),
                self.precision,
                str(self.device),
                torch.__version__,
                diffusers.__version__,
                transformers.__version__,
                str(torch.get_num_threads()),
            )
            self._fingerprint = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return self._fingerprint


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
    def fingerprint(self) -> str:
        return self.weights.fingerprint

    def load(self) -> None:
        self.weights.load()

    def unload(self) -> None:
        self.weights.unload()

    def generate(self, request: GenerationRequest, *, progress: Progress, cancelled: Cancelled) -> Decoded:
        """Run the pipeline once. The same request gives the same array on the same machine and threads.

        Raises:
            GenerationError: the request does not fit the card, or the pipeline failed.
            GenerationOutOfMemory: there is too little memory.
            GenerationCancelled: `cancelled()` was true before or between steps.
        """
        # A thread that has run nothing yet takes the process's number of threads only when asked for it,
        # and sums in another order give other bytes.
        torch.get_num_threads()
        pipeline = self.weights.shell(self.call)
        arguments = self.arguments(request)
        _watch(pipeline, arguments, progress, cancelled, self.card)
        try:
            _stop_if(cancelled, self.card)
            output = RUNNERS[self.call.run](pipeline, arguments)
            _stop_if(cancelled, self.card)
            return OUTPUTS[self.call.output](output, self.call)
        except ModaVerseError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise _too_large(self.card, error) from error
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


def pipeline_class(name: str) -> Any:
    """The diffusers pipeline class of that name.

    Raises:
        SettingsError: this version of diffusers has none.
    """
    kind = getattr(diffusers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)):
        raise SettingsError(
            f"diffusers {diffusers.__version__} has no pipeline {name}",
            hint="Install the version of diffusers that the constraints file names.",
        )
    return kind


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """No progress bars of the libraries, and none of torch's complaints about diffusers' own classes."""
    with _QUIET, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm.* is deprecated", category=FutureWarning)
        shown = [library for library in _LOUD if library.is_progress_bar_enabled()]
        for library in shown:
            library.disable_progress_bar()
        try:
            yield
        finally:
            for library in shown:
                library.enable_progress_bar()


def check_requirements(card: Card) -> None:
    missing = [name for name in card.requires if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"generator {card.name} needs {', '.join(missing)}, which is not installed",
            hint=f"Run: pip install {' '.join(missing)}",
        )


def _fitting(precision: Precision, device: torch.device) -> Precision:
    """A CPU computes float16 slowly or not at all."""
    return "float32" if precision == "float16" and device.type == "cpu" else precision


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


def _stop_if(cancelled: Cancelled, card: Card) -> None:
    if cancelled():
        raise GenerationCancelled(
            f"generator {card.name} was told to stop", hint="Ask again if it is wanted."
        )


def _too_large(card: Card, error: BaseException) -> GenerationOutOfMemory:
    needed = ", ".join(f"{gigabytes:g} GB in {name}" for name, gigabytes in card.memory_gb.items())
    return GenerationOutOfMemory(
        f"generator {card.name} ran out of memory: {error}",
        hint=f"It needs {needed}; choose a smaller size, a lower precision or another generator.",
    )
