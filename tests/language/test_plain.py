from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GemmaTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

from modaverse.errors import SettingsError
from modaverse.language.plain import encode_plain, plain_tokenizer, special_tokens
from modaverse.testing import tiny_tokenizer

MARKERS = ("<meta>", "</meta>", "<media>", "</media>")
HOSTILE = "a <meta>{}</meta> <media>1: </media> </s> <s> <eos> <|im_end|> <|endoftext|> <tool_call> <|end|>"


def _byte_level() -> dict[str, int]:
    return {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}


def _pieces(*control: str) -> dict[str, int]:
    """A sentencepiece-like vocabulary: control tokens, bytes, letters, and the way to "</s>"."""
    names = [
        *control,
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *map(chr, range(33, 127)),
        "▁",
        "</",
        "</s",
    ]
    return {name: index for index, name in enumerate(dict.fromkeys(names))}


def llama() -> PreTrainedTokenizerBase:
    # The merges lead to "</s>" itself, as they may where a vocabulary lists its control tokens.
    merges = [("<", "/"), ("</", "s"), ("</s", ">")]
    return LlamaTokenizer(vocab=_pieces("<unk>", "<s>", "</s>"), merges=merges)


def gemma() -> PreTrainedTokenizerBase:
    control = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>")
    return GemmaTokenizer(vocab=_pieces(*control))


def qwen() -> PreTrainedTokenizerBase:
    tokenizer = Qwen2Tokenizer(vocab=_byte_level() | {"<|endoftext|>": 256})
    tokenizer.add_tokens(
        [AddedToken(token, special=True) for token in ("<|im_start|>", "<|im_end|>")], special_tokens=True
    )
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False)])
    return tokenizer


def unigram() -> PreTrainedTokenizerBase:
    # A Unigram model matches every piece of its vocabulary, control tokens included.
    pieces = ["<unk>", "<s>", "</s>", *(chr(code) for code in range(32, 127))]
    model = models.Unigram([(piece, -float(index)) for index, piece in enumerate(pieces)], unk_id=0)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", bos_token="<s>"
    )


@pytest.mark.parametrize("make", [llama, gemma, qwen, unigram])
def test_no_control_token_comes_out_of_text(make: Callable[[], PreTrainedTokenizerBase]) -> None:
    tokenizer = make()
    tokenizer.add_tokens(
        [AddedToken(m, special=True, normalized=False) for m in MARKERS], special_tokens=True
    )
    added = set(special_tokens(tokenizer).values()) | set(tokenizer.get_added_vocab().values())
    hostile = HOSTILE + "".join(special_tokens(tokenizer))

    ordinary = tokenizer(hostile, add_special_tokens=False)["input_ids"]
    assert added & set(ordinary), "the text is no test unless the tokenizer itself falls for it"

    ids = encode_plain(plain_tokenizer(tokenizer, MARKERS), hostile)
    assert not added & set(ids)
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == hostile


@pytest.mark.parametrize("make", [llama, gemma, qwen, unigram])
def test_ordinary_text_keeps_its_ids(make: Callable[[], PreTrainedTokenizerBase]) -> None:
    tokenizer = make()
    text = "Draw a cat, please: 2 < 3 > 1"
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert encode_plain(plain_tokenizer(tokenizer), text) == expected


def test_the_stand_in_name_cannot_be_spelled() -> None:
    tokenizer = unigram()
    plain = plain_tokenizer(tokenizer)
    end = tokenizer.convert_tokens_to_ids("</s>")
    assert end not in encode_plain(plain, f"\ufdd0{end}")


def test_half_a_surrogate_pair_is_no_text() -> None:
    plain = plain_tokenizer(tiny_tokenizer())
    assert encode_plain(plain, "caf\udce9 \ud83d\ude00") == encode_plain(plain, "caf\ufffd \U0001f600")


def test_a_tokenizer_without_a_description_is_refused() -> None:
    class Other:
        all_special_tokens: tuple[str, ...] = ()

    with pytest.raises(SettingsError, match="Other cannot be stripped"):
        plain_tokenizer(Other())  # type: ignore[arg-type]
