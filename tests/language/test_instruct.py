"""Untrained instruct LLMs of several families: tiny random weights, but the families' own model and tokenizer
classes, control tokens and turn formats. Only the pieces of the vocabularies are trained here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GemmaTokenizer,
    LlamaConfig,
    LlamaTokenizer,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    Qwen3Config,
)

from modaverse.assembly import load_language
from modaverse.context import Malformed, MediaReady, MetaResponse, Modality, Text
from modaverse.errors import InputError, SettingsError
from modaverse.generation import GeneratorPool
from modaverse.interfaces import CallSpec, Pixels, Sampling
from modaverse.language.instruct import load_instruct, system_prompt
from modaverse.language.model import MultimodalLM
from modaverse.metaresponse import Catalogue, TokenMask, Vocabulary
from modaverse.metaresponse.grammar import load_dialect
from modaverse.metaresponse.mask import Matcher
from modaverse.orchestrator import AnswerSettings, Orchestrator
from modaverse.pipeline import ModaVerse
from modaverse.settings import Profile
from modaverse.testing import ScriptedEncoder, ScriptedGenerator

LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
QWEN = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }}[/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('no system role') }}{% endif %}{% endfor %}"
)
Pieces = Any  # the fixture of tests/language/conftest.py
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,
}


def control(*names: str, special: bool = True) -> list[AddedToken]:
    return [AddedToken(name, special=special, normalized=False) for name in names]


def llama(pieces: Pieces) -> tuple[Any, Any]:
    vocab, merges = pieces.byte_level([])
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    backend.add_special_tokens(control(*names))
    backend.post_processor = processors.TemplateProcessing(
        single=f"{names[0]} $A", special_tokens=[(names[0], backend.token_to_id(names[0]))]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=names[0], eos_token=names[4])
    tokenizer.chat_template = LLAMA
    return tokenizer, LlamaConfig


def qwen(pieces: Pieces) -> tuple[Any, Any]:
    vocab, merges = pieces.byte_level([])
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges)
    tokenizer.add_tokens(control("<|im_start|>", "<|im_end|>"), special_tokens=True)
    tokenizer.add_tokens(control("<tool_call>", "</tool_call>", special=False))
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.chat_template = QWEN
    return tokenizer, Qwen3Config


def gemma(pieces: Pieces) -> tuple[Any, Any]:
    vocab, merges = pieces.sentence_piece(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges)
    tokenizer.add_tokens(control("<start_of_turn>", "<end_of_turn>"), special_tokens=True)
    tokenizer.chat_template = GEMMA
    return tokenizer, Gemma2Config


def mistral(pieces: Pieces) -> tuple[Any, Any]:
    vocab, merges = pieces.sentence_piece(["<unk>", "<s>", "</s>"])
    tokenizer = LlamaTokenizer(vocab=vocab, merges=merges)
    tokenizer.add_tokens(control("[INST]", "[/INST]"), special_tokens=True)
    tokenizer.chat_template = MISTRAL
    return tokenizer, MistralConfig


FAMILIES: Mapping[str, Callable[[Pieces], tuple[Any, Any]]] = {
    "llama": llama,
    "qwen": qwen,
    "gemma": gemma,
    "mistral": mistral,
}
STEPS = {"properties": {"steps": {"type": "integer", "minimum": 1, "maximum": 9}}}
CALLS = (
    CallSpec("TI-to-I", Modality.IMAGE, Modality.IMAGE, max_input_chars=40),
    CallSpec("T-to-I", Modality.IMAGE, None, {"type": "object", **STEPS}, max_input_chars=40),
    CallSpec("T-to-A", Modality.AUDIO, max_input_chars=40),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, pieces: Pieces) -> Mapping[str, Path]:
    """An LLM of each family on disk, where it is loaded from by its name as any LLM is."""
    made = {}
    for name, family in FAMILIES.items():
        tokenizer, config = family(pieces)
        folder = made[name] = tmp_path_factory.mktemp(name)
        ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            llm = AutoModelForCausalLM.from_config(
                config(vocab_size=len(tokenizer), pad_token_id=None, **SIZES, **ends)
            )
        llm.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return made


@pytest.fixture(params=FAMILIES)
def lm(request: pytest.FixtureRequest, folders: Mapping[str, Path]) -> MultimodalLM:
    return load_language(untrained(folders[request.param]), torch.device("cpu"), calls=CALLS)


def untrained(folder: Path) -> Profile:
    """A profile that names the LLM in `folder`, and no adapter."""
    values = {
        "name": "plain",
        "llm": {"path": folder},
        "encoder": {"path": folder / "none"},
        "answer": {"grammar": "tool_call", "splice": "none"},
    }
    return Profile.model_validate(values)


class Begun:
    """The token mask of an answer that begins with given tokens, which random weights would never write."""

    def __init__(self, mask: TokenMask, ids: list[int]) -> None:
        self._mask, self._ids = mask, ids

    def start(self, sources: Mapping[int, Modality], tokens_left: int, *, calls_left: int) -> Begun:
        self._left = list(self._ids)
        self._matcher: Matcher = self._mask.start(sources, tokens_left, calls_left=calls_left)
        return self

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        allowed = self._matcher.allow(logits)
        if self._left:
            assert allowed[self._left[0]] > -torch.inf
            return torch.full_like(allowed, -torch.inf).index_fill(0, torch.tensor(self._left[:1]), 0.0)
        return allowed

    def accept(self, token: int) -> None:
        self._matcher.accept(token)
        del self._left[:1]


def orchestrator(lm: MultimodalLM, folder: Path, *, generators: list[Any], begun: str = "") -> Orchestrator:
    """One whose answers begin with `begun`, or are as they come."""
    vocabulary = Vocabulary.from_tokenizer(lm.tokenizer, ends=sorted(lm.script.ends))
    mask = TokenMask.compile(vocabulary, Catalogue([g.spec for g in generators]), grammar="tool_call")
    ids = lm.tokenizer(begun, add_special_tokens=False)["input_ids"]
    return Orchestrator(
        lm,
        ScriptedEncoder(),
        GeneratorPool(generators, folder),
        vocabulary=vocabulary,
        mask=Begun(mask, ids) if begun else mask,
        grammar="tool_call",
    )


def test_a_random_llm_of_each_family_calls_what_is_there(lm: MultimodalLM, tmp_path: Path) -> None:
    picture = Pixels(np.zeros((4, 4, 3), np.uint8))
    generator = ScriptedGenerator(
        "T-to-I", Modality.IMAGE, picture, options_schema={"type": "object", **STEPS}
    )
    engine = orchestrator(lm, tmp_path, generators=[generator], begun="Here: <tool_call>\n")
    settings = AnswerSettings(3, Sampling(1.0, 1.0, 190), splice="none")
    events = list(engine.stream(engine.conversation(), [Text("Draw a boat.")], settings))
    assert not [event for event in events if isinstance(event, Malformed)]
    calls = [event for event in events if isinstance(event, MetaResponse)]
    assert calls
    assert {call.model for call in calls} == {"T-to-I"}
    assert calls[0].input
    assert [event.media.modality for event in events if isinstance(event, MediaReady)][:1] == ["image"]
    assert generator.requests[0].prompt == calls[0].input


def test_what_was_made_can_be_changed_by_number(folders: Mapping[str, Path], tmp_path: Path) -> None:
    lm = load_instruct(folders["llama"], CALLS, grammar="tool_call")
    picture = Pixels(np.zeros((4, 4, 3), np.uint8))
    draw = ScriptedGenerator("T-to-I", Modality.IMAGE, picture)
    change = ScriptedGenerator("TI-to-I", Modality.IMAGE, picture, source=Modality.IMAGE)
    begun = '<tool_call>\n{"name": "T-to-I"'
    engine = orchestrator(lm, tmp_path, generators=[draw, change], begun=begun)
    settings = AnswerSettings(3, Sampling(1.0, 1.0, 160), splice="none")
    conversation = engine.conversation()
    first = list(engine.stream(conversation, [Text("Draw a boat.")], settings))
    made = [event.media for event in first if isinstance(event, MediaReady)]
    begun = '<tool_call>\n{"name": "TI-to-I"'
    engine.mask = orchestrator(lm, tmp_path, generators=[draw, change], begun=begun).mask
    list(engine.stream(conversation, [Text("Make it blue.")], settings))
    assert change.requests[0].source in made


def test_its_turns_are_those_of_its_chat_template(lm: MultimodalLM) -> None:
    transcript = lm.transcript(seed=0, sampling=Sampling())
    transcript.add_user_start()
    transcript.add_text("Draw a boat.")
    transcript.add_user_end()
    ours = lm.tokenizer.decode([i for span in transcript.spans() for i in span.ids])
    prompt = system_prompt(CALLS, load_dialect("tool_call"))
    turns = [{"role": "system", "content": prompt}, {"role": "user", "content": "Draw a boat."}]
    if "no system role" in lm.tokenizer.chat_template:
        turns = [{"role": "user", "content": f"{prompt}\n\nDraw a boat."}]
    theirs = lm.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    # A SentencePiece tokenizer takes each text for a beginning, and puts a space before it.
    assert ours.replace("  Draw", "Draw").replace(" Draw", "Draw") == theirs.replace(" Draw", "Draw")
    assert prompt in ours


def test_media_are_refused(folders: Mapping[str, Path]) -> None:
    profile = untrained(folders["qwen"])
    engine = ModaVerse.from_profile(profile)
    with pytest.raises(InputError, match="LLM reads no media") as caught:
        engine.run("What is this?", media=[Pixels(np.zeros((4, 4, 3), np.uint8))])
    assert "modaverse train" in caught.value.hint
    with pytest.raises(InputError, match="reads no media"):
        engine.run("Draw a boat.", splice="wait")
    lm = load_instruct(folders["qwen"], CALLS, grammar="tool_call")
    with pytest.raises(InputError, match="cannot read video: it has no projector"):
        lm.transcript(seed=0, sampling=Sampling()).add_media(1, Modality.VIDEO, torch.zeros(0))
    with pytest.raises(ValidationError, match="an LLM without an adapter reads no media"):
        Profile.model_validate({**profile.model_dump(), "answer": {}})


def test_a_marker_that_is_a_token_may_be_sampled(folders: Mapping[str, Path]) -> None:
    lm = load_instruct(folders["qwen"], CALLS, grammar="tool_call")
    opener = lm.tokenizer.convert_tokens_to_ids("<tool_call>")
    assert (lm.config.transcript.meta_open, lm.token_bias[opener].item()) == ("<tool_call>", 0.0)
    assert load_instruct(folders["llama"], CALLS, grammar="tool_call").config.transcript.markers == ()


def test_the_prompt_describes_just_the_calls_that_there_are() -> None:
    text = system_prompt(CALLS, load_dialect("tool_call"))
    tools = [json.loads(line)["function"] for line in text.splitlines() if line.startswith('{"type"')]
    assert [tool["name"] for tool in tools] == ["T-to-A", "T-to-I", "TI-to-I"]
    assert tools[1]["parameters"]["properties"]["steps"] == STEPS["properties"]["steps"]
    assert tools[2]["parameters"]["required"] == ["source", "prompt"]
    assert "is numbered 1, 2, 3" in text
    alone = system_prompt(CALLS[2:], load_dialect("tool_call"))
    assert "numbered" not in alone
    assert "T-to-I" not in alone
    assert '{"name": "T-to-A", "arguments": {"prompt": ' in alone


def test_a_dialect_of_no_functions_is_refused() -> None:
    for grammar in ("meta_response", "modaverse_v0"):
        with pytest.raises(SettingsError, match=f"{grammar} are no function calls") as caught:
            system_prompt(CALLS, load_dialect(grammar))
        assert "tool_call" in caught.value.hint


def test_the_tokenizers_are_of_the_families_own_classes(folders: Mapping[str, Path]) -> None:
    kinds = {name: type(AutoTokenizer.from_pretrained(folder)) for name, folder in folders.items()}
    assert (kinds["qwen"], kinds["gemma"]) == (Qwen2Tokenizer, GemmaTokenizer)
