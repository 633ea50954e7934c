"""The pool, on scripted generators that wait for events instead of sleeping."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modaverse.context import Media, Modality
from modaverse.errors import (
    GenerationCancelled,
    GenerationError,
    GenerationOutOfMemory,
    GenerationTimeout,
    SettingsError,
)
from modaverse.generation import Call, GeneratorPool
from modaverse.interfaces import CallSpec, Cancelled, Decoded, GenerationRequest, Pixels, Progress

PATIENCE = 10.0


class Scripted:
    """Fills a picture with the request's seed. Waits for `gate` first, and tells that it `started`."""

    def __init__(self, model: str = "T-to-I", *, gate: bool = False, memory: int = 0, concurrency: int = 99):
        self._spec = CallSpec(model, Modality.IMAGE)
        self.memory_bytes = memory
        self.concurrency = concurrency
        self.fingerprint: str | None = None
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()
        if not gate:
            self.gate.set()
        self.heeds_cancelling = True
        self.log: list[str] = []
        self.failures: list[Exception] = []
        self.loaded = False

    @property
    def spec(self) -> CallSpec:
        return self._spec

    def load(self) -> None:
        if not self.loaded:
            self.log.append("load")
        self.loaded = True

    def unload(self) -> None:
        self.log.append("unload")
        self.loaded = False

    def generate(self, request: GenerationRequest, *, progress: Progress, cancelled: Cancelled) -> Decoded:
        assert self.loaded
        self.log.append(request.prompt)
        self.started.release()
        if self.failures:
            raise self.failures.pop(0)
        for step in range(1, 4):
            while not self.gate.wait(0.01):
                if self.heeds_cancelling and cancelled():
                    self.log.append("stopped")
                    raise GenerationCancelled("stopped")
            progress(step, 3)
        return Pixels(np.full((4, 4, 3), request.seed, dtype=np.uint8))

    def wait_started(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.started.acquire(timeout=PATIENCE)


def ask(prompt: str = "a cat", *, model: str = "T-to-I", seed: int = 1) -> GenerationRequest:
    return GenerationRequest(model, prompt, seed)


@pytest.fixture
def pools() -> Iterator[list[GeneratorPool]]:
    """Pools to be closed at the end, whatever happens."""
    opened: list[GeneratorPool] = []
    yield opened
    for pool in opened:
        pool.close()


def test_makes_a_file_named_by_its_content(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    pools.append(pool := GeneratorPool([Scripted()], tmp_path))
    media = pool.submit(ask()).result(PATIENCE)
    assert media.modality is Modality.IMAGE
    assert media.path.parent == tmp_path
    assert media.sha256[:8] in media.path.name


def test_progress_comes_step_by_step(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted(gate=True)
    pools.append(pool := GeneratorPool([generator], tmp_path))
    events = (call := pool.submit(ask())).events()
    generator.gate.set()
    assert list(events) == [(1, 3), (2, 3), (3, 3)]
    assert call.done
    assert list(call.events()) == [(1, 3), (2, 3), (3, 3)]  # again, for whoever looks later


def test_calls_run_side_by_side(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted(gate=True)
    pools.append(pool := GeneratorPool([generator], tmp_path, workers=4))
    calls = [pool.submit(ask(seed=seed)) for seed in range(4)]
    generator.wait_started(4)  # all four are inside generate at once
    generator.gate.set()
    assert len({call.result(PATIENCE).sha256 for call in calls}) == 4


def test_no_more_than_workers_run(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted(gate=True)
    pools.append(pool := GeneratorPool([generator], tmp_path, workers=2))
    calls = [pool.submit(ask(seed=seed)) for seed in range(3)]
    generator.wait_started(2)
    assert not generator.started.acquire(timeout=0.05)
    generator.gate.set()
    generator.wait_started()
    for call in calls:
        call.result(PATIENCE)


def test_a_generator_that_can_do_one_at_a_time_does_not_hold_up_others(
    tmp_path: Path, pools: list[GeneratorPool]
) -> None:
    slow, quick = Scripted(gate=True, concurrency=1), Scripted("T-to-A")
    pools.append(pool := GeneratorPool([slow, quick], tmp_path, workers=2))
    first, second = pool.submit(ask("first")), pool.submit(ask("second"))
    pool.submit(ask(model="T-to-A")).result(PATIENCE)
    slow.gate.set()
    first.result(PATIENCE)
    second.result(PATIENCE)
    assert slow.log == ["load", "first", "second"]


def test_cancelling_answers_at_once_and_stops_the_generator(
    tmp_path: Path, pools: list[GeneratorPool]
) -> None:
    generator = Scripted(gate=True)
    pools.append(pool := GeneratorPool([generator], tmp_path))
    call = pool.submit(ask())
    generator.wait_started()
    began = time.monotonic()
    call.cancel()
    with pytest.raises(GenerationCancelled):
        call.result(PATIENCE)
    assert time.monotonic() - began < 1.0
    pool.close()
    assert generator.log[:3] == ["load", "a cat", "stopped"]
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_call_that_waits_never_starts(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted(gate=True)
    pools.append(pool := GeneratorPool([generator], tmp_path, workers=1))
    first, second, third = (pool.submit(ask(name)) for name in ("first", "second", "third"))
    generator.wait_started()
    second.cancel()
    generator.gate.set()
    first.result(PATIENCE)
    third.result(PATIENCE)
    assert generator.log == ["load", "first", "third"]


def test_a_deadline_frees_the_worker_even_of_a_generator_that_hangs(
    tmp_path: Path, pools: list[GeneratorPool]
) -> None:
    hanging, fine = Scripted(gate=True), Scripted("T-to-A")
    hanging.heeds_cancelling = False
    pools.append(pool := GeneratorPool([hanging, fine], tmp_path, workers=1, deadline=0.2))
    with pytest.raises(GenerationTimeout, match=r"T-to-I did not finish within 0\.2 s") as failure:
        pool.submit(ask()).result(PATIENCE)
    assert failure.value.hint
    pool.submit(ask(model="T-to-A")).result(PATIENCE)
    hanging.gate.set()


def test_a_failure_is_that_calls_alone(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted()
    generator.failures = [ValueError("no such colour")]
    pools.append(pool := GeneratorPool([generator], tmp_path))
    with pytest.raises(GenerationError, match="T-to-I failed: ValueError: no such colour"):
        pool.submit(ask()).result(PATIENCE)
    assert pool.submit(ask()).result(PATIENCE).path.is_file()


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


def test_preload_loads_in_the_background_and_once(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted()
    pools.append(pool := GeneratorPool([generator], tmp_path))
    pool.preload("T-to-I")
    pool.preload("T-to-I")
    pool.preload("T-to-Nothing")
    pool.submit(ask()).result(PATIENCE)
    assert generator.log == ["load", "a cat"]


def test_a_preload_that_fails_shows_in_the_call(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    class Broken(Scripted):
        def load(self) -> None:
            raise GenerationError("the file is torn", hint="Fetch it again.")

    pools.append(pool := GeneratorPool([Broken()], tmp_path))
    pool.preload("T-to-I")
    with pytest.raises(GenerationError, match="the file is torn"):
        pool.submit(ask()).result(PATIENCE)


def test_an_equal_request_is_answered_from_the_cache(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted()
    generator.fingerprint = "v1"
    pools.append(pool := GeneratorPool([generator], tmp_path))
    first = pool.submit(ask()).result(PATIENCE)
    began = time.monotonic()
    again = pool.submit(ask())
    assert again.done
    assert time.monotonic() - began < 0.05
    assert again.result() == first
    for other in (ask("a dog"), ask(seed=2)):
        pool.submit(other).result(PATIENCE)
    assert generator.log == ["load", "a cat", "a dog", "a cat"]


def test_a_changed_file_is_made_again(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted()
    generator.fingerprint = "v1"
    pools.append(pool := GeneratorPool([generator], tmp_path))
    first = pool.submit(ask()).result(PATIENCE)
    original = first.path.read_bytes()
    first.path.unlink()
    first.path.write_bytes(b"something else")
    again = pool.submit(ask()).result(PATIENCE)
    assert generator.log.count("a cat") == 2
    assert again.path.read_bytes() == original


def test_the_cache_outlives_the_process(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    made = []
    for name in ("one", "two"):
        generator = Scripted()
        generator.fingerprint = "v1"
        pool = GeneratorPool([generator], tmp_path / name, cache=tmp_path / "cache")
        pools.append(pool)
        made.append(pool.submit(ask()).result(PATIENCE))
    assert generator.log == []
    assert made[1].path.parent == tmp_path / "two"
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    other = Scripted()
    other.fingerprint = "v2"
    pools.append(pool := GeneratorPool([other], tmp_path / "three", cache=tmp_path / "cache"))
    pool.submit(ask()).result(PATIENCE)
    assert other.log == ["load", "a cat"]


def test_the_source_is_part_of_what_decides(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted("TI-to-I")
    generator.fingerprint = "v1"
    pools.append(pool := GeneratorPool([generator], tmp_path))
    for sha in ("0" * 64, "1" * 64):
        source = Media(Modality.IMAGE, tmp_path / "source.png", "image/png", sha)
        pool.submit(GenerationRequest("TI-to-I", "blue", 1, {}, source)).result(PATIENCE)
    assert generator.log == ["load", "blue", "blue"]


def test_close_cancels_and_refuses(tmp_path: Path) -> None:
    others = set(threading.enumerate())
    generator = Scripted(gate=True)
    pool = GeneratorPool([generator], tmp_path, workers=1)
    running, waiting = pool.submit(ask("running")), pool.submit(ask("waiting"))
    generator.wait_started()
    pool.close()
    for call in (running, waiting):
        with pytest.raises(GenerationCancelled):
            call.result(PATIENCE)
    assert generator.log == ["load", "running", "stopped", "unload"]
    with pytest.raises(GenerationError, match="closed"):
        pool.submit(ask())
    left = set(threading.enumerate()) - others
    assert not [thread for thread in left if thread.name.startswith("modaverse-")]


def test_the_order_of_finishing_does_not_change_what_is_made(
    tmp_path: Path, pools: list[GeneratorPool]
) -> None:
    def hashes(name: str, order: list[int]) -> dict[int, str]:
        pools.append(pool := GeneratorPool([Scripted()], tmp_path / name, workers=4))
        calls: dict[int, Call] = {seed: pool.submit(ask(seed=seed)) for seed in order}
        return {seed: call.result(PATIENCE).sha256 for seed, call in calls.items()}

    assert hashes("forwards", [1, 2, 3, 4]) == hashes("backwards", [4, 3, 2, 1])


@pytest.mark.parametrize(
    ("generators", "arguments", "message"),
    [
        ([Scripted(), Scripted()], {}, "two generators answer T-to-I"),
        ([Scripted()], {"workers": 0}, "0 workers"),
        ([Scripted()], {"deadline": -1.0}, "deadline of -1"),
    ],
)
def test_settings_that_cannot_work(
    generators: list[Scripted], arguments: dict[str, float], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        GeneratorPool(generators, tmp_path, **arguments)  # type: ignore[arg-type]


def test_an_unknown_model_names_those_there_are(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    pools.append(pool := GeneratorPool([Scripted()], tmp_path))
    assert dict(pool.catalogue) == {"T-to-I": CallSpec("T-to-I", Modality.IMAGE)}
    with pytest.raises(GenerationError, match="no generator answers T-to-X") as failure:
        pool.submit(ask(model="T-to-X"))
    assert "T-to-I" in failure.value.hint
