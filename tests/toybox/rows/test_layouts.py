"""Rows in which the LLM writes on while media are made, and rows in which generators fail."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from modaverse.context import Context, GenerationFailed, Media, MetaResponse, Part, Role, Text, Turn
from modaverse.language.prompt import Script, Slot, Tokens
from modaverse.metaresponse import StreamParser, Vocabulary
from modaverse.settings import TranscriptSettings, load_profile
from modaverse.splicing import SplicePlaces
from modaverse.testing import tiny_tokenizer
from modaverse.toybox.rows import AFTER, DEFERRED, sample_row, sample_rows, write_rows
from modaverse.toybox.rows.chat import answers
from modaverse.toybox.uris import modality_of
from modaverse.training.layout import Layout
from modaverse.training.rows import (
    CallPart,
    FailedPart,
    MediaPart,
    Row,
    RowPart,
    TextPart,
    from_json,
    read_jsonl,
    to_json,
)


@cache
def layout() -> Layout:
    return Layout(tiny_tokenizer(), after=AFTER)


@cache
def rows() -> tuple[Row, ...]:
    """Rows of every intent, all in the deferred layout, with many failures."""
    return tuple(
        sample_row(random.Random(seed), layout=layout(), failing=0.1, editing=seed % 2 == 0)
        for seed in range(280)
    )


def calling(some: tuple[Row, ...]) -> Iterator[tuple[RowPart, ...]]:
    """The parts of each answer that calls something."""
    for row in some:
        for turn in row.turns:
            if any(isinstance(part, CallPart) for part in turn.parts):
                yield turn.parts


def is_deferred(parts: tuple[RowPart, ...]) -> bool:
    """Whether something stands between a call and the next medium or note."""
    follows = [type(after) for part, after in pairwise(parts) if isinstance(part, CallPart)]
    return any(kind in (TextPart, CallPart) for kind in follows)


def test_rows_survive_their_format() -> None:
    for row in rows():
        assert from_json(to_json(row)) == row


def test_media_come_where_decoding_splices_them() -> None:
    """The sampled tokens of each row, as training reads them, through the parser that decoding has."""
    tokenizer = tiny_tokenizer()
    settings = TranscriptSettings()
    tokenizer.add_special_tokens({"additional_special_tokens": list(settings.markers)})
    script = Script(tokenizer, settings)
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    spliced = early = 0
    for row in rows():
        context = Context(tuple(Turn(turn.role, tuple(map(as_part, turn.parts))) for turn in row.turns))
        for index, turn in enumerate(context.turns):
            if turn.role is not Role.ASSISTANT or not any(isinstance(p, MetaResponse) for p in turn.parts):
                continue
            before = length(script, Context(context.turns[:index]))
            spans = script.context(Context(context.turns[: index + 1]))
            parser, places, due = StreamParser(vocabulary=vocabulary), SplicePlaces(AFTER), 0
            for kind, token in list(flat(spans))[before:]:
                if kind == "sampled" and token not in script.ends:
                    assert due == 0, "decoding would have spliced here"
                    due = places.read(parser.feed_ids((token,)), settled=parser.settled)
                elif kind == "outcome":
                    if due == 0:
                        due = places.end()  # the LLM had nothing more to say until then
                    else:
                        early += 1
                    due -= 1
                    spliced += 1
            assert (due, places.end()) == (0, 0)
    assert spliced > 200
    assert early > spliced / 2


def as_part(part: RowPart) -> Part:
    match part:
        case TextPart(text=text):
            return Text(text)
        case CallPart(model=model, input=prompt, options=options, source=source):
            return MetaResponse(model, prompt, options, source)
        case MediaPart(uri=uri):
            return Media(modality_of(uri), Path(), "", uri)
        case FailedPart(cause=cause):
            return GenerationFailed(0, cause)


def flat(spans: list[Tokens | Slot]) -> Iterator[tuple[str, int]]:
    """Each sampled token, and an "outcome" for each medium and note."""
    for span in spans:
        if isinstance(span, Slot):
            yield "outcome", span.number
        elif span.sampled:
            yield from (("sampled", token) for token in span.ids)
        elif b"failed: " in b"".join(map(vocabulary_bytes, span.ids)):
            yield "outcome", 0


def vocabulary_bytes(token: int) -> bytes:
    return _VOCABULARY.bytes(token)


_VOCABULARY = Vocabulary.from_tokenizer(tiny_tokenizer())


def length(script: Script, context: Context) -> int:
    return len(list(flat(script.context(context))))


def test_between_a_call_and_its_medium_nothing_is_claimed_about_it() -> None:
    waiting = {
        alternative.source.partition("* ")[2] or alternative.source
        for rule in ("meanwhile.one", "meanwhile.many")
        for alternative in answers().rules[rule]
    }
    looked = 0
    for parts in calling(rows()):
        calls = [index for index, part in enumerate(parts) if isinstance(part, CallPart)]
        if len(calls) > 1 or not isinstance(parts[min(calls[0] + 1, len(parts) - 1)], TextPart):
            continue
        said = parts[calls[0] + 1]
        assert isinstance(said, TextPart)
        if "I" in said.text or "." in said.text:
            sentences = {f"{each.strip()}." for each in said.text.split(".") if each.strip()}
            refused = any("world" in each or "wish" in each or "know" in each for each in sentences)
            assert refused or sentences <= waiting, said.text
            looked += 1
    assert looked > 60


def test_what_was_made_is_talked_about_once_it_is_there() -> None:
    after = sum(
        isinstance(part, MediaPart) and any(isinstance(later, TextPart) for later in parts[index:])
        for parts in calling(rows())
        for index, part in enumerate(parts)
    )
    assert after > 100


def test_several_calls_are_at_work_at_once() -> None:
    assert any(
        sum(isinstance(part, CallPart) for part in parts[:index]) == 3
        for parts in calling(rows())
        for index, part in enumerate(parts)
        if isinstance(part, MediaPart) and not any(isinstance(p, MediaPart) for p in parts[:index])
    )


def test_failures_stand_in_the_place_of_media_and_are_talked_about() -> None:
    failures = 0
    for row in rows():
        for index, truth in enumerate(row.about["turns"]):
            parts = row.turns[2 * index + 1].parts
            calls = [part for part in parts if isinstance(part, CallPart)]
            outcomes = [part for part in parts if isinstance(part, MediaPart | FailedPart)]
            assert len(outcomes) == len(calls) == len(truth["calls"])
            for outcome, call in zip(outcomes, truth["calls"], strict=True):
                assert isinstance(outcome, FailedPart) == ("failed" in call)
                assert "{" not in getattr(outcome, "cause", "")
            failed = [place for place, part in enumerate(parts) if isinstance(part, FailedPart)]
            failures += len(failed)
            if failed:
                said = "".join(part.text for part in parts[failed[0] :] if isinstance(part, TextPart))
                assert "not work out" in said or "not be made" in said or "could not make" in said
    assert failures > 12


def test_a_share_of_the_rows_of_mini_is_deferred_and_some_calls_fail() -> None:
    some = tuple(sample_rows(600, 3, layout=layout()))
    several = [is_deferred(parts) for parts in calling(some)]
    assert abs(sum(several) / len(several) - DEFERRED) < 0.07
    failed = [any(isinstance(part, FailedPart) for part in parts) for parts in calling(some)]
    assert 0.005 < sum(failed) / len(failed) < 0.06
    assert not any(map(is_deferred, calling(tuple(sample_rows(200, 3)))))
    evaluated = calling(tuple(sample_rows(200, 3, "held_out")))
    assert not any(isinstance(part, FailedPart) for parts in evaluated for part in parts)


def test_rows_are_written_in_the_layout(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", 40, 3, layout=layout())
    assert tuple(read_jsonl(tmp_path / "rows.jsonl")) == tuple(sample_rows(40, 3, layout=layout()))


def test_mini_decodes_as_it_is_trained() -> None:
    assert load_profile("mini").answer.splice_after == AFTER


@pytest.mark.parametrize(("after", "first"), [(0, " It comes."), (11, " It comes. Soon."), (500, None)])
def test_a_layout_says_where_media_come(after: int, first: str | None) -> None:
    answer = Layout(tiny_tokenizer(), after=after).answer()
    assert list(answer.text("Here. ")) == [("Here. ", 0)]
    answer.call(CallPart("T-to-I", "a cat"))
    text = " It comes. Soon. A cat with a long, long tail."
    runs = list(answer.text(text))
    assert "".join(run for run, _ in runs) == text
    assert runs[0] == ((text, 0) if first is None else (first, 1))
    assert answer.end() == (first is None)
