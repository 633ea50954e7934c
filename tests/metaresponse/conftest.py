"""What may be called in these tests, and small tokenizers of the kinds that LLMs have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from modaverse.context import Modality, ParserEvent, TextDelta
from modaverse.interfaces import CallSpec
from modaverse.metaresponse import Catalogue, Vocabulary

OPTIONS = {
    "type": "object",
    "properties": {
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
        "steps": {"type": "integer", "minimum": 1, "maximum": 100},
        "strength": {"type": "number", "minimum": 0, "maximum": 1},
        "style": {"enum": ["plain", "bold"]},
        "negative": {"type": "string", "maxLength": 8},
    },
    "additionalProperties": False,
}

SPECS = (
    CallSpec("T-to-I", Modality.IMAGE, None, OPTIONS, 40),
    CallSpec("T-to-A", Modality.AUDIO, None, max_input_chars=40),
    CallSpec("TI-to-I", Modality.IMAGE, Modality.IMAGE, OPTIONS, 40),
    CallSpec("TA-to-A", Modality.AUDIO, Modality.AUDIO, max_input_chars=40),
)

TEXTS = [
    "Here is a small red cat on a beach, and that is the low, slow sound of a bell at night. <a> {b} [c]\n",
    '{"Model": "T-to-I", "Input": "a brown dog", "Options": {"seed": 12, "steps": 3}, "Source": 1}',
    '{"name": "T-to-A", "arguments": {"prompt": "a \\"bell\\"", "source": 2}}\n',
    "Ein kleines Tier für dich: é 日本語 😀 — it's done! <tool_call> <meta> </meta>",
] * 4


@cache
def byte_level() -> Tokenizer:
    """Byte-level BPE, as Llama 3, Qwen and mini have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=alphabet, special_tokens=["</s>"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


@cache
def sentencepiece_like() -> Tokenizer:
    """BPE over characters with bytes to fall back to, as Llama 2, Mistral and Gemma have it."""
    plain = Tokenizer(models.BPE())
    plain.normalizer = normalizers.Replace(" ", "▁")
    plain.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    learnt = plain.get_vocab()
    special = ["<unk>", "<s>", "</s>"]
    pieces = special + [f"<0x{byte:02X}>" for byte in range(256)] + sorted(learnt, key=learnt.__getitem__)
    merges = [tuple(merge) for merge in json.loads(plain.to_str())["model"]["merges"]]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(special)
    return tokenizer


KINDS = {"byte-level": byte_level, "sentencepiece": sentencepiece_like}
MakeTokenizer = Callable[[str, Iterable[str]], PreTrainedTokenizerFast]


@pytest.fixture(scope="session")
def make_tokenizer() -> MakeTokenizer:
    """A tokenizer of a kind ("byte-level", "sentencepiece"), extended by markers."""

    def make(kind: str, markers: Iterable[str]) -> PreTrainedTokenizerFast:
        backend = Tokenizer.from_str(KINDS[kind]().to_str())
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
        tokenizer.add_tokens(list(markers), special_tokens=True)
        return tokenizer

    return make


@pytest.fixture(scope="session", params=list(KINDS))
def tokenizer(request: pytest.FixtureRequest, make_tokenizer: MakeTokenizer) -> PreTrainedTokenizerFast:
    """Each kind, with the markers of the project's own language."""
    return make_tokenizer(request.param, ("<meta>", "</meta>", "<media>", "</media>"))


@pytest.fixture(scope="session")
def vocabulary(tokenizer: PreTrainedTokenizerFast) -> Vocabulary:
    return Vocabulary.from_tokenizer(tokenizer)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue(SPECS)


@pytest.fixture(scope="session")
def joined() -> Callable[[Iterable[ParserEvent]], list[ParserEvent]]:
    """Events with adjacent text joined: what does not depend on how the input was cut."""

    def join(events: Iterable[ParserEvent]) -> list[ParserEvent]:
        result: list[ParserEvent] = []
        for event in events:
            if type(event) is TextDelta and result and type(result[-1]) is TextDelta:
                result[-1] = TextDelta(result[-1].text + event.text)
            else:
                result.append(event)
        return result

    return join
