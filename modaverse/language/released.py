"""The checkpoint that the paper's authors released, ModaVerse-7b-v0, as a ModaVerse directory.

It is one state dict of what was trained on Vicuna-7b-v0, saved by torch:

    linear_proj.{weight, bias}                         one projector for all modalities
    LLM.base_model.model.model.layers.{i}.self_attn.{q,k,v,o}_proj.lora_{A,B}.default.weight
    LLM.base_model.model.model.embed_tokens.weight     whole tables: all rows were trained
    LLM.base_model.model.lm_head.weight

The projector was fed by ImageBind's output as it comes. The file is mapped and copied slice by slice; no code
in it is run, and memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from modaverse.errors import CheckpointError, ModelNotFound, StorageError
from modaverse.imagebind.checkpoint import open_checkpoint
from modaverse.imagebind.config import ImageBindConfig
from modaverse.language.prompt import Script
from modaverse.language.storage import LanguageConfig, first_line, quiet, write_text
from modaverse.language.tensor_file import write_tensors
from modaverse.settings import LoraSettings, ProjectorSettings, TranscriptSettings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

MEDIA = ("<Media>", "</Media>")
ADDED = (*MEDIA, "[TEXT]", "[IMAGE]", "[AUDIO]", "[VIDEO]")
"""The tokens that were added to the LLM's, in this order."""

PROJECTOR = ProjectorSettings(kind="linear", k=1, normalise=False, shared=True)

_LLM, _LAYER = "LLM.base_model.model.", "model.layers.{index}.self_attn.{matrix}.lora_{part}"
_TABLES = ("model.embed_tokens.weight", "lm_head.weight")
_SHOWN = 3  # names of each kind of fault


def import_released(
    checkpoint: Path, llm: Path, out: Path, *, dtype: torch.dtype | None = None
) -> LanguageConfig:
    """Write the checkpoint to the folder `out`, in the form that `MultimodalLM.from_pretrained` loads.

    Args:
        checkpoint: `pytorch_model.pt` as it was released.
        llm: folder of Vicuna-7b-v0; only its configuration and its tokenizer are read.
        dtype: of the weights that are written; as they were saved where none is given.

    Raises:
        ModelNotFound: there is no such file or no such LLM.
        CheckpointError: the file is damaged, holds more than tensors, or does not fit the LLM; the message
            names what is missing, unexpected or misshapen.
        StorageError: `out` cannot be written.
    """
    config, tokenizer = _llm(llm)
    added(tokenizer)
    expected = _expected(config, len(tokenizer))
    result = LanguageConfig(
        embedding_dim=ImageBindConfig().out_embed_dim,
        projector=PROJECTOR,
        transcript=_transcript(tokenizer),
    )
    Script(tokenizer, result.transcript)  # the end of an answer is one token of this LLM
    with open_checkpoint(checkpoint) as weights:
        found = {key: weights.tensor(key) for key in weights.keys}
        _check(checkpoint, found, {key: entry.shape for key, entry in expected.items()}, llm)
        files: dict[str, dict[str, torch.Tensor]] = {}
        for key, entry in expected.items():
            files.setdefault(entry.file, {})[entry.name] = found[key]
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name, tensors in files.items():
                write_tensors(out / name, tensors, dtype=dtype)
            lora_config().save_pretrained(str(out))
            tokenizer.save_pretrained(str(out))
            write_text(out / "README.md", _CARD.format(layers=config.num_hidden_layers))
            write_text(out / "config.json", result.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise StorageError(
                f"{out} cannot be written: {error.strerror or error}",
                hint="Free some space or choose another folder.",
            ) from error
    return result


def added(tokenizer: PreTrainedTokenizerBase) -> None:
    """Add the checkpoint's tokens. Those of media are control tokens; the flags are text of the LLM's."""
    from tokenizers import AddedToken

    for token in ADDED:
        new = AddedToken(token, special=token in MEDIA, normalized=False)
        tokenizer.add_tokens([new], special_tokens=token in MEDIA)


def _llm(folder: Path) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    from transformers import AutoConfig, AutoTokenizer

    if not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"no LLM lies in {folder}", hint="Give the folder of Vicuna-7b-v0: see docs/profiles.md."
        )
    try:
        with quiet():
            config = AutoConfig.from_pretrained(str(folder))
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the LLM in {folder} cannot be read: {first_line(error)}",
            hint="It must be a transformers causal LM with its tokenizer.",
        ) from error
    if config.model_type != "llama":
        raise CheckpointError(
            f"the LLM in {folder} is of the kind {config.model_type}",
            hint="The released checkpoint was trained on Vicuna-7b-v0, which is a Llama.",
        )
    return config, tokenizer


class _Entry(NamedTuple):
    """What a key of the checkpoint becomes."""

    shape: tuple[int, ...]
    file: str
    name: str


def _expected(config: PreTrainedConfig, rows: int) -> dict[str, _Entry]:
    """Every key with its shape, for this LLM and so many tokens."""
    rank, hidden, dim = LoraSettings().r, config.hidden_size, ImageBindConfig().out_embed_dim
    head = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    matrices = {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys)}
    matrices["o_proj"] = (queries, hidden)
    projector, adapter = "projectors.safetensors", "adapter_model.safetensors"
    entries = {
        "linear_proj.weight": _Entry((hidden, dim), projector, "projectors.shared.input.weight"),
        "linear_proj.bias": _Entry((hidden,), projector, "projectors.shared.input.bias"),
    }
    for index in range(config.num_hidden_layers):
        for matrix, (wide, high) in matrices.items():
            for part, shape in (("A", (rank, wide)), ("B", (high, rank))):
                name = _LAYER.format(index=index, matrix=matrix, part=part)
                entry = _Entry(shape, adapter, f"base_model.model.{name}.weight")
                entries[f"{_LLM}{name}.default.weight"] = entry
    for table in _TABLES:
        entries[f"{_LLM}{table}"] = _Entry((rows, hidden), adapter, f"base_model.model.{table}")
    return entries


def _check(
    path: Path, found: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]], llm: Path
) -> None:
    """Raises:
    CheckpointError: a key is missing, unexpected, misshapen, or no floating-point tensor.
    """
    wrong = [
        f"{key} is {tuple(found[key].shape)} and not {shape}"
        for key, shape in expected.items()
        if key in found and tuple(found[key].shape) != shape
    ]
    kinds = [f"{key} is {found[key].dtype}" for key in expected
             if key in found and not found[key].is_floating_point()]  # fmt: skip
    faults = {
        "lacks": [key for key in expected if key not in found],
        "holds what is no part of it:": [key for key in found if key not in expected],
        "has other sizes:": wrong,
        "has other types:": kinds,
    }
    named = [f"{what} {_some(keys)}" for what, keys in faults.items() if keys]
    if named:
        raise CheckpointError(
            f"{path} is no ModaVerse-7b-v0 for the LLM in {llm}: it {'; it '.join(named)}",
            hint="Give pytorch_model.pt as it was released, and Vicuna-7b-v0, on which it was trained.",
        )


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _transcript(tokenizer: PreTrainedTokenizerBase) -> TranscriptSettings:
    """The one prompt that the checkpoint was trained on. The token that ends an answer also opens the next
    turn, as in Vicuna v0's conversations.
    """
    return TranscriptSettings(
        start=f"{tokenizer.bos_token} ### Human:",
        user_start="",
        user_end="\n### Assistant:",
        assistant_end="▁###",
        between=" Human:",
        meta_open="",
        meta_close="",
        media_open=MEDIA[0],
        media_close=MEDIA[1],
        media_label="",
    )


def lora_config() -> Any:
    """peft's configuration of the adapter: the paper's LoRA, and whole tables."""
    from peft import LoraConfig

    paper = LoraSettings()
    return LoraConfig(
        task_type="CAUSAL_LM",
        inference_mode=True,
        r=paper.r,
        lora_alpha=paper.alpha,
        lora_dropout=paper.dropout,
        target_modules=sorted(paper.target_modules),
        modules_to_save=["embed_tokens", "lm_head"],
        base_model_name_or_path="",
    )


_CARD = """---
library_name: peft
pipeline_tag: any-to-any
tags:
- modaverse
- lora
- multimodal
---

# ModaVerse-7b-v0

The checkpoint released with *ModaVerse: Efficiently Transforming Modalities with LLMs* (arXiv 2401.06395),
converted by `modaverse import-checkpoint`. The values are those of the released file.

```sh
modaverse run "Generate a video of a dog." --profile path/to/this/folder
```

| | |
|---|---|
| LLM | Vicuna-7b-v0, {layers} layers; derived from LLaMA, whose licence allows research only |
| encoder | ImageBind-huge (CC-BY-NC-SA-4.0), its output as it comes |
| projector | one linear layer for pictures, clips and sounds, one embedding a medium |
| LoRA | r 32, alpha 32, on q_proj, k_proj, v_proj, o_proj |
| tables | input and output embeddings, all rows |
| added tokens | `<Media>`, `</Media>`, `[TEXT]`, `[IMAGE]`, `[AUDIO]`, `[VIDEO]` |
| prompt | `### Human: {{media}} {{instruction}}` and, on a new line, `### Assistant:` |
| answer | `Modality: [IMAGE] Prompt: … ###` |

It was never trained to read what its generators made: they are not shown to it.
"""
