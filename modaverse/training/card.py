"""The model card of a trained adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modaverse.language.storage import LanguageConfig

_CARD = """---
library_name: peft
{base_line}pipeline_tag: any-to-any
tags:
- modaverse
- lora
- multimodal
---

# {title}

A ModaVerse adapter: it lets an LLM read pictures, clips and sounds, and write meta-responses that call
generators (after *ModaVerse: Efficiently Transforming Modalities with LLMs*, arXiv 2401.06395).

It holds a LoRA adapter with the rows of the new tokens (peft), `projectors.safetensors`, which turns the
encoder's embeddings into input embeddings, and the tokenizer with its markers. The base LLM and the encoder
are not part of it.

```python
from modaverse.language.model import MultimodalLM

lm = MultimodalLM.from_pretrained("{base}", "path/to/this/folder")
```

## Base and encoder
| | |
|---|---|
| LLM | {base} |
| encoder, by version | {encoder} |

## Data
| | |
|---|---|
{data}

Loss is taken on the answers' own tokens only: text, meta-responses and the end. Media, given or made, are
read by the LLM and never part of the loss.

## Settings
| | |
|---|---|
{settings}

## Sizes
| part | parameters | of these trained |
|---|---:|---:|
{parts}

## Results
| | |
|---|---|
{results}
{picture}
`log.jsonl` holds the losses of the whole run, `training.json` these tables in full.
"""

_SHOWN = (
    "epochs",
    "steps",
    "projectors_first",
    "batch_size",
    "batch_tokens",
    "accumulation",
    "schedule",
    "warmup",
    "weight_decay",
    "clip",
    "precision",
    "seed",
)


def model_card(
    settings: Mapping[str, Any],
    result: Mapping[str, Any],
    config: LanguageConfig,
    *,
    picture: str | None = None,
) -> str:
    """README.md of a result: data, settings and results as they were.

    Args:
        settings: plain values of `TrainSettings`.
        result: plain values of a `TrainingResult`.
        picture: file of the loss curves, beside the card.
    """
    data, lora, rates = result["data"], settings["lora"], settings["learning_rates"]
    projector = config.projector
    shown = {
        "LoRA": f"r {lora['r']}, alpha {lora['alpha']:g}, dropout {lora['dropout']:g}, "
        f"on {_names(lora['target_modules'])}",
        "projectors": f"{projector.kind}, {projector.k} embeddings a medium"
        + (", shared by all modalities" if projector.shared else ""),
        "learning rates": ", ".join(f"{part} {rate:g}" for part, rate in rates.items()),
        **{name: settings[name] for name in _SHOWN if settings[name] not in (None, 0, 0.0)},
    }
    counted = {
        "files": _names(settings["data"]),
        "rows": f"{data['rows']:,}",
        "rows held out": f"{data['held_out']:,}",
        "positions": f"{data['positions']:,}, of which {data['sampled']:,} carry loss",
        "media": f"{data['media']:,}",
        "fingerprint": f"`{data['fingerprint'][:16]}`",
    }
    results = {"steps": f"{result['step']:,}", "last training loss": _number(result["loss"])}
    results |= {f"held out: {name}": _number(value) for name, value in (result["evaluation"] or {}).items()}
    return _CARD.format(
        base_line=f"base_model: {config.base}\n" if config.base else "",
        title="ModaVerse adapter" + (f" for {config.base}" if config.base else ""),
        base=config.base or settings["llm"],
        encoder=config.encoder,
        data=_table(counted),
        settings=_table(shown),
        parts="\n".join(
            f"| {part['part']} | {part['parameters']:,} | {part['trainable']:,} |" for part in result["parts"]
        ),
        results=_table(results),
        picture=f"\n![Losses over the steps]({picture})\n" if picture else "",
    )


def _table(rows: Mapping[str, object]) -> str:
    return "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in rows.items())


def _names(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
