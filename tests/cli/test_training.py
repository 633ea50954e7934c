"""`modaverse toybox train` on a recipe of a few steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modaverse.cli.progress import numbers
from modaverse.toybox.recipes import registry


def tiny_recipes(runs: Path, report: registry.PoolReport) -> list[object]:
    import torch
    from torch import Tensor, nn

    from modaverse.toybox.recipes.trainer import Measures, Recipe, Schedule

    def loss(module: nn.Module, batch: Tensor) -> tuple[Tensor, Measures]:
        value = (module(batch) - 1).square().mean()
        return value, {"error": float(value.detach())}

    def export(module: nn.Module, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "done").write_text("yes")

    report(10, 20)
    recipe = Recipe(
        name="tiny",
        schedule=Schedule(steps=40, warmup=1, bfloat16=False),
        build=lambda: nn.Linear(2, 1),
        batch=lambda step: torch.full((4, 2), float(step)),
        loss=loss,
        evaluate=lambda module: {"score": 0.5},
        export=export,
        evaluate_every=20,
    )
    return [recipe]


@pytest.fixture(autouse=True)
def tiny_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PARTS", {"tiny": f"{__name__}:tiny_recipes"})
    monkeypatch.setattr(registry, "import_module", lambda name: __import__("sys").modules[name])


def test_a_part_is_trained_and_goes_on_where_it_was(modaverse, tmp_path) -> None:
    first = modaverse("toybox", "train", "tiny", "--steps", "20")
    assert first.returncode == 0, first.stderr
    assert "rendering 10 of 20\n" in first.stdout
    assert "tiny 20 of 40  loss " in first.stdout
    assert "tiny 20: evaluation  score 0.500" in first.stdout
    assert not (tmp_path / "runs/tiny/export").exists()
    second = modaverse("toybox", "train", "tiny")
    assert "tiny 40 of 40" in second.stdout
    assert "tiny 20 of 40" not in second.stdout
    assert (tmp_path / "runs/tiny/export/done").exists()
    log = [json.loads(line) for line in (tmp_path / "runs/tiny/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [20, 40]
    again = modaverse("toybox", "train", "tiny", "--fresh", "--runs", "runs")
    assert "tiny 20 of 40" in again.stdout


def test_an_unknown_part_names_the_parts(modaverse) -> None:
    result = modaverse("toybox", "train", "cat")
    assert result.returncode == 2
    assert result.stderr == "error: there is no part 'cat' to train  hint: the parts are tiny, adapter\n"


def test_options_of_the_adapter_are_for_no_other_part(modaverse) -> None:
    for option in ("--processes", "--rows"):
        result = modaverse("toybox", "train", "tiny", option, "2")
        assert result.returncode == 2
        assert "tiny has no rows and is trained by one process" in result.stderr


def test_numbers_are_short() -> None:
    assert numbers({"loss": 0.12345, "right": 1.0}) == "loss 0.123  right 1.000"
