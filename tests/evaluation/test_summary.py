"""Estimates by direction, two runs side by side, and runs that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from modaverse.errors import DataError
from modaverse.evaluation.measuring import Measured
from modaverse.evaluation.plots import plot_runs
from modaverse.evaluation.summary import ALL, Run, cells, change_cells, compare, lines, load, markdown, save

DIRECTIONS = ("text → image", "image → text", "text → image")


def run(*right: int, loss: float = 2.0) -> Run:
    """Cases of three directions in turn; `right` of ten tokens each."""
    cases = tuple(
        Measured(
            f"key{n}",
            f"rows.jsonl:{n}.1",
            DIRECTIONS[n % 3],
            {"tokens": (float(score), 10.0), "loss": (loss * 10, 10.0)}
            | ({"valid": (float(score > 5), 1.0)} if n % 3 != 1 else {}),
            {},
        )
        for n, score in enumerate(right)
    )
    return Run("mini", ("rows.jsonl",), 0, "abc", cases)


def test_measures_by_direction() -> None:
    found = {(line.direction, line.measure): line.estimate for line in lines(run(10, 4, 8, 2))}
    assert list(dict.fromkeys(direction for direction, _ in found)) == [ALL, "text → image", "image → text"]
    assert found[ALL, "tokens"].value == pytest.approx(24 / 40)
    assert found["text → image", "tokens"].value == pytest.approx(20 / 30)
    assert found["text → image", "valid"].value == pytest.approx(2 / 3)
    assert ("image → text", "valid") not in found  # no case asks for it
    assert found["image → text", "tokens"].count == 1
    assert found[ALL, "loss"].value == pytest.approx(2.0)
    assert found[ALL, "tokens"].low < 0.6 < found[ALL, "tokens"].high


def test_two_runs_are_compared_case_by_case() -> None:
    first, second = run(*[2, 9] * 20), run(*[3, 10] * 20, loss=1.5)
    changes = {(change.direction, change.measure): change for change in compare(first, second)}
    tokens = changes[ALL, "tokens"]
    assert tokens.change.value == pytest.approx(0.1)
    # Each case is one token better: pairing shows that, however much the cases differ among themselves.
    assert tokens.change.low == pytest.approx(0.1)
    assert tokens.first.high - tokens.first.low > 0.1
    assert changes[ALL, "loss"].change.value == pytest.approx(-0.5)
    assert change_cells(tokens)[2:6] == ("55.0 %", "65.0 %", "+10.0 %", "10.0 – 10.0 %")


def test_only_cases_that_both_have_are_compared() -> None:
    changes = compare(run(10, 10, 10), run(0))
    assert {change.change.count for change in changes} == {1}
    other = Run("x", (), 0, "", tuple(Measured(f"other{n}", "", "a", {}, {}) for n in range(3)))
    with pytest.raises(DataError, match="no case in common"):
        compare(run(1, 2), other)


def test_a_run_is_kept_whole(tmp_path: Path) -> None:
    one = run(10, 4, 8)
    save(one, tmp_path)
    assert load(tmp_path) == load(tmp_path / "evaluation.json") == one


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"cases": [{}]}'])
def test_what_is_no_run_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(DataError, match="holds no evaluation"):
        load(tmp_path)
    with pytest.raises(DataError, match="cannot read"):
        load(tmp_path / "nowhere.json")


def test_tables_and_plots(tmp_path: Path) -> None:
    one = run(10, 4, 8)
    text = markdown(("direction", "measure"), [cells(line)[:2] for line in lines(one)])
    assert text.splitlines()[2:6] == [
        "| all | valid calls |",
        "|  | right tokens |",
        "|  | loss of a token |",
        "| text → image | valid calls |",
    ]
    assert plot_runs({"a": one, "b": run(1, 2)}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
