"""What is loaded stays within its budget: idle weights are parked or unloaded, those in use stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from painters import PATIENCE, Parking, Scripted, ask

from modaverse.errors import GenerationOutOfMemory
from modaverse.generation import GeneratorPool


def test_out_of_memory_is_tried_once_more_with_the_others_evicted(
    tmp_path: Path, pools: list[GeneratorPool]
) -> None:
    other, tight = Scripted("T-to-A", memory=5), Scripted(memory=5)
    pools.append(pool := GeneratorPool([other, tight], tmp_path))
    pool.submit(ask(model="T-to-A")).result(PATIENCE)
    tight.failures = [GenerationOutOfMemory("too little")]
    assert pool.submit(ask()).result(PATIENCE).path.is_file()
    assert other.log == ["load", "a cat", "unload"]
    tight.failures = [GenerationOutOfMemory("too little")] * 2
    with pytest.raises(GenerationOutOfMemory, match="too little"):
        pool.submit(ask()).result(PATIENCE)


@pytest.mark.parametrize(("parking", "way"), [(12, "park"), (8, "unload")])
def test_what_can_be_parked_makes_room_and_comes_back(
    parking: int, way: str, tmp_path: Path, pools: list[GeneratorPool]
) -> None:
    first, second = Parking(memory=6), Parking("T-to-A", memory=6)
    pools.append(pool := GeneratorPool([first, second], tmp_path, memory_budget=8, parking=parking))
    for model in ("T-to-I", "T-to-A", "T-to-I"):
        pool.submit(ask(model=model)).result(PATIENCE)
    assert first.log == ["load", "a cat", "park", "load", "a cat"]
    assert second.log == ["load", "a cat", way]  # for a moment the second lies beside the first
    pool.close()
    assert (first.log[-1], second.log[-1]) == ("unload", "unload")


def test_what_was_parked_longest_ago_is_unloaded_for_more(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generators = [Parking(model, memory=6) for model in ("T-to-I", "T-to-V", "T-to-A")]
    pools.append(pool := GeneratorPool(generators, tmp_path, memory_budget=8, parking=8))
    for model in ("T-to-I", "T-to-V", "T-to-A"):
        pool.submit(ask(model=model)).result(PATIENCE)
    image, video, audio = (generator.log for generator in generators)
    assert image == ["load", "a cat", "park", "unload"]
    assert video == ["load", "a cat", "park"]
    assert audio == ["load", "a cat"]


def test_what_does_not_fit_aside_is_unloaded(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    first, second = Parking(memory=6), Parking("T-to-A", memory=6)
    pools.append(pool := GeneratorPool([first, second], tmp_path, memory_budget=8, parking=5))
    for model in ("T-to-I", "T-to-A"):
        pool.submit(ask(model=model)).result(PATIENCE)
    assert first.log == ["load", "a cat", "unload"]


def test_the_least_recently_used_is_evicted(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generators = [Scripted(model, memory=4) for model in ("T-to-I", "T-to-V", "T-to-A")]
    pools.append(pool := GeneratorPool(generators, tmp_path, memory_budget=8, workers=1))
    for model in ("T-to-I", "T-to-V", "T-to-I", "T-to-A"):
        pool.submit(ask(model=model)).result(PATIENCE)
    pool.submit(ask(model="T-to-I")).result(PATIENCE)
    image, video, audio = (generator.log for generator in generators)
    assert image == ["load", "a cat", "a cat", "a cat"]
    assert video == ["load", "a cat", "unload"]
    assert audio == ["load", "a cat"]


def test_what_is_in_use_is_not_evicted(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    busy, other = Scripted(memory=6, gate=True), Scripted("T-to-A", memory=6)
    pools.append(pool := GeneratorPool([busy, other], tmp_path, memory_budget=8, workers=2))
    first = pool.submit(ask())
    busy.wait_started()
    second = pool.submit(ask(model="T-to-A"))
    assert not other.started.acquire(timeout=0.05)
    busy.gate.set()
    first.result(PATIENCE)
    second.result(PATIENCE)
    assert busy.log == ["load", "a cat", "unload"]


def test_what_can_never_fit_says_so(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted(memory=9_000_000_000)
    pools.append(pool := GeneratorPool([generator], tmp_path, memory_budget=8_000_000_000))
    with pytest.raises(GenerationOutOfMemory, match=r"needs 9\.0 GB, and the memory budget is 8\.0 GB"):
        pool.submit(ask()).result(PATIENCE)
    assert generator.log == []


def test_calls_of_one_card_share_their_memory(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    create, edit = Scripted(memory=6), Scripted("TI-to-I", memory=6)
    edit.loaded = True  # by the other: what they share is loaded once
    shared = object()
    create.resident = edit.resident = shared  # type: ignore[attr-defined]
    pools.append(pool := GeneratorPool([create, edit], tmp_path, memory_budget=8))
    pool.submit(ask()).result(PATIENCE)
    pool.submit(ask(model="TI-to-I")).result(PATIENCE)
    assert "unload" not in create.log + edit.log
