"""`benchmarks/scale_model.py` gives what can be reckoned by hand, where that can be done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scale_model import Cluster, Simulation, Stages, Work, demands, seconds_for, shared_out

QUICK = {"encode": 0.0, "look": 0.0, "row": 1e-6}
PAINTS = Stages(step={1: 0.01, 4: 0.02}, generate={"T-to-I": {1: 1.0, 4: 2.0}}, **QUICK)


def rate(stages: Stages, work: Work, cluster: Cluster, rows: int = 2000) -> float:
    return Simulation(stages, work, cluster, rows=rows, seed=1).run().rate


def test_times_between_counts_are_in_proportion_and_none_is_guessed_beyond() -> None:
    assert seconds_for({1: 1.0, 4: 4.0, 8: 6.0}, 6) == pytest.approx(5.0)
    assert seconds_for({1: 1.0, 4: 4.0}, 4) == 4.0
    with pytest.raises(ValueError, match="4 at most"):
        seconds_for({1: 1.0, 4: 4.0}, 5)


def test_a_full_llm_is_as_fast_as_its_steps() -> None:
    work = Work(tokens=50)
    assert rate(PAINTS, work, Cluster(1, 0)) == pytest.approx(4 / (50 * 0.02), rel=0.01)
    assert rate(PAINTS, work, Cluster(3, 0)) == pytest.approx(12 / (50 * 0.02), rel=0.01)


def test_full_generators_are_as_fast_as_their_runs() -> None:
    work = Work(tokens=10, calls={"T-to-I": 2.0})
    found = Simulation(PAINTS, work, Cluster(8, 2), rows=2000, seed=1).run()
    assert found.rate == pytest.approx(2 * 4 / 2.0 / 2, rel=0.02)
    assert found.bottleneck == "generators"
    assert found.generators > 0.98


def test_the_driver_bounds_what_many_workers_do() -> None:
    stages = Stages(step=PAINTS.step, generate={}, encode=0.0, look=0.04, row=0.01)
    found = Simulation(stages, Work(tokens=1, media=0.5), Cluster(50, 0), rows=2000, seed=1).run()
    assert found.rate == pytest.approx(1 / 0.03, rel=0.05)
    assert found.bottleneck == "driver"


def test_a_medium_holds_up_the_whole_worker() -> None:
    stages = Stages(step={1: 1e-9, 4: 1e-9}, generate={}, encode=0.5, look=0.0, row=1e-6)
    assert rate(stages, Work(tokens=1, media=1.0), Cluster(1, 0)) == pytest.approx(2.0, rel=0.01)


def test_workers_are_shared_out_by_what_rows_need() -> None:
    work = Work(tokens=100, calls={"T-to-I": 1.0})
    assert demands(PAINTS, work)[:2] == pytest.approx((0.5, 0.5))
    assert shared_out(10, PAINTS, work) == Cluster(5, 5)
    assert shared_out(10, PAINTS, Work(tokens=100)) == Cluster(10, 0)


def test_stage_times_are_read_as_they_are_written(tmp_path: Path) -> None:
    values = {"step": {"16": 2.0, "1": 1.0}, "generate": {"T-to-I": {"1": 3.0}}, **QUICK, "machine": "here"}
    path = tmp_path / "stages.json"
    path.write_text(json.dumps(values))
    stages = Stages.read(path)
    assert list(stages.step) == [1, 16]
    assert stages.generate["T-to-I"] == {1: 3.0}
    assert stages.machine == "here"
