"""Tokens as bytes, for each kind of tokenizer."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from modaverse.errors import ModelError
from modaverse.metaresponse import Vocabulary

TEXT = 'a "small" é 日本 😀 \n\t{x} <meta> in text, <y>'


def test_bytes_join_to_the_text(tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary) -> None:
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert vocabulary.text(ids) == TEXT
    assert vocabulary.added["<meta>"] in ids
    assert vocabulary.tokens[vocabulary.added["<meta>"]] == b"<meta>"


def test_it_knows_what_is_no_text(tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary) -> None:
    assert vocabulary.ends == (tokenizer.eos_token_id,)
    assert {vocabulary.added["<media>"], *vocabulary.ends} <= vocabulary.special
    assert len(vocabulary) == len(tokenizer)
    assert Vocabulary.from_tokenizer(tokenizer, ends=[7]).ends == (tokenizer.eos_token_id, 7)


def test_every_byte_that_text_can_have_is_a_token(vocabulary: Vocabulary) -> None:
    for byte in (*range(0x20, 0x7F), 0x80, 0xBF, 0xC3, 0xF0):
        assert vocabulary.bytes(vocabulary.single(byte)) == bytes([byte])
    assert vocabulary.bytes(len(vocabulary)) == vocabulary.bytes(-1) == b""


def test_control_tokens_with_letters_of_no_byte_are_taken_as_they_are() -> None:
    """DeepSeek's are in the vocabulary itself, with a full-width bar that byte-level BPE has no use for."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = Tokenizer(models.BPE({piece: index for index, piece in enumerate([*letters, "<｜end｜>"])}, []))
    pieces.decoder = decoders.ByteLevel()
    vocabulary = Vocabulary.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=pieces))
    assert vocabulary.tokens[256] == "<｜end｜>".encode()
    assert {vocabulary.bytes(token) for token in range(256)} == {bytes([byte]) for byte in range(256)}


def test_tokens_without_bytes_are_refused() -> None:
    pieces = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    pieces.decoder = decoders.WordPiece()
    with pytest.raises(ModelError, match="no bytes of their own"):
        Vocabulary.from_tokenizer(PreTrainedTokenizerFast(tokenizer_object=pieces))
    with pytest.raises(ModelError, match="not backed by the tokenizers library"):
        Vocabulary.from_tokenizer(object())
