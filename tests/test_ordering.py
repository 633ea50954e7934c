"""Looking at what was made: candidates, a wanted agreement, and asking again."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from worlds import BELL, CAT, kinds, only, picture

from modaverse.context import Choice, GenerationFailed, GenerationProgress, MediaReady, Modality, Text
from modaverse.errors import GenerationError, InputError
from modaverse.interfaces import GenerationRequest, Pixels
from modaverse.orchestrator import Choosing, call_seed
from modaverse.ordering import candidate_seed
from modaverse.testing import ScriptedGenerator


def painted(request: GenerationRequest) -> Pixels:
    return picture(request.seed % 251)


def painter(**settings: Any) -> ScriptedGenerator:
    return ScriptedGenerator("T-to-I", Modality.IMAGE, painted, **settings)


def agreement(w: Any, pixels: Pixels, text: str = "a cat") -> float:
    one, other = w.encoder.encode([w.given(pixels)])[0], w.encoder.encode_text([text])[0]
    return float(torch.cosine_similarity(one, other, dim=0))


def drawn(w: Any, seeds: list[int]) -> list[float]:
    return [agreement(w, picture(seed % 251)) for seed in seeds]


def test_the_candidate_that_agrees_best_is_kept(world: Any) -> None:
    w = world(f"{CAT} A cat.", generators=[painter()])
    (ready,) = only(w.ask(choosing=Choosing(candidates=4)), MediaReady)
    seeds = [candidate_seed(call_seed(7, 0), index) for index in range(4)]
    assert sorted(request.seed for request in w.generators[0].requests) == sorted(seeds)
    assert seeds[0] == call_seed(7, 0)
    best = max(drawn(w, seeds))
    assert ready.choice == Choice(best, 4)
    assert agreement(w, w_pixels(ready.media)) == pytest.approx(best)
    assert len(list(w.pool.folder.glob("*.png"))) >= 4


def w_pixels(media: Any) -> Pixels:
    from modaverse.media import decode

    decoded = decode(media)
    assert isinstance(decoded, Pixels)
    return decoded


def test_plain_calls_are_not_looked_at(world: Any) -> None:
    w = world(f"{CAT}", generators=[painter()], reads_text=False)
    (ready,) = only(w.ask(), MediaReady)
    assert ready.choice is None
    assert len(w.generators[0].requests) == 1


def test_too_little_agreement_is_asked_again(world: Any) -> None:
    seeds = [candidate_seed(call_seed(2, 0), index) for index in range(4)]
    w = world(CAT, CAT, generators=[painter()])
    found = drawn(w, seeds)
    enough = max(found[2:4])
    assert max(found[:2]) < enough, "the seed was chosen so"
    settings = Choosing(candidates=2, min_agreement=enough - 1e-4, max_retries=3)
    (ready,) = only(w.ask(seed=2, choosing=settings), MediaReady)
    assert ready.choice == Choice(enough, 4, retries=1)
    settings = Choosing(min_agreement=1.0, max_retries=3)
    (ready,) = only(w.ask(seed=2, choosing=settings), MediaReady)
    assert ready.choice == Choice(max(found), 4, retries=3, content=False)


def test_a_call_that_names_its_seed_leaves_nothing_to_choose(world: Any) -> None:
    call = CAT.replace("}", ', "Options": {"seed": 3}}')
    schema = {"type": "object", "properties": {"seed": {"type": "integer"}}, "additionalProperties": False}
    w = world(call, generators=[painter(options_schema=schema)])
    (ready,) = only(w.ask(choosing=Choosing(candidates=4)), MediaReady)
    assert (ready.choice, len(w.generators[0].requests)) == (None, 1)


def test_progress_counts_all_candidates(world: Any) -> None:
    w = world(CAT, generators=[painter(steps=3)])
    steps = only(w.ask(choosing=Choosing(candidates=2)), GenerationProgress)
    assert [(event.step, event.steps) for event in steps] == [(n, 6) for n in range(1, 7)]


def test_candidates_that_fail_are_left_out(world: Any) -> None:
    broken = GenerationError("the brush broke", hint="Buy one.")
    w = world(f"{CAT} {CAT}", generators=[ScriptedGenerator("T-to-I", Modality.IMAGE, broken, painted)])
    first, second = only(w.ask(choosing=Choosing(candidates=2)), MediaReady)
    assert (first.choice.drawn, second.choice.drawn) == (1, 2)
    failing = ScriptedGenerator("T-to-I", Modality.IMAGE, broken, broken)
    w = world(f"{CAT} ok", generators=[failing])
    events = w.ask(choosing=Choosing(candidates=2))
    assert only(events, GenerationFailed) == [GenerationFailed(0, "the brush broke", "Buy one.")]
    assert kinds(events)[-2:] == ["TextDelta", "Done"]


def test_what_was_made_stays_where_asking_again_fails(world: Any) -> None:
    broken = GenerationError("the brush broke")
    generator = ScriptedGenerator("T-to-I", Modality.IMAGE, picture(3), broken)
    w = world(CAT, generators=[generator])
    (ready,) = only(w.ask(choosing=Choosing(min_agreement=1.0, max_retries=1)), MediaReady)
    assert ready.choice == Choice(agreement(w, picture(3)), 1, retries=1, content=False)


def test_an_encoder_without_text_says_so_before_anything_is_made(world: Any) -> None:
    w = world(CAT, generators=[painter()], reads_text=False)
    with pytest.raises(InputError, match="reads no text"):
        w.ask(choosing=Choosing(candidates=2))
    assert (w.log, w.generators[0].requests) == ([], [])


def test_an_edit_starts_from_the_candidate_that_was_kept(world: Any) -> None:
    edit = '<meta>{"Model": "TI-to-I", "Input": "blue", "Source": 1}</meta>'
    editor = ScriptedGenerator("TI-to-I", Modality.IMAGE, picture(9), source=Modality.IMAGE)
    w = world(f"{CAT} and {edit} come.", " There.", generators=[painter(), editor])
    ready = only(w.ask(splice="deferred", choosing=Choosing(candidates=3)), MediaReady)
    assert {request.source for request in editor.requests} == {ready[0].media}


def test_giving_up_cancels_all_candidates(world: Any) -> None:
    gate = threading.Event()
    generator = painter(gate=gate)
    w = world(f"{CAT} and more", generators=[generator])
    stream = w.stream(Text("Draw"), splice="deferred", choosing=Choosing(candidates=2))
    while not getattr(next(stream), "text", "").startswith("m"):
        pass
    assert generator.started.wait(5)
    stream.close()
    w.pool.close()
    assert generator.cancelled == len(generator.requests) > 0


def test_without_splices_candidates_are_looked_at_as_well(world: Any) -> None:
    w = world(f"{CAT} {BELL}")
    ready = only(w.ask(splice="none", choosing=Choosing(candidates=2)), MediaReady)
    assert [event.choice.drawn for event in ready] == [2, 2]
