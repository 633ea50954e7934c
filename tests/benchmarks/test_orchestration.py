"""`benchmarks/orchestration.py` counts what no model works in, whatever runs side by side."""

from __future__ import annotations

import threading
import time

import pytest
from orchestration import MODELS, Clock, Measured, covered, measure, rows


def test_what_is_covered_counts_once() -> None:
    assert covered([(1.0, 2.0), (4.0, 5.0)], (0.0, 10.0)) == pytest.approx(2)
    assert covered([(1.0, 4.0), (2.0, 3.0), (3.5, 6.0)], (0.0, 10.0)) == pytest.approx(5)
    assert covered([(-3.0, 1.0), (9.0, 20.0)], (0.0, 10.0)) == pytest.approx(2)
    assert covered([(11.0, 12.0)], (0.0, 10.0)) == 0
    assert covered([], (0.0, 10.0)) == 0


def test_models_in_other_threads_are_taken_off() -> None:
    clock = Clock()
    begun, drawn = threading.Event(), threading.Event()

    def think() -> None:
        begun.wait()  # the LLM begins before the pipeline, or after it, but works until it has ended
        drawn.wait()

    def draw() -> None:
        begun.set()
        time.sleep(0.02)
        drawn.set()

    def ask(seed: int) -> int:
        worker = threading.Thread(target=clock.around("pipelines", draw))
        worker.start()
        clock.around("LLM", think)()
        worker.join()
        time.sleep(0.05)  # nobody works
        return seed

    measured = measure(clock, ask, 12)
    assert measured.tokens == 12
    assert measured.parts["pipelines"] >= 0.02
    both = measured.parts["LLM"] + measured.parts["pipelines"]
    assert max(measured.parts.values()) <= measured.models <= min(both, measured.wall - 0.05) + 1e-9
    assert measured.share == pytest.approx(1 - measured.models / measured.wall)
    assert measured.share > 0


def test_a_function_that_fails_is_timed_and_fails() -> None:
    clock = Clock()

    def broken() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        clock.around("encoder", broken)()
    assert len(clock.ran["encoder"]) == 1


def test_the_median_run_is_shown() -> None:
    names = (*MODELS, "token mask", "parser", "sampling", "files")
    runs = [Measured(1.0, dict.fromkeys(names, 0.25), models, 40) for models in (0.99, 0.97, 0.90)]
    (line,) = rows({"text → image": runs})
    assert line[:3] == ["text → image", "40", "1000 ms"]
    assert line[6:8] == ["3.0 %", "10.0 %"]


def test_what_is_timed_is_what_an_answer_runs(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A whole request on tiny parts: every name that is told apart has run, and is as it was afterwards."""
    from orchestration import timing
    from overlap import Sleeper, studio

    from modaverse.context import Text
    from modaverse.interfaces import Sampling
    from modaverse.language import transcript
    from modaverse.orchestrator import AnswerSettings

    here = studio(tmp_path, 32)
    orchestrator, _ = here.orchestrator(
        Sleeper(0.0), here.tokens('Hi <meta>{"Model": "T-to-I", "Input": "a"}</meta>')
    )
    clock, choose, core = Clock(), transcript.choose, here.language.core
    with timing(clock, core):
        settings = AnswerSettings(0, Sampling(max_new_tokens=200))
        list(orchestrator.stream(orchestrator.conversation(), [Text("Draw")], settings))
    orchestrator.pool.close()  # type: ignore[attr-defined]
    assert {name for name, ran in clock.ran.items() if ran} == {"LLM", "parser", "sampling", "files"}
    assert transcript.choose is choose
    assert "forward" not in vars(core)
