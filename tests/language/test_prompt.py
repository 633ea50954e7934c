from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from modaverse.context import Context, Media, MetaResponse, Modality, Role, Text
from modaverse.errors import SettingsError
from modaverse.language.prompt import MAX_NOTE_CHARS, Script, Slot, Span, Tokens, join, write_call
from modaverse.settings import TranscriptSettings
from modaverse.testing import tiny_tokenizer


def _media(modality: Modality) -> Media:
    return Media(modality, Path("x"), "image/png", "0")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    markers = [AddedToken(m, special=True, normalized=False) for m in TranscriptSettings().markers]
    tokenizer.add_tokens(markers, special_tokens=True)
    return tokenizer


def show(tokenizer: PreTrainedTokenizerFast, spans: list[Span]) -> str:
    """The transcript as text, ⟪⟫ around what is sampled, ▪ for a medium."""
    shown = ""
    for span in spans:
        if isinstance(span, Slot):
            shown += f"▪{span.modality}{span.number}"
        else:
            text = tokenizer.decode(span.ids)
            shown += f"⟪{text}⟫" if span.sampled else text
    return shown


def test_a_conversation_reads_as_the_design_says(tokenizer: PreTrainedTokenizerFast) -> None:
    context = (
        Context()
        .with_turn(Role.USER, _media(Modality.AUDIO), Text("Draw what you hear."))
        .with_turn(
            Role.ASSISTANT,
            Text("Here it is: "),
            MetaResponse("T-to-I", "a brown dog"),
            _media(Modality.IMAGE),
            Text(" That is a brown dog."),
        )
        .with_turn(Role.USER, Text("Thanks"))
    )
    assert show(tokenizer, Script(tokenizer, TranscriptSettings()).context(context)) == (
        "<|user|><media>1: ▪audio1</media>Draw what you hear.<|assistant|>"
        '⟪Here it is: <meta>{"Model": "T-to-I", "Input": "a brown dog"}</meta>⟫'
        "<media>2: ▪image2</media>⟪ That is a brown dog.<|end|>⟫"
        "<|user|>Thanks<|assistant|>"
    )


def test_the_scheme_is_a_setting(tokenizer: PreTrainedTokenizerFast) -> None:
    settings = TranscriptSettings(
        start="Be kind.\n",
        user_start="### Human: ",
        user_end="\n### Assistant:",
        between="\n",
        media_label="",
    )
    context = Context().with_turn(Role.USER, Text("A")).with_turn(Role.ASSISTANT, Text("B"))
    context = context.with_turn(Role.USER, _media(Modality.VIDEO))
    assert show(tokenizer, Script(tokenizer, settings).context(context)) == (
        "Be kind.\n### Human: A\n### Assistant:⟪B<|end|>⟫\n### Human: <media>▪video1</media>\n### Assistant:"
    )


def test_control_tokens_in_text_stay_text_for_both_sides(tokenizer: PreTrainedTokenizerFast) -> None:
    script = Script(tokenizer, TranscriptSettings())
    text = "".join(tokenizer.added_tokens_encoder)
    control = set(tokenizer.added_tokens_encoder.values())
    for (span,) in (script.text(text), script.text(text, sampled=True)):
        assert isinstance(span, Tokens)
        assert not control & set(span.ids)
    call = MetaResponse("T-to-I", text)
    (span,) = script.call(call, sampled=True)
    assert isinstance(span, Tokens)
    assert [index for index in span.ids if index in control] == tokenizer.convert_tokens_to_ids(
        ["<meta>", "</meta>"]
    )


def test_a_note_is_one_line_of_outside_text_and_short(tokenizer: PreTrainedTokenizerFast) -> None:
    script = Script(tokenizer, TranscriptSettings())
    assert (
        show(tokenizer, script.note("out of\n memory </media>"))
        == "<media>failed: out of memory </media></media>"
    )
    (span,) = script.note("</media>" + "x" * 5000)
    assert isinstance(span, Tokens)
    assert span.ids.count(tokenizer.convert_tokens_to_ids("</media>")) == 1
    assert len(tokenizer.decode(span.ids)) < MAX_NOTE_CHARS + 40


def test_calls_have_one_spelling() -> None:
    call = MetaResponse("TI-to-I", "make it „blau“", {"seed": 3}, source=2, raw="anything")
    assert write_call(call) == (
        '{"Model": "TI-to-I", "Input": "make it „blau“", "Options": {"seed": 3}, "Source": 2}'
    )


def test_what_no_answer_may_contain(tokenizer: PreTrainedTokenizerFast) -> None:
    script = Script(tokenizer, TranscriptSettings())
    names = set(tokenizer.convert_ids_to_tokens(sorted(script.never_sampled)))
    assert names == {"<|pad|>", "<|user|>", "<|assistant|>", "<media>", "</media>"}


def test_an_end_must_be_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(SettingsError, match="'the end' must be one token"):
        Script(tokenizer, TranscriptSettings(assistant_end="the end"))


def test_join_keeps_the_marks() -> None:
    spans = [
        Tokens((1,)),
        Tokens((2,)),
        Tokens((3,), True),
        Slot(1, Modality.IMAGE),
        Tokens((4,)),
        Tokens(()),
    ]
    assert join(spans) == [Tokens((1, 2)), Tokens((3,), True), Slot(1, Modality.IMAGE), Tokens((4,))]
