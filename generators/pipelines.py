"""The networks of a card: read from safetensors files, kept on the device or aside in memory, given back."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib.util
import inspect
import threading
import warnings
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from modaverse.errors import (
    CheckpointError,
    GenerationError,
    GenerationOutOfMemory,
    ModelError,
    SettingsError,
)

from .card import Call, Card, Precision
from .weights import check_safe, fingerprint

_DTYPES: Mapping[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


_QUIET = threading.Lock()  # warning filters and progress bars belong to the whole process
_LOUD = (diffusers.utils.logging, transformers.utils.logging)


# Besides torch, what turns sources into arguments and what was made into files.
_DECIDING = ("modaverse", "diffusers", "transformers", "numpy", "pillow", "av", "soundfile", "soxr")


class PipelineWeights:
    """The networks of one card: not loaded, on the device, or set aside in the machine's own memory. What
    moves them may be called from any thread."""

    def __init__(
        self, card: Card, folder: Path, *, device: str = "cpu", precision: Precision | None = None
    ) -> None:
        self.card = card
        self.folder = folder
        self.device = torch.device(device)
        self.precision: Precision = precision or _fitting(card.precision, self.device)
        self._pipeline: Any = None
        self._aside = False
        self._held = False
        self._lock = threading.Lock()
        self._fingerprint: str | None = None

    @classmethod
    def holding(cls, card: Card, pipeline: Any) -> PipelineWeights:
        """Networks that are in memory already, as training has them."""
        weights = cls(card, Path(), precision="float32")
        weights._pipeline, weights._held = pipeline, True
        return weights

    def load(self) -> None:
        """Bring every component to the device: from safetensors files, or from where `park` left them;
        nothing is done where they are there already.

        Raises:
            CheckpointError: the folder holds code or pickles, or another pipeline than the card's.
            GenerationOutOfMemory: they do not fit.
            ModelError: a package that the card requires is not installed.
        """
        with self._lock:
            if self._pipeline is None:
                check_requirements(self.card)
                check_safe(self.folder)
                self._fingerprint = self._fingerprint or self._hashed()  # first: calls ask for it at once
                self._pipeline = self._read()
            self._bring()

    def _read(self) -> Any:
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
                raise too_large(self.card, error) from error
            raise CheckpointError(
                f"generator {self.card.name}: {self.folder} cannot be loaded as {kind.__name__}: {error}",
                hint="The files are incomplete or of another model; fetch them again.",
            ) from error
        self._aside = True
        return pipeline

    def _bring(self) -> None:
        """From the machine's memory to the device."""
        if not self._aside:
            return
        try:
            self._pipeline.to(self.device)
        except (RuntimeError, MemoryError) as error:
            self._pipeline.to("cpu", silence_dtype_warnings=True)  # some of it may have moved
            if out_of_memory(error):
                raise too_large(self.card, error) from error
            raise
        self._aside = False

    def _dtypes(self) -> torch.dtype | dict[str, torch.dtype]:
        """One for all components, or by component where the card names exceptions."""
        default = _DTYPES[self.precision]
        exceptions = self.card.weights.components
        if self.precision == "float32" or not exceptions:
            return default
        return {"default": default, **{name: _DTYPES[other] for name, other in exceptions.items()}}

    def park(self) -> None:
        """Move from the device into the machine's own memory, from where `load` brings it back sooner."""
        with self._lock:
            if self._pipeline is not None and not self._aside:
                self._pipeline.to("cpu", silence_dtype_warnings=True)
                self._aside = True
        self._give_back()

    def unload(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._pipeline, self._aside = None, False
        self._give_back()

    def _give_back(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def shell(self, call: Call) -> Any:
        """A new pipeline object of the call's class around the loaded networks, with its own scheduler."""
        loaded = self._pipeline
        if loaded is None or self._aside:
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
    def fingerprint(self) -> str | None:
        """Changes with anything, other than the request, that decides what is made; None for networks that
        are held, which may be trained further."""
        if self._held:
            return None
        if self._fingerprint is None:
            self._fingerprint = self._hashed()
        return self._fingerprint

    def _hashed(self) -> str:
        parts = (
            self.card.model_dump_json(),
            fingerprint(self.folder),
            self.precision,
            str(self.device),
            _processor(self.device),
            torch.__version__,
            *(f"{name} {metadata.version(name)}" for name in _DECIDING),
            str(torch.get_num_threads()),
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _processor(device: torch.device) -> str:
    """What computes: the same sums come out differently on another."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else device.type


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


def too_large(card: Card, error: BaseException) -> GenerationOutOfMemory:
    needed = ", ".join(f"{gigabytes:g} GB in {name}" for name, gigabytes in card.memory_gb.items())
    return GenerationOutOfMemory(
        f"generator {card.name} ran out of memory: {error}",
        hint=f"It needs {needed}; choose a smaller size, a lower precision or another generator.",
    )
