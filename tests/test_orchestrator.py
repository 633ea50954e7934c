"""The loop, on scripted protocols, the real parser, the real mask and the real pool."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from worlds import BELL, CAT, kinds, only, picture, sound, text_of

from modaverse.context import (
    Context,
    Done,
    FinishReason,
    GenerationFailed,
    GenerationProgress,
    Malformed,
    MediaReady,
    MetaResponse,
    MetaResponseOpened,
    Modality,
    Role,
    Text,
    Turn,
)
from modaverse.embeddings import Embeddings
from modaverse.errors import ContextOverflow, GenerationError, GrammarError, InputError, MediaError
from modaverse.interfaces import Sampling
from modaverse.metaresponse import Limits
from modaverse.orchestrator import call_seed
from modaverse.testing import ScriptedGenerator

# ------------------------------------------------------------------------------------ the main road


def test_text_alone(world: Any) -> None:
    w = world("Good day!")
    events = w.ask(Text("Hello"))
    assert kinds(events) == ["TextDelta", "Done"]
    assert text_of(events) == "Good day!"
    assert w.log == [("user",), ("text", "Hello"), ("answer",), ("wrote", "Good day!<end>")]
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.finish_reason, done.seed) == (FinishReason.STOP, 7)
    assert (done.usage.prompt_tokens, done.usage.sampled_tokens, done.usage.spliced_tokens) == (7, 10, 0)


def test_a_call_is_made_spliced_and_talked_about(world: Any) -> None:
    w = world(f"Here: {CAT} A cat.")
    events = w.ask(Text("Draw a cat"))
    assert kinds(events) == [
        "TextDelta", "MetaResponseOpened", "MetaResponse", "GenerationProgress", "MediaReady", "TextDelta",
        "Done",
    ]  # fmt: skip
    assert only(events, GenerationProgress) == [GenerationProgress(0, 1, 2), GenerationProgress(0, 2, 2)]
    (ready,) = only(events, MediaReady)
    assert (ready.call, ready.number, ready.media.modality) == (0, 1, Modality.IMAGE)
    assert ready.media.path.is_file()
    assert w.log[2:] == [
        ("answer",), ("wrote", f"Here: {CAT}"), ("media", 1, Modality.IMAGE), ("wrote", " A cat.<end>"),
    ]  # fmt: skip
    assert w.chat.context.turns == (
        Turn(Role.USER, (Text("Draw a cat"),)),
        Turn(
            Role.ASSISTANT,
            (Text("Here: "), MetaResponse("T-to-I", "a cat"), ready.media, Text(" A cat.")),
        ),
    )
    assert events[-1].usage.spliced_tokens == 1


def test_what_is_spliced_is_the_embedding_of_what_was_made(world: Any) -> None:
    w = world(f"{CAT}{BELL}")
    medium = w.given(sound())
    events = w.ask(medium, Text("Draw it"))
    made = [event.media for event in only(events, MediaReady)]
    spliced = [entry for entry in w.language.transcripts[0].log if entry[0] == "media"]
    assert [entry[1] for entry in spliced] == [1, 2, 3]
    for entry, one in zip(spliced, [medium, *made], strict=True):
        assert entry[2] is one.modality
        assert entry[3].equal(w.encoder.encode([one])[0])


def test_a_generator_is_at_work_before_the_event_is_looked_at(world: Any) -> None:
    gate = threading.Event()
    painter = ScriptedGenerator("T-to-I", Modality.IMAGE, picture(), gate=gate)
    w = world(f"Here: {CAT}", generators=[painter])
    stream = w.stream(Text("Draw"))
    for event in stream:
        if isinstance(event, MetaResponseOpened):
            assert painter.started.wait(0) is False
        if isinstance(event, MetaResponse):
            assert painter.started.wait(5), "the generator waits for the reader of the stream"
            break
    gate.set()
    assert kinds(list(stream)) == ["GenerationProgress", "MediaReady", "Done"]


def test_opening_a_call_loads_its_generator(world: Any) -> None:
    painter = ScriptedGenerator("T-to-I", Modality.IMAGE, picture())
    w = world('Hm <meta>{"Model": "T-to-I", "Input": "never', generators=[painter])
    events = w.ask()
    assert kinds(events) == ["TextDelta", "MetaResponseOpened", "Malformed", "Done"]
    w.pool.close()
    assert (painter.loads, painter.requests) == (1, [])


def test_a_source_is_the_medium_of_that_number_given_or_made(world: Any) -> None:
    edit = '<meta>{"Model": "TI-to-I", "Input": "make it blue", "Source": %d}</meta>'
    w = world(f"{CAT}{edit % 2}{edit % 1}")
    given = w.given(picture(200))
    events = w.ask(given, Text("Draw a cat, then make both blue"))
    made = [event.media for event in only(events, MediaReady)]
    assert [request.source for request in w.generators[3].requests] == [made[0], given]
    assert not only(events, Malformed)


def test_a_source_that_does_not_exist_is_malformed_and_nothing_is_made(world: Any) -> None:
    w = world('<meta>{"Model": "TI-to-I", "Input": "x", "Source": 1}</meta> Sorry.')
    events = w.ask()
    assert kinds(events) == ["MetaResponseOpened", "Malformed", "TextDelta", "Done"]
    assert w.generators[3].requests == []
    raw = only(events, Malformed)[0].raw
    assert w.chat.context.turns[1].parts == (Text(f"{raw} Sorry."),)


# --------------------------------------------------------------------------------------------- seeds


def test_equal_calls_of_one_answer_differ_and_the_seed_makes_the_same_again(world: Any) -> None:
    seeds = []
    for seed in (7, 7, 8):
        w = world(f"{CAT}{CAT}")
        w.ask(seed=seed)
        seeds.append([request.seed for request in w.generators[0].requests])
    assert seeds[0] == seeds[1] == [call_seed(7, 0), call_seed(7, 1)]
    assert len({*seeds[0], *seeds[2]}) == 4
    assert all(0 <= call_seed(s, i) < 2**31 for s in range(50) for i in range(5))


def test_seed_and_sampling_reach_the_transcript(world: Any) -> None:
    w = world("Hi")
    w.ask(seed=11, tokens=99)
    assert w.language.transcripts[0].sampling == (11, Sampling(max_new_tokens=99))


# ---------------------------------------------------------------------------------------- splice none


def test_without_splices_the_llm_writes_on_and_media_stand_beside_their_calls(world: Any) -> None:
    gate = threading.Event()
    painter = ScriptedGenerator("T-to-I", Modality.IMAGE, picture(1), picture(2), gate=gate, steps=0)
    w = world(f"One {CAT} two {CAT} three", generators=[painter])
    stream = w.stream(Text("Draw"), splice="none")
    events = []
    for event in stream:
        events.append(event)
        if text_of(events).endswith("three"):
            break
    assert not gate.is_set()
    gate.set()
    events += stream
    ready = [event.media for event in only(events, MediaReady)]
    call = MetaResponse("T-to-I", "a cat")
    assert w.chat.context.turns[1].parts == (
        Text("One "), call, ready[0], Text(" two "), call, ready[1], Text(" three"),
    )  # fmt: skip
    assert not [entry for entry in w.log if entry[0] == "media"]
    assert w.encoder.log == []


# ------------------------------------------------------------------------------------------- failure


def test_a_generator_that_fails_is_part_of_the_conversation(world: Any) -> None:
    failing = ScriptedGenerator(
        "T-to-I", Modality.IMAGE, GenerationError("the brush broke", hint="Buy one."), picture()
    )
    w = world(f"A {CAT} hm {CAT} ok", generators=[failing])
    events = w.ask()
    assert only(events, GenerationFailed) == [GenerationFailed(0, "the brush broke", "Buy one.")]
    (ready,) = only(events, MediaReady)
    assert (ready.call, ready.number) == (1, 1)
    assert text_of(events) == "A  hm  ok"
    assert w.log[3:] == [
        ("wrote", f"A {CAT}"), ("note", "the brush broke"),
        ("wrote", f" hm {CAT}"), ("media", 1, Modality.IMAGE), ("wrote", " ok<end>"),
    ]  # fmt: skip


def test_a_call_that_cannot_even_start_fails_alone(world: Any) -> None:
    w = world(f"A {CAT} b")
    w.pool.close()
    events = w.ask()
    assert kinds(events) == [
        "TextDelta",
        "MetaResponseOpened",
        "MetaResponse",
        "GenerationFailed",
        "TextDelta",
        "Done",
    ]
    assert "closed" in only(events, GenerationFailed)[0].cause


def test_a_medium_that_cannot_be_encoded_counts_as_not_made(world: Any) -> None:
    w = world(f"A {CAT} b")
    w.encoder.failure = MediaError("the picture is empty", hint="Try again.")
    assert only(w.ask(), GenerationFailed) == [GenerationFailed(0, "the picture is empty", "Try again.")]


def test_without_splices_a_failure_leaves_no_note(world: Any) -> None:
    failing = ScriptedGenerator("T-to-I", Modality.IMAGE, GenerationError("no"))
    w = world(f"A {CAT} b", generators=[failing])
    assert len(only(w.ask(splice="none"), GenerationFailed)) == 1
    assert not [entry for entry in w.log if entry[0] == "note"]


def test_malformed_calls_are_events_and_stay_in_the_conversation(world: Any) -> None:
    w = world(f'Look: <meta>{{"Model": cat}}</meta> and {CAT}')
    events = w.ask()
    assert len(only(events, Malformed)) == 1
    assert len(only(events, MediaReady)) == 1
    first = w.chat.context.turns[1].parts[0]
    assert isinstance(first, Text)
    assert first.text.startswith('Look: <meta>{"Model": cat}')


# --------------------------------------------------------------------------- closing and being cut off


def test_closing_the_stream_cancels_and_leaves_no_trace(world: Any) -> None:
    painter = ScriptedGenerator("T-to-I", Modality.IMAGE, picture(), gate=threading.Event())
    w = world("Hello.", f"Here: {CAT}", "And again.", generators=[painter])
    w.ask(Text("Hello"))
    before, context = list(w.language.transcripts[0].log), w.chat.context
    stream = w.stream(Text("Draw"))
    for event in stream:
        if isinstance(event, MetaResponse):
            break
    assert painter.started.wait(5)
    stream.close()  # type: ignore[attr-defined]
    assert w.language.transcripts[0].log == before
    assert w.chat.context == context
    w.pool.close()
    assert painter.cancelled == 1


def test_leaving_at_done_keeps_the_answer(world: Any) -> None:
    w = world("Hello.")
    stream = w.stream(Text("Hi"))
    for event in stream:
        if isinstance(event, Done):
            break
    stream.close()  # type: ignore[attr-defined]
    assert len(w.chat.context.turns) == 2
    assert w.log[-1] == ("wrote", "Hello.<end>")


def test_a_failing_request_leaves_no_trace(world: Any) -> None:
    w = world("Hello.", "Again.")
    w.encoder.failure = MediaError("cannot be decoded")
    with pytest.raises(MediaError):
        w.ask(w.given(picture()), Text("What is it?"))
    assert (w.log, w.chat.context) == ([], Context())
    assert text_of(w.ask()) == "Hello."


def test_one_chat_answers_one_request_at_a_time(world: Any) -> None:
    w = world("Hello.", "Again.")
    stream = w.stream(Text("Hi"))
    next(stream)
    with pytest.raises(InputError, match="still answering"):
        w.ask()
    assert kinds(list(stream))[-1] == "Done"
    w.ask()


def test_the_token_budget_ends_an_answer(world: Any) -> None:
    w = world("Hello, this is long")
    events = w.ask(tokens=5)
    assert text_of(events) == "Hello"
    assert events[-1].finish_reason is FinishReason.LENGTH


def test_a_medium_for_which_there_is_no_room_is_still_delivered(world: Any) -> None:
    w = world(f"{CAT} never written", context_length=2 + 2 + len('{"Model": "T-to-I", "Input": "a cat"}') + 2)
    events = w.ask(Text("Hi"))
    assert kinds(events)[-2:] == ["MediaReady", "Done"]
    assert events[-1].finish_reason is FinishReason.LENGTH


def test_a_context_without_room_for_an_answer_is_an_error(world: Any) -> None:
    w = world("Hello", context_length=6)
    with pytest.raises(ContextOverflow, match=r"6 positions.*holds 6"):
        w.ask(Text("Four"))
    assert w.log == []


def test_a_chat_can_forget_its_oldest_requests(world: Any) -> None:
    w = world("One.", "Two.", f"Three {CAT}", context_length=60)
    w.ask(Text("First " * 3))
    w.ask(Text("Second"))
    events = w.ask(Text("Third " * 6), overflow="forget", tokens=12)
    assert events[-1].usage.prompt_tokens == 38
    assert w.log[:3] == [("user",), ("text", "Third " * 6), ("answer",)]
    assert len(w.chat.context.turns) == 6


def test_what_was_forgotten_comes_back_if_the_answer_is_given_up(world: Any) -> None:
    w = world(f"A {CAT}", "Two.", "Three.", context_length=80)
    w.ask(w.given(picture()), Text("First"))
    before, context = w.log, w.chat.context
    stream = w.stream(Text("Second " * 4), overflow="forget", tokens=8)
    next(stream)
    assert w.log[:2] == [("user",), ("text", "Second " * 4)]
    stream.close()  # type: ignore[attr-defined]
    assert (w.log, w.chat.context) == (before, context)


def test_what_was_forgotten_comes_back_though_its_media_are_gone(world: Any) -> None:
    w = world(f"A {CAT}", "Two.", "Three.", context_length=80)
    w.ask(w.given(picture()), Text("First"))
    w.orchestrator.embeddings = Embeddings(w.encoder)  # so long ago that nobody remembers them
    before, context = w.log, w.chat.context
    stream = w.stream(Text("Second " * 4), overflow="forget", tokens=8)
    next(stream)
    w.orchestrator.embeddings = Embeddings(w.encoder)
    w.encoder.failure = MediaError("no such file")
    stream.close()  # type: ignore[attr-defined]
    assert (w.log, w.chat.context) == (before, context)
    with pytest.raises(MediaError, match="no such file"):
        w.ask(Text("Second " * 4), overflow="forget", tokens=8)
    assert (w.log, w.chat.context) == (before, context)


def test_a_chat_whose_answer_cannot_even_begin_is_not_busy(world: Any) -> None:
    w = world("Hi")
    grammar, w.orchestrator._grammar = w.orchestrator._grammar, "nowhere"
    with pytest.raises(GrammarError, match="nowhere"):
        w.ask()
    w.orchestrator._grammar = grammar
    assert text_of(w.ask()) == "Hi"


def test_a_request_that_fits_into_no_context_is_an_error_in_any_case(world: Any) -> None:
    w = world("One.", context_length=40)
    w.ask(Text("First"))
    before = w.log
    with pytest.raises(ContextOverflow):
        w.ask(Text("x" * 50), overflow="forget")
    assert w.log == before


# ---------------------------------------------------------------------------------------------- chat


def test_the_context_lives_on(world: Any) -> None:
    edit = '<meta>{"Model": "TI-to-I", "Input": "a blue cat", "Source": 1}</meta>'
    w = world(f"Here: {CAT}", f"Blue: {edit}")
    first = only(w.ask(Text("Draw a cat")), MediaReady)[0]
    second = only(w.ask(Text("Make it blue")), MediaReady)[0]
    assert (first.number, second.number) == (1, 2)
    assert w.generators[3].requests[0].source == first.media
    assert w.chat.context.media == (first.media, second.media)
    assert len(w.chat.context.turns) == 4


def test_a_medium_is_encoded_once(world: Any) -> None:
    w = world("A", "B")
    medium = w.given(picture())
    w.ask(medium, medium, Text("?"))
    w.ask(medium)
    assert w.encoder.log == [[medium]]


def test_a_conversation_can_be_put_together_again(world: Any) -> None:
    w = world(f"Here: {CAT}", "Yes.")
    w.ask(Text("Draw a cat"))
    other = w.orchestrator.restore(w.chat.context, w.chat.transcript.dump())
    assert other.context == w.chat.context
    first, second = w.language.transcripts
    assert [entry[:3] for entry in second.log] == [entry[:3] for entry in first.log]
    assert all(a[3].equal(b[3]) for a, b in zip(first.log, second.log, strict=True) if a[0] == "media")


# ---------------------------------------------------------------------------------------------- mask


def test_the_mask_keeps_a_bad_script_in_order(world: Any) -> None:
    bad = '<meta>{"Model": "T-to-X", "Input": "a cat"}</meta>'
    w = world(bad + " " * 300, masked=True)
    events = w.ask(tokens=250)
    assert not only(events, Malformed)
    assert {event.model for event in only(events, MetaResponse)} <= set(w.pool.catalogue)
    w = world(bad, masked=True)
    assert len(only(w.ask(constrained=False), Malformed)) == 1


def test_the_mask_knows_what_was_spliced(world: Any) -> None:
    """Source 1 is there only once the first call was spliced, and 2 only after the second."""
    edit = '<meta>{"Model": "TI-to-I", "Input": "blue", "Source": %d}</meta>'
    w = world(f"{CAT} then {edit % 1} then {edit % 2}.", masked=True)
    events = w.ask()
    assert [event.source for event in only(events, MetaResponse)] == [None, 1, 2]
    assert len(only(events, MediaReady)) == 3


def test_with_the_mask_no_call_is_cut_by_the_budget(world: Any) -> None:
    for tokens in (30, 60, 90, 120):
        w = world(f"Well, well: {CAT} and {CAT}" + "~" * 200, masked=True)
        events = w.ask(tokens=tokens)
        assert not only(events, Malformed), tokens


def test_calls_have_a_limit(world: Any) -> None:
    w = world(CAT * 3 + " enough", masked=True, limits=Limits(max_calls=2))
    assert len(only(w.ask(tokens=120), MetaResponse)) <= 2
    w = world(CAT * 3 + " enough", limits=Limits(max_calls=2))
    events = w.ask()
    assert (len(only(events, MetaResponse)), len(only(events, Malformed))) == (2, 1)
