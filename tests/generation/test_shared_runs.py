"""Calls that wait and are alike share a run, where that was asked for and is quicker."""

from __future__ import annotations

from pathlib import Path

import pytest
from painters import PATIENCE, Scripted, ask, picture

from modaverse.errors import GenerationError, GenerationOutOfMemory
from modaverse.generation import Call, GeneratorPool
from modaverse.generation.pace import Pace
from modaverse.interfaces import GenerationRequest
from modaverse.media import write_media


def waiting(pool: GeneratorPool, generator: Scripted, *prompts: str) -> list[Call]:
    """Calls that wait behind a first one, which is then let go; results are those of the others."""
    generator.gate.clear()
    first = pool.submit(ask("first"))
    generator.wait_started()
    calls = [pool.submit(ask(prompt, seed=seed)) for seed, prompt in enumerate(prompts, start=2)]
    generator.gate.set()
    first.result(PATIENCE)
    return calls


@pytest.fixture
def batching(tmp_path: Path, pools: list[GeneratorPool]) -> tuple[Scripted, GeneratorPool]:
    generator = Scripted(concurrency=1)
    pools.append(pool := GeneratorPool([generator], tmp_path, workers=4, batch=4))
    return generator, pool


def test_calls_that_wait_and_are_alike_share_a_run(batching: tuple[Scripted, GeneratorPool]) -> None:
    generator, pool = batching
    calls = waiting(pool, generator, "a", "b", "c")
    assert [call.result(PATIENCE).sha256 for call in calls] == [
        write_media(picture(seed), pool.folder).sha256 for seed in (2, 3, 4)
    ]
    assert generator.log == ["load", "first", "a+b+c"]
    assert all(list(call.events()) == [(1, 1)] for call in calls)


def test_unless_asked_for_nothing_is_shared(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted(concurrency=1)
    pools.append(pool := GeneratorPool([generator], tmp_path, workers=4))
    for call in waiting(pool, generator, "a", "b"):
        call.result(PATIENCE)
    assert generator.log == ["load", "first", "a", "b"]


def test_other_options_take_another_run(batching: tuple[Scripted, GeneratorPool]) -> None:
    generator, pool = batching
    generator.gate.clear()
    calls = [pool.submit(ask("first"))]
    generator.wait_started()
    for prompt, steps in (("a", 1), ("b", 2), ("c", 1)):
        calls.append(pool.submit(GenerationRequest("T-to-I", prompt, 1, {"steps": steps})))
    generator.gate.set()
    for call in calls:
        call.result(PATIENCE)
    assert generator.log[2:] == ["a", "b", "c"]  # nothing is known yet of how long these take alone


def test_out_of_memory_is_tried_once_more_at_half_the_batch(batching: tuple[Scripted, GeneratorPool]) -> None:
    generator, pool = batching
    generator.memory_error_above = 2
    for call in waiting(pool, generator, "a", "b", "c", "d"):
        assert call.result(PATIENCE).path.is_file()
    assert generator.log == ["load", "first", "a+b+c+d", "a+b", "c+d"]


def test_out_of_memory_again_fails_those_calls_alone(batching: tuple[Scripted, GeneratorPool]) -> None:
    generator, pool = batching
    generator.memory_error_above = 1
    calls = waiting(pool, generator, "a", "b", "c")
    for call in calls[:2]:
        with pytest.raises(GenerationOutOfMemory, match="too little"):
            call.result(PATIENCE)
    assert calls[2].result(PATIENCE).path.is_file()
    assert generator.log == ["load", "first", "a+b+c", "a+b", "c"]


def test_the_one_that_is_to_blame_fails_alone(batching: tuple[Scripted, GeneratorPool]) -> None:
    generator, pool = batching
    generator.bad_prompt = "b"
    good, bad, other = waiting(pool, generator, "a", "b", "c")
    with pytest.raises(GenerationError, match="no such colour"):
        bad.result(PATIENCE)
    assert good.result(PATIENCE).path.is_file()
    assert other.result(PATIENCE).path.is_file()
    assert generator.log == ["load", "first", "a+b+c", "a", "b", "c"]


def test_a_cancelled_call_is_left_out_of_the_run(batching: tuple[Scripted, GeneratorPool]) -> None:
    generator, pool = batching
    generator.gate.clear()
    first = pool.submit(ask("first"))
    generator.wait_started()
    calls = [pool.submit(ask(prompt)) for prompt in ("a", "b", "c")]
    calls[1].cancel()
    generator.gate.set()
    for call in (first, calls[0], calls[2]):
        call.result(PATIENCE)
    assert generator.log == ["load", "first", "a+c"]


def test_runs_are_shared_only_where_that_was_quicker() -> None:
    pace = Pace()
    assert pace.share("T-to-I", 4) == 1  # how long does one take?
    pace.note("T-to-I", 1, 1.0)
    assert pace.share("T-to-I", 4) == 4  # to be found out
    pace.note("T-to-I", 4, 3.9)
    assert pace.share("T-to-I", 4) == 1
    assert pace.share("T-to-I", 3) == 3
    pace.note("T-to-I", 4, 2.0)
    assert pace.share("T-to-I", 4) == 4
    assert pace.share("T-to-V", 4) == 1
