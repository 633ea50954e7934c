"""Mini's tokenizer: byte-level, control tokens at the end, captions short."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from modaverse.toybox.tokenizer import CONTROL, EOS, VOCABULARY, load_tokenizer, train_tokenizer
from modaverse.toybox.wordings.captions import caption
from modaverse.toybox.wordings.vocabulary import lines
from modaverse.toybox.world import COLOURS, THINGS, random_clip_scene, random_scene, random_sound_scene


@cache
def shipped() -> PreTrainedTokenizerFast:
    return load_tokenizer()


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return shipped()


def test_control_tokens_stand_at_the_end_and_end_of_text_last(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) == VOCABULARY
    assert tokenizer.convert_tokens_to_ids(list(CONTROL)) == list(range(VOCABULARY - 5, VOCABULARY))
    assert tokenizer.eos_token == EOS
    assert tokenizer.eos_token_id == VOCABULARY - 1
    assert tokenizer("a cat").input_ids == tokenizer("a cat", add_special_tokens=False).input_ids


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_survives(text: str) -> None:
    tokenizer = shipped()
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_words_of_toybox_are_one_token_each(tokenizer: PreTrainedTokenizerFast) -> None:
    for word in (*THINGS, *COLOURS, "small", "large", "night", "meadow", "beach", "snow", "moving", "sound"):
        assert len(tokenizer(f" {word}").input_ids) == 1, word


def test_numbers_are_cut_into_digits(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("12: 305") == ["1", "2", ":", "Ġ", "3", "0", "5"]


def test_captions_are_short(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = random.Random(0)
    for draw in (random_scene, random_clip_scene, random_sound_scene):
        texts = [caption(draw(rng, held_out=None), rng) for _ in range(300)]
        assert max(map(len, tokenizer(texts).input_ids)) <= 20


def test_a_conversation_is_written_with_its_turn_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Bye"},
    ]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<|user|>Hi<|assistant|>Hello!<|end|><|user|>Bye<|assistant|>"
    ids = tokenizer(text).input_ids
    assert [tokenizer.convert_ids_to_tokens(i) for i in ids if i >= VOCABULARY - 5] == [
        "<|user|>", "<|assistant|>", "<|end|>", "<|user|>", "<|assistant|>",
    ]  # fmt: skip


def test_training_is_repeatable() -> None:
    one, other = (train_tokenizer(3, 600, lines=400) for _ in range(2))
    assert len(one) == 600
    assert one.get_vocab() == other.get_vocab()
    assert one.eos_token_id == 599


def test_what_it_learns_from_holds_no_control_token() -> None:
    assert not any(mark in line for line in lines(0, 2000) for mark in (*CONTROL, "<meta", "<media"))
