"""How a trained language side lies on disk.

adapter/  adapter_config.json, adapter_model.safetensors   peft's: LoRA and the new tokens' rows
          projectors.safetensors
          config.json                                      `LanguageConfig`
          tokenizer.json, tokenizer_config.json            the base's, with the markers
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from modaverse.errors import CheckpointError, ModelNotFound, StorageError
from modaverse.language.projector import Projectors
from modaverse.language.quantization import quantization_config
from modaverse.language.vocabulary import grow_tables
from modaverse.settings import ProjectorSettings, Quantized, Settings, TranscriptSettings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@contextmanager
def quiet() -> Iterator[None]:
    """Keep out what other packages say while loading: transformers' progress bars, which would break into a
    streamed answer, and peft's use of an old name of transformers' `is_activation_checkpointing`.
    """
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


class LanguageConfig(Settings):
    """What must be known to put base, adapter and projectors together again."""

    format: Literal[1] = 1
    """Version of this file's format."""
    base: str = ""
    """Repository of the LLM that the adapter was trained on; empty where that was a folder."""
    revision: str | None = None
    """Commit of the base's repository."""
    embedding_dim: int
    """Width of the encoder's embeddings."""
    encoder: str = ""
    """Version of the encoder whose embeddings the projectors were trained on."""
    projector: ProjectorSettings = ProjectorSettings()
    transcript: TranscriptSettings = TranscriptSettings()
    context_length: int | None = None
    """Positions that fit into the context, where the LLM's configuration should not decide."""
    merged: bool = False
    """Whether the adapter has become part of the LLM's own weights, so that none lies here."""


DeviceMap = str | Mapping[str, int | str]
"""A strategy of accelerate ("auto", …), or the device of each module."""


def base_config(base: str | Path, *, revision: str | None = None) -> PreTrainedConfig:
    """The configuration of an LLM in a folder, or in a repository that is in the hub's cache.

    Raises:
        ModelNotFound: there is none that can be read.
    """
    from transformers import AutoConfig

    _check_place(base)
    try:
        with quiet():
            return AutoConfig.from_pretrained(str(base), revision=revision, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelNotFound(
            f"No LLM lies in {base}: {first_line(error)}", hint="Check the place of the LLM in the profile."
        ) from error


def _check_place(base: str | Path) -> None:
    """Raises:
    ModelNotFound: it is no folder, and no repository's name either.
    """
    path = Path(base)
    if not path.is_dir() and (path.is_absolute() or str(base).count("/") != 1):
        raise ModelNotFound(f"No LLM lies in {base}", hint="Check the path of the LLM in the profile.")


def load_base(
    base: str | Path,
    *,
    revision: str | None,
    dtype: torch.dtype,
    quantized: Quantized | None = None,
    device_map: DeviceMap | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal LM and its tokenizer, from a folder or from a repository that is in the hub's cache. Nothing
    is fetched.

    Raises:
        ModelNotFound: nothing lies there.
        CheckpointError: something does, and it cannot be read.
        SettingsError: it is to be quantised, and what that needs is not installed.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    placed: dict[str, Any] = {} if device_map is None else {"device_map": device_map}
    if quantized is not None:
        placed["quantization_config"] = quantization_config(quantized, dtype)
    _check_place(base)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(str(base), revision=revision, local_files_only=True)
            llm = AutoModelForCausalLM.from_pretrained(
                str(base),
                revision=revision,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                **placed,
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        if not Path(base).is_dir():
            raise ModelNotFound(
                f"The LLM {base} is not on this machine: {first_line(error)}",
                hint=f"Run: hf download {base}" + (f" --revision {revision}." if revision else "."),
            ) from error
        raise CheckpointError(
            f"The LLM {base} cannot be loaded: {first_line(error)}",
            hint="It must be a transformers causal LM with config.json, tokenizer.json and safetensors.",
        ) from error
    return llm, tokenizer


def load_parts(
    base: str | Path,
    adapter: Path,
    *,
    revision: str | None,
    dtype: torch.dtype,
    trainable: bool,
    quantized: Quantized | None = None,
    device_map: DeviceMap | None = None,
) -> tuple[Any, PreTrainedTokenizerBase, Projectors, LanguageConfig]:
    """Base with adapter (a `PeftModel`, unless it was merged), extended tokenizer, projectors and their
    configuration.

    The base is resized before the adapter comes: its rows of new tokens must have a place.

    Raises:
        ModelNotFound: nothing lies at `base` or `adapter`.
        CheckpointError: the files there do not fit each other.
    """
    from peft import PeftModel
    from transformers import AutoTokenizer

    config = read_config(adapter)
    llm, _ = load_base(base, revision=revision, dtype=dtype, quantized=quantized, device_map=device_map)
    peft: Any = llm
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(adapter))
        grow_tables(llm, len(tokenizer))
        hidden = llm.get_input_embeddings().weight.shape[1]
        projectors = Projectors(config.projector, config.embedding_dim, hidden)
        projectors.load_state_dict(load_file(adapter / "projectors.safetensors"))
        if not config.merged:
            with quiet():
                peft = PeftModel.from_pretrained(llm, str(adapter), is_trainable=trainable)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"The adapter in {adapter} does not fit {base}: {first_line(error)}",
            hint="Load it onto the LLM that it was trained on"
            + (f": {config.base}." if config.base else "."),
        ) from error
    return peft, tokenizer, projectors, config


def read_config(adapter: Path) -> LanguageConfig:
    """`config.json` of a trained adapter.

    Raises:
        ModelNotFound: the folder holds none.
        CheckpointError: it is none of ours.
    """
    path = adapter / "config.json"
    try:
        return LanguageConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelNotFound(
            f"No trained adapter lies in {adapter}", hint="Give the folder that `modaverse train` wrote."
        ) from error
    except ValidationError as error:
        raise CheckpointError(
            f"{path} is no adapter configuration: {error.errors()[0]['msg']}",
            hint="Give the folder that `modaverse train` wrote.",
        ) from error


def save_parts(
    peft: Any,
    tokenizer: PreTrainedTokenizerBase,
    projectors: Projectors,
    config: LanguageConfig,
    folder: Path,
    *,
    dtype: torch.dtype | None,
) -> None:
    """Write everything but the base. `dtype` converts the weights on their way (float16 to ship them).

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.detach().to("cpu", dtype) for name, tensor in projectors.state_dict().items()}
        # The base's tables grew, but all that changed in them are the new tokens' rows, which peft keeps.
        if not config.merged:
            peft.save_pretrained(str(folder), save_embedding_layers=False)
            (folder / "README.md").unlink(missing_ok=True)
            _forget_paths(folder / "adapter_config.json", config.base)
        if dtype is not None and not config.merged:
            path = folder / "adapter_model.safetensors"
            adapter = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
            save_file(adapter, path, metadata={"format": "pt"})
        save_file(weights, folder / "projectors.safetensors", metadata={"format": "pt"})
        tokenizer.save_pretrained(str(folder))
        write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror or error}",
            hint="Free some space or choose another folder.",
        ) from error


def _forget_paths(path: Path, base: str) -> None:
    """Keep a repository's name in peft's configuration, but no path of the machine that trained."""
    description = json.loads(path.read_text())
    description["base_model_name_or_path"] = base
    write_text(path, json.dumps(description, indent=2, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def first_line(error: Exception) -> str:
    """What an error of another package says, cut to one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
