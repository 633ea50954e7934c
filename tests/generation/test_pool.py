"""The pool runs calls side by side, within their deadlines, and a failure is one call's alone."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from pathlib import Path

import pytest
from painters import PATIENCE, Scripted, ask

from modaverse.context import Modality
from modaverse.errors import GenerationCancelled, GenerationError, GenerationTimeout, SettingsError
from modaverse.generation import Call, GeneratorPool
from modaverse.interfaces import CallSpec


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


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_generator_that_wants_to_end_the_program_only_fails(
    error: BaseException, tmp_path: Path, pools: list[GeneratorPool]
) -> None:
    generator = Scripted()
    generator.failures = [error]
    pools.append(pool := GeneratorPool([generator], tmp_path))
    with pytest.raises(GenerationError, match=f"T-to-I failed: {type(error).__name__}"):
        pool.submit(ask()).result(PATIENCE)


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


def test_a_pool_that_nobody_holds_any_more_goes_with_its_generators(tmp_path: Path) -> None:
    others = set(threading.enumerate())
    pool = GeneratorPool([Scripted()], tmp_path)
    pool.submit(ask()).result(PATIENCE)
    for thread in set(threading.enumerate()) - others:
        thread.join(PATIENCE)
    held = weakref.ref(pool)
    del pool
    gc.collect()
    assert held() is None


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
