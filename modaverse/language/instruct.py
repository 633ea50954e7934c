"""An instruct LLM as it is: no adapter, no projectors, only a system prompt that tells what can be called.

The prompt is written from the catalogue, so that it names exactly the generators that are there. It has the
form in which many instruct LLMs met tools in their training: a function on each line, described by a JSON
Schema, and calls between the markers of the dialect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from modaverse.errors import SettingsError
from modaverse.interfaces import CallSpec
from modaverse.language.chat_template import scheme_of
from modaverse.language.model import MultimodalLM
from modaverse.language.projector import Projectors
from modaverse.language.storage import DeviceMap, LanguageConfig, load_base
from modaverse.metaresponse.grammar import Dialect, load_dialect
from modaverse.settings import ProjectorSettings, Quantized, TranscriptSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROMPT = """You are an assistant that can make pictures, videos and sounds by calling functions.

These are the functions, one on each line, described by JSON Schemas:
<tools>
{tools}
</tools>

To call one, write a JSON object between {open} and {close}, anywhere in your answer:
{example}
{rules}"""

_RULES = (
    "Describe in `{input}` all that is to be seen or heard, in one or two sentences; the function knows "
    "nothing else of the conversation.",
    "Call a function for each thing that is asked for, and only when one is asked for. Never describe a call "
    "in words instead of making it.",
    "Leave out an option unless the request asks for it.",
)
_NUMBERED = (
    "What the functions make is numbered 1, 2, 3 and so on, in the order of the calls; `{source}` is the "
    "number of what is to be changed or animated."
)
_ARTICLES = {"image": "an image", "video": "a video", "audio": "a sound"}


def load_instruct(
    base: str | Path,
    calls: Iterable[CallSpec],
    *,
    grammar: str,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    quantized: Quantized | None = None,
    device_map: DeviceMap | None = None,
) -> MultimodalLM:
    """The LLM at `base` with a system prompt about `calls`, to be made in the dialect `grammar`.

    Raises:
        ModelNotFound, CheckpointError: see `load_base`.
        SettingsError: the dialect's calls are no function calls, or the LLM has no usable chat template.
    """
    dialect = load_dialect(grammar)
    prompt = system_prompt(calls, dialect)
    llm, tokenizer = load_base(
        base, revision=revision, dtype=dtype, quantized=quantized, device_map=device_map
    )
    config = LanguageConfig(
        base="" if Path(base).is_dir() else str(base),
        revision=revision,
        embedding_dim=0,
        projector=ProjectorSettings(k=1),
        transcript=_transcript(tokenizer, dialect, prompt),
    )
    hidden = llm.get_input_embeddings().weight.shape[1]
    model = MultimodalLM(llm, tokenizer, Projectors(config.projector, 0, hidden, modalities=()), config)
    return model.requires_grad_(False).eval()


def system_prompt(calls: Iterable[CallSpec], dialect: Dialect) -> str:
    """What an LLM must be told to make these calls in this dialect.

    Raises:
        SettingsError: the dialect's calls are no function calls with named arguments.
    """
    names = _names(dialect)
    calls = sorted(calls, key=lambda spec: (spec.source is not None, spec.model))
    rules = [*_RULES, *([_NUMBERED] if any(spec.source for spec in calls) else [])]
    example = {
        names.model: calls[0].model if calls else "",
        names.arguments: {names.input: "a small red boat on a calm lake, early morning"},
    }
    return _PROMPT.format(
        tools="\n".join(_json(_tool(spec, names)) for spec in calls),
        open=dialect.opener.text,
        close=dialect.closer.text,
        example=f"{dialect.opener.text}\n{_json(example)}\n{dialect.closer.text}",
        rules="\n".join(f"- {rule}" for rule in rules).format(input=names.input, source=names.source),
    )


class _Names(NamedTuple):
    """What a dialect calls the parts of a function call."""

    model: str
    arguments: str
    input: str
    source: str


def _names(dialect: Dialect) -> _Names:
    places = {field: place.keys for field, place in dialect.fields.items()}
    match places:
        case {
            "model": (model,),
            "input": (arguments, prompt),
            "options": (options,),
            "source": (sources, source),
        } if arguments == options == sources:
            return _Names(model, arguments, prompt, source)
    raise SettingsError(
        f"calls of the dialect {dialect.name} are no function calls, and an LLM without an adapter knows no "
        "others",
        hint='Set answer.grammar to "tool_call", or llm.adapter to what was trained on this dialect.',
    )


def _tool(spec: CallSpec, names: _Names) -> dict[str, Any]:
    """One function, in the form that chat templates of LLMs share."""
    made = _ARTICLES[spec.makes]
    properties: dict[str, Any] = {names.input: {"type": "string", "maxLength": spec.max_input_chars}}
    required = [names.input, *spec.options_schema.get("required", ())]
    if spec.source is None:
        about = f"Makes {made} from a description in words."
    else:
        properties[names.source] = {"type": "integer", "minimum": 1}
        required.insert(0, names.source)
        given = _ARTICLES[spec.source]
        about = f"Changes {made}" if spec.source == spec.makes else f"Makes {made} out of {given}"
        about += f" that is there already, as a description in words says; `{names.source}` is its number."
    properties |= spec.options_schema.get("properties", {})
    parameters = {"type": "object", "properties": properties, "required": required}
    return {
        "type": "function",
        "function": {"name": spec.model, "description": about, "parameters": parameters},
    }


def _transcript(tokenizer: PreTrainedTokenizerBase, dialect: Dialect, prompt: str) -> TranscriptSettings:
    """The LLM's own turns. A marker of calls that is one token of its vocabulary may be sampled, whatever
    else it is; one that is not is spelled.
    """
    own = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    opener, closer = dialect.opener.text, dialect.closer.text
    markers = {"meta_open": opener if opener in own else "", "meta_close": closer if closer in own else ""}
    scheme = scheme_of(tokenizer, system=prompt)
    return scheme.model_copy(update={**markers, "media_open": "", "media_close": ""})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
