"""The loop over rows: what is run, what is kept, what the table says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from modaverse.errors import ModelNotFound, SettingsError
from modaverse.settings import Profile
from modaverse.toybox.evaluation.measuring import Progress, chosen, measure
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.evaluation.report import examples, markdown, record
from modaverse.toybox.evaluation.row import Bar, Case, Outcome, Row


class Coin:
    """A row whose every fourth case is wrong, and which may be killed."""

    def __init__(self, name: str = "coin", *, die_at: int | None = None) -> None:
        self.ran: list[str] = []
        self.die_at = die_at
        self.row = Row(
            name=name,
            title="a coin",
            needs=("judge-image",),
            bars=(
                Bar("right", "right", at_least=0.7),
                Bar("wrong", "wrong", at_most=0.1),
                Bar("even", "even cases"),
            ),
            count=40,
            cases=lambda count, seed: [Case(f"{i:02d}", seed=seed) for i in range(count)],
            run=self.run,
            chunk=8,
        )

    def run(self, parts: Parts, cases: Sequence[Case]) -> list[Outcome]:
        if self.die_at is not None and len(self.ran) >= self.die_at:
            raise KeyboardInterrupt
        self.ran += [case.id for case in cases]
        return [self.outcome(int(case.id), case.id) for case in cases]

    def outcome(self, number: int, name: str) -> Outcome:
        marks = {"right": number % 4 != 0, "wrong": number % 4 == 0}
        return Outcome(name, {**marks, "even": True} if number % 2 == 0 else marks, facts={"said": ["heads"]})


def run(row: Row, parts: Parts, folder: Path, **changes: object) -> dict[str, object]:
    measurement = measure([row], parts, folder, **changes)  # type: ignore[arg-type]
    return {line.bar.measure: line for line in measurement.lines} | {"all": measurement}


def test_measures_and_holds_bars(parts: Parts, tmp_path: Path) -> None:
    lines = run(Coin().row, parts, tmp_path)
    right, wrong, even = lines["right"], lines["wrong"], lines["even"]
    assert (right.estimate.value, right.estimate.count, right.holds) == (0.75, 40, True)
    assert (wrong.estimate.value, wrong.holds) == (0.25, False)
    assert (even.estimate.count, even.holds) == (20, None)
    assert lines["all"].failing == (wrong,)
    assert lines["all"].full


def test_a_killed_run_goes_on_where_it_was(parts: Parts, tmp_path: Path) -> None:
    killed = Coin(die_at=16)
    with pytest.raises(KeyboardInterrupt):
        run(killed.row, parts, tmp_path)
    rest = Coin()
    lines = run(rest.row, parts, tmp_path)
    assert killed.ran + rest.ran == [f"{i:02d}" for i in range(40)]
    assert lines["right"].estimate.count == 40
    seen: list[Progress] = []
    nothing = Coin()
    run(nothing.row, parts, tmp_path, report=seen.append)
    assert nothing.ran == []
    assert seen == [Progress("coin", 40, 40)]


def test_other_weights_seeds_and_rows_are_measured_anew(parts: Parts, tmp_path: Path) -> None:
    run(Coin().row, parts, tmp_path)
    reseeded, renamed, retrained = Coin(), Coin("another"), Coin()
    run(reseeded.row, parts, tmp_path, seed=1)
    run(renamed.row, parts, tmp_path)
    parts.weights = "two"  # type: ignore[attr-defined]
    run(retrained.row, parts, tmp_path)
    assert [len(coin.ran) for coin in (reseeded, renamed, retrained)] == [40, 40, 40]


def test_a_quick_look_says_so_and_counts_for_the_whole(parts: Parts, tmp_path: Path) -> None:
    quick = Coin()
    lines = run(quick.row, parts, tmp_path, limit=8)
    assert not lines["all"].full
    assert "quick look" in markdown(lines["all"])
    assert record(lines["all"])["full"] is False
    whole = Coin()
    lines = run(whole.row, parts, tmp_path)
    assert (len(quick.ran), len(whole.ran)) == (8, 32)
    assert "quick look" not in markdown(lines["all"])


def test_the_table_as_markdown(parts: Parts, tmp_path: Path) -> None:
    text = markdown(run(Coin().row, parts, tmp_path)["all"])
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[1] == "| a coin | right | ≥ 70 % | 75.0 % | 59.8 – 85.8 % | 40 | holds |"
    assert rows[2] == "|  | wrong | ≤ 10 % | 25.0 % | 14.2 – 40.2 % | 40 | falls short |"
    assert rows[3] == "|  | even cases |  | 100.0 % | 83.9 – 100.0 % | 20 |  |"


def test_cases_that_count_against_a_bar_can_be_looked_up(parts: Parts, tmp_path: Path) -> None:
    lines = run(Coin().row, parts, tmp_path)
    fourth = [f"{i:02d}" for i in range(0, 40, 4)]
    assert [outcome.case for outcome in lines["right"].wrong] == fourth  # type: ignore[attr-defined]
    assert [outcome.case for outcome in lines["wrong"].wrong] == fourth  # type: ignore[attr-defined]
    assert list(examples(lines["all"], 2)) == [  # type: ignore[arg-type]
        "coin, right: 10 wrong",
        "  00  said: heads",
        "  04  said: heads",
        "coin, wrong: 10 wrong",
        "  00  said: heads",
        "  04  said: heads",
    ]


def test_rows_by_name() -> None:
    rows = [Coin(name).row for name in ("judge-image", "judge-audio", "calls")]
    assert [row.name for row in chosen(rows, ["calls", "judge-image"])] == ["judge-image", "calls"]
    assert [row.name for row in chosen(rows, ["judge-*"])] == ["judge-image", "judge-audio"]
    with pytest.raises(SettingsError, match="'jugde'"):
        chosen(rows, ["jugde"])


def test_a_missing_part_is_named_before_anything_runs(empty: Profile, tmp_path: Path) -> None:
    coin = Coin()
    with pytest.raises(ModelNotFound, match=r"judge/image\.safetensors") as error:
        measure([coin.row], Parts(empty, tmp_path / "run"), tmp_path / "run")
    assert "--rows" in error.value.hint
    assert coin.ran == []
    assert not (tmp_path / "run").exists()


def test_the_rows_of_the_table_can_be_told_apart_and_run(parts: Parts) -> None:
    from modaverse.toybox.evaluation.table import ROWS

    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names) == 39
    for row in ROWS:
        measures = [bar.measure for bar in row.bars]
        assert len(set(measures)) == len(measures), row.name
        Parts.missing(parts, row.needs)  # raises where a need is no part
