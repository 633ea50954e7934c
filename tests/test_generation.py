"""The pool, on scripted generators that wait for events instead of sleeping."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from modaverse.media import write_media
from modaverse.pace import Pace
from modaverse.result_cache import ResultCache, request_key

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
        self.failures: list[BaseException] = []
        self.loaded = False
        self.memory_error_above: int | None = None  # of how many requests at once
        self.bad_prompt: str | None = None

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

    def batch_key(self, request: GenerationRequest) -> str | None:
        return None if request.source else str(sorted(request.options.items()))

    def generate_together(
        self, requests: Sequence[GenerationRequest], *, progress: Progress, cancelled: Cancelled
    ) -> list[Decoded]:
        self.log.append("+".join(request.prompt for request in requests))
        self.started.release()
        if self.memory_error_above is not None and len(requests) > self.memory_error_above:
            raise GenerationOutOfMemory("too little")
        if any(request.prompt == self.bad_prompt for request in requests):
            raise GenerationError("no such colour")
        progress(1, 1)
        return [picture(request.seed) for request in requests]

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
        if request.prompt == self.bad_prompt:
            raise GenerationError("no such colour")
        return picture(request.seed)

    def wait_started(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.started.acquire(timeout=PATIENCE)


def picture(seed: int) -> Pixels:
    return Pixels(np.full((4, 4, 3), seed, dtype=np.uint8))


class Parking(Scripted):
    """One that can be set aside in the machine's own memory."""

    def park(self) -> None:
        self.log.append("park")
        self.loaded = False


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


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_generator_that_wants_to_end_the_program_only_fails(
    error: BaseException, tmp_path: Path, pools: list[GeneratorPool]
) -> None:
    generator = Scripted()
    generator.failures = [error]
    pools.append(pool := GeneratorPool([generator], tmp_path))
    with pytest.raises(GenerationError, match=f"T-to-I failed: {type(error).__name__}"):
        pool.submit(ask()).result(PATIENCE)


# ------------------------------------------------------------------------------------- batches


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


# -------------------------------------------------------------------------------------- memory


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


KNOWN = GenerationRequest(
    "TI-to-I", "blue", 1, {"steps": 4}, Media(Modality.IMAGE, Path("a"), "image/png", "0")
)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "T-to-I"},
        {"prompt": "Blue"},
        {"seed": 2},
        {"options": {"steps": 5}},
        {"options": {"steps": 4, "strength": 1}},
        {"source": None},
        {"source": Media(Modality.IMAGE, Path("a"), "image/png", "1")},
    ],
)
def test_each_part_of_a_request_is_part_of_its_key(change: dict[str, object]) -> None:
    assert request_key(KNOWN, "v1") == request_key(replace(KNOWN), "v1")
    assert request_key(replace(KNOWN, **change), "v1") != request_key(KNOWN, "v1")  # type: ignore[arg-type]
    assert request_key(KNOWN, "v2") != request_key(KNOWN, "v1")
    assert request_key(KNOWN, "v1", batch=2) != request_key(KNOWN, "v1")
    moved = replace(KNOWN, source=Media(Modality.IMAGE, Path("b"), "image/png", "0"))
    assert request_key(moved, "v1") == request_key(KNOWN, "v1")  # what counts is what is in it


def test_a_hit_on_disk_costs_little(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    """With the file in another folder, as in every new conversation."""
    noise = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), dtype=np.uint8)  # 3 MB as PNG
    cache, times = ResultCache(tmp_path / "cache"), []
    cache.keep("key", write_media(Pixels(noise), tmp_path / "made"))
    for number in range(5):
        later = ResultCache(tmp_path / "cache")
        began = time.perf_counter()
        found = later.find("key", tmp_path / str(number))
        times.append(time.perf_counter() - began)
        assert found is not None
        assert found.path.parent == tmp_path / str(number)
    assert min(times) < 0.05


def test_spoilt_files_are_neither_served_nor_left(tmp_path: Path) -> None:
    media = write_media(picture(1), tmp_path / "made")
    cache, into = ResultCache(tmp_path / "cache"), tmp_path / "here" / media.path.name
    cache.keep("key", media)
    into.parent.mkdir()
    into.write_bytes(b"something else of that name")
    assert cache.find("key", into.parent) == replace(media, path=into)
    assert into.read_bytes() == media.path.read_bytes()
    stored = tmp_path / "cache" / media.path.name
    stored.unlink()
    stored.write_bytes(b"spoilt")
    assert ResultCache(tmp_path / "cache").find("key", into.parent) is None
    cache.keep("key", media)
    assert ResultCache(tmp_path / "cache").find("key", into.parent) is not None


@pytest.mark.parametrize(
    "entry", ["", "[]", "{", '{"file": "x"}', '{"file": "../../up.png", "modality": "image"}', "[" * 100_000]
)
def test_entries_that_are_none_are_passed_over(entry: str, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(entry)
    assert ResultCache(tmp_path).find("key", tmp_path / "here") is None


def test_a_cache_that_cannot_be_written_costs_nothing_but_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    media = write_media(picture(1), tmp_path)
    cache = ResultCache(tmp_path / "cache")
    cache.keep("key", media)
    assert "cannot keep" in caplog.text
    assert cache.find("key", tmp_path) == media


def test_what_was_made_while_a_call_waited_is_not_made_again(
    tmp_path: Path, pools: list[GeneratorPool]
) -> None:
    generator = Scripted(gate=True, concurrency=1)
    generator.fingerprint = "v1"
    pools.append(pool := GeneratorPool([generator], tmp_path))
    calls = [pool.submit(ask()) for _ in range(3)]
    generator.gate.set()
    assert len({call.result(PATIENCE) for call in calls}) == 1
    assert generator.log == ["load", "a cat"]


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
        ([Scripted()], {"batch": 0}, "a batch of 0"),
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
