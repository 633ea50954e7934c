"""splice="deferred": the LLM writes on while generators work, and time decides nothing."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from worlds import BELL, CAT, kinds, only, picture, text_of

from modaverse.context import (
    FinishReason,
    GenerationFailed,
    GenerationProgress,
    Malformed,
    MediaReady,
    MetaResponse,
    Modality,
    Text,
    TextDelta,
)
from modaverse.errors import GenerationError
from modaverse.interfaces import GenerationRequest, Pixels, Waveform
from modaverse.testing import ScriptedGenerator

IMAGE, AUDIO = Modality.IMAGE, Modality.AUDIO
EDIT = '<meta>{"Model": "TI-to-I", "Input": "make it blue", "Source": %d}</meta>'


def painted(request: GenerationRequest) -> Pixels:
    return picture(request.seed % 251)


def played(request: GenerationRequest) -> Waveform:
    return Waveform(np.full((1600, 1), request.seed % 251 / 251, np.float32), 16000)


def edited(request: GenerationRequest) -> Pixels:
    assert request.source is not None
    return picture((request.seed + int(request.source.sha256, 16)) % 251)


def studio(rng: random.Random | None = None, **gates: threading.Event) -> list[ScriptedGenerator]:
    """Generators whose results depend on their requests alone; `rng` says how long they take."""

    def seconds() -> float:
        return 0.0 if rng is None else rng.random() * 0.03

    return [
        ScriptedGenerator("T-to-I", IMAGE, painted, seconds=seconds, gate=gates.get("image")),
        ScriptedGenerator("T-to-A", AUDIO, played, seconds=seconds, gate=gates.get("audio")),
        ScriptedGenerator("TI-to-I", IMAGE, edited, seconds=seconds, gate=gates.get("edit"), source=IMAGE),
    ]


def deferred(w: Any, *, after: int = 10, **settings: Any) -> list[Any]:
    return w.ask(splice="deferred", splice_after=after, **settings)


# ------------------------------------------------------------------------------------------- places


def test_a_medium_is_spliced_at_the_end_of_the_sentence(world: Any) -> None:
    w = world(f"Here. {CAT} It comes. Now it is there. A cat.")
    events = deferred(w)
    assert w.log[3:] == [
        ("wrote", f"Here. {CAT} It comes."), ("media", 1, IMAGE), ("wrote", " Now it is there. A cat.<end>"),
    ]  # fmt: skip
    assert kinds(events) == [
        "TextDelta", "MetaResponseOpened", "MetaResponse", "TextDelta", "GenerationProgress", "MediaReady",
        "TextDelta", "Done",
    ]  # fmt: skip
    media = only(events, MediaReady)[0].media
    assert w.chat.context.turns[1].parts == (
        Text("Here. "), MetaResponse("T-to-I", "a cat"), Text(" It comes."), media,
        Text(" Now it is there. A cat."),
    )  # fmt: skip


def test_the_llm_that_ends_early_may_still_talk_about_the_medium(world: Any) -> None:
    w = world(f"Here: {CAT} Soon", " A cat.")
    events = deferred(w)
    assert w.log[3:] == [
        ("wrote", f"Here: {CAT} Soon"), ("media", 1, IMAGE), ("wrote", " A cat.<end>"),
    ]  # fmt: skip
    done = events[-1]
    assert (done.finish_reason, done.usage.spliced_tokens) == (FinishReason.STOP, 1)
    assert done.usage.sampled_tokens == len(w.language.transcripts[0]) - done.usage.prompt_tokens - 1


def test_an_end_is_final_once_all_media_are_there(world: Any) -> None:
    w = world(f"{CAT} It comes.", "Bye.")
    assert text_of(deferred(w, after=2)) == " It comes."
    assert w.log[-2:] == [("media", 1, IMAGE), ("wrote", "<end>")]
    assert text_of(deferred(w)) == "Bye."


def test_a_used_up_budget_is_the_end_of_the_answer(world: Any) -> None:
    w = world(f"{CAT} It goes on and on and on")
    events = deferred(w, tokens=50)
    assert kinds(events)[-2:] == ["MediaReady", "Done"]
    assert events[-1].finish_reason is FinishReason.LENGTH
    assert w.log[-1] == ("media", 1, IMAGE)


def test_a_medium_for_which_there_is_no_room_is_still_delivered(world: Any) -> None:
    text = " It comes."
    length = 2 + 2 + len('{"Model": "T-to-I", "Input": "a cat"}') + 2 + len(text)
    w = world(f"{CAT}{text} Never written", context_length=length)
    events = deferred(w, after=5)
    assert (kinds(events)[-2:], text_of(events)) == (["MediaReady", "Done"], text)


# --------------------------------------------------------------------------------------- side by side


def test_the_llm_writes_on_and_calls_run_side_by_side(world: Any) -> None:
    gate = threading.Event()
    generators = studio(image=gate, audio=gate)
    w = world(f"A cat: {CAT} a bell: {BELL} both of them come soon. There.", generators=generators)
    stream = w.stream(Text("Draw"), splice="deferred", splice_after=10)
    text = ""
    while not text.endswith("soon"):
        event = next(stream)
        text += event.text if isinstance(event, TextDelta) else ""
    assert all(generator.started.wait(5) for generator in generators[:2])
    assert not gate.is_set()
    gate.set()
    rest = list(stream)
    assert kinds(rest) == [
        "TextDelta", "GenerationProgress", "MediaReady", "GenerationProgress", "MediaReady", "TextDelta",
        "Done",
    ]  # fmt: skip
    assert [event.number for event in only(rest, MediaReady)] == [1, 2]


STORY = (
    f"Three things: {CAT} and {BELL} and {CAT} are coming. {EDIT % 3} That is the third, in blue. Look at it."
    f" The rest follows. {EDIT % 1} Now the first one as well."
)


def test_time_decides_nothing(world: Any) -> None:
    """Scripted generators with random delays: the same transcript and the same events, byte for byte."""
    seen = []
    for attempt in range(8):
        rng = random.Random(attempt)
        w = world(STORY, " The end.", generators=studio(rng), workers=1 + attempt % 4, masked=attempt > 5)
        seen.append((deferred(w, after=25), w.log, embeddings(w)))
    assert len(only(seen[0][0], MediaReady)) == 5
    assert all(one == seen[0] for one in seen[1:])


def embeddings(w: Any) -> list[Any]:
    return [entry[3].tolist() for entry in w.language.transcripts[0].log if entry[0] == "media"]


def test_media_are_those_of_waiting(world: Any) -> None:
    """Seeds go with the calls, so that what is made does not depend on when it is shown."""
    made: list[Sequence[Any]] = []
    for splice in ("wait", "deferred", "none"):
        w = world(f"{CAT} One. {BELL} Two. {CAT} Three.", " End.", generators=studio())
        made.append([event.media for event in only(w.ask(splice=splice, splice_after=30), MediaReady)])
    assert made[0] == made[1] == made[2]


# -------------------------------------------------------------------------------------------- sources


def test_a_call_waits_for_its_source_alone(world: Any) -> None:
    gate = threading.Event()
    generators = studio(audio=gate)
    w = world(f"{BELL} and {CAT} and {EDIT % 2} are coming.", " There.", generators=generators, workers=3)
    stream = w.stream(Text("Draw"), splice="deferred", splice_after=10)
    for event in stream:
        if isinstance(event, TextDelta) and event.text == "g":
            break
    assert generators[2].started.wait(5), "the edit waits for the bell, which it does not need"
    gate.set()
    ready = only(list(stream), MediaReady)
    assert [event.number for event in ready] == [1, 2, 3]
    assert generators[2].requests[0].source == ready[1].media


def test_only_what_was_dispatched_is_a_source(world: Any) -> None:
    w = world(f"{CAT} and {EDIT % 2} and {EDIT % 1}", "", generators=studio())
    events = deferred(w, after=500)
    assert [event.source for event in only(events, MetaResponse)] == [None, 1]
    assert len(only(events, Malformed)) == 1


def test_the_mask_knows_the_sources_in_the_making(world: Any) -> None:
    w = world(f"{CAT} {BELL} {EDIT % 2} {EDIT % 1}", "", generators=studio(), masked=True)
    events = deferred(w, after=500)
    # 2 is a sound, which cannot be edited into a picture, so the mask leaves only 1.
    assert [event.source for event in only(events, MetaResponse)] == [None, None, 1, 1]
    assert not only(events, Malformed)


# -------------------------------------------------------------------------------------------- failure


def test_a_failure_is_told_in_its_place_and_what_follows_moves_up(world: Any) -> None:
    failing = ScriptedGenerator("T-to-I", IMAGE, GenerationError("the brush broke"))
    w = world(f"{CAT} and {BELL} are coming. Oh. {BELL}", " There.", generators=[failing, *studio()[1:]])
    events = deferred(w)
    (failed,) = only(events, GenerationFailed)
    assert (failed.call, failed.cause, bool(failed.hint)) == (0, "the brush broke", True)
    assert [(event.call, event.number) for event in only(events, MediaReady)] == [(1, 1), (2, 2)]
    assert w.log[3:] == [
        ("wrote", f"{CAT} and {BELL} are coming."), ("note", "the brush broke"), ("media", 1, AUDIO),
        ("wrote", f" Oh. {BELL}"), ("media", 2, AUDIO), ("wrote", " There.<end>"),
    ]  # fmt: skip
    parts = w.chat.context.turns[1].parts
    assert [type(part).__name__ for part in parts[3:6]] == ["Text", "GenerationFailed", "Media"]


def test_what_was_to_be_made_of_a_failure_fails_as_well(world: Any) -> None:
    failing = ScriptedGenerator("T-to-I", IMAGE, GenerationError("the brush broke", hint="Buy one."))
    w = world(f"{CAT} and {EDIT % 1} come. {BELL}", " There.", generators=[failing, *studio()[1:]])
    events = deferred(w)
    second = only(events, GenerationFailed)[1]
    assert second == GenerationFailed(1, "what it starts from was not made: the brush broke", "Buy one.")
    assert len(only(events, MediaReady)) == 1


def test_a_call_that_cannot_start_is_told_in_its_place(world: Any) -> None:
    w = world(f"{CAT} is coming. Oh.")
    w.pool.close()
    events = deferred(w)
    assert kinds(events)[1:] == ["MetaResponse", "TextDelta", "GenerationFailed", "TextDelta", "Done"]
    assert w.log[4][0] == "note"


# --------------------------------------------------------------------------------------------- closing


def test_closing_cancels_all_that_is_being_made(world: Any) -> None:
    generators = studio(image=threading.Event(), audio=threading.Event())
    w = world("Hello.", f"{CAT} {BELL} {EDIT % 1} and more", "Again.", generators=generators, workers=3)
    w.ask()
    before, context = w.log, w.chat.context
    stream = w.stream(Text("Draw"), splice="deferred", splice_after=10)
    for event in stream:
        if isinstance(event, TextDelta) and event.text == "m":
            break
    assert all(generator.started.wait(5) for generator in generators[:2])
    stream.close()
    assert (w.log, w.chat.context) == (before, context)
    w.pool.close()
    assert [generator.cancelled for generator in generators] == [1, 1, 0]
    assert generators[2].requests == []


def test_progress_comes_in_one_run_before_its_medium(world: Any) -> None:
    w = world(f"{CAT} and {BELL} are coming. There.", generators=studio(random.Random(0)))
    told = [event for event in deferred(w) if isinstance(event, GenerationProgress | MediaReady)]
    assert [event.call for event in told] == [0, 0, 0, 1, 1, 1]
