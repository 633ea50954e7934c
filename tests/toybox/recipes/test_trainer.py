from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modaverse.errors import CheckpointError, ModaVerseError, StorageError
from modaverse.toybox.recipes import trainer
from modaverse.toybox.recipes.trainer import CHECKPOINT, LOG, Recipe, Schedule, train


def recipe(steps: int = 24, **changes: object) -> Recipe:
    """A small regression with dropout, so that a wrong random state would show."""

    def build() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 1))

    def batch(step: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(step))
        return x, x.sum(1, keepdim=True)

    def loss(module: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        value = (module(data[0]) - data[1]).square().mean()
        return value, {"mse": value.item()}

    def export(module: nn.Module, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        save_file(module.state_dict(), folder / "m.safetensors")

    made = Recipe(
        name="regression",
        schedule=Schedule(steps=steps, learning_rate=1e-2, warmup=4, ema=0.9, bfloat16=False),
        build=build,
        batch=batch,
        loss=loss,
        evaluate=lambda module: {"error": loss(module, batch(1_000_000))[0].item()},
        export=lambda module, folder: (
            folder.mkdir(exist_ok=True),
            save_file(module.state_dict(), folder / "m.safetensors"),
        )[1],
        evaluate_every=8,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_learns(tmp_path: Path) -> None:
    seen = []
    train(recipe(400), tmp_path, report=lambda p: seen.append(p))
    errors = [p.evaluation["error"] for p in seen if p.evaluation]
    assert errors[-1] < 0.1 * errors[0]
    rows = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [row["step"] for row in rows] == [p.step for p in seen]


@pytest.mark.parametrize("muon", [False, True])
def test_resumed_run_equals_uninterrupted_one(tmp_path: Path, muon: bool) -> None:
    made = recipe()
    made = replace(made, schedule=replace(made.schedule, muon=muon))
    train(made, tmp_path / "whole")
    for _ in range(3):
        train(made, tmp_path / "parts", stop_after=9)
    whole, parts = (load_file(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for key in whole:
        assert torch.equal(whole[key], parts[key]), key
    exported = [load_file(tmp_path / name / "export" / "m.safetensors") for name in ("whole", "parts")]
    assert all(torch.equal(exported[0][key], exported[1][key]) for key in exported[0])


def test_muon_moves_the_matrices_of_blocks_and_nothing_else(tmp_path: Path) -> None:
    def build() -> nn.Module:
        torch.manual_seed(3)
        blocks = nn.ModuleList([nn.Linear(16, 16), nn.Embedding(4, 16)])
        return nn.ModuleDict({"input": nn.Linear(4, 16), "blocks": blocks, "readout": nn.Linear(16, 1)})

    def loss(module: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(module, nn.ModuleDict)
        assert isinstance(module["blocks"], nn.ModuleList)
        table, x = module["blocks"][1], module["input"](data[0])
        made = module["readout"](module["blocks"][0](x).relu() + table(torch.zeros(len(x), dtype=torch.long)))
        return (made - data[1]).square().mean(), {}

    made = recipe(build=build, loss=loss, evaluate=lambda module: {}, export=lambda module, folder: None)
    train(replace(made, schedule=replace(made.schedule, muon=True)), tmp_path)
    kept = load_file(tmp_path / CHECKPOINT)
    by_muon = {key for key in kept if key.startswith("optimizer.momentum_buffer.")}
    assert by_muon == {"optimizer.momentum_buffer.blocks.0.weight"}
    assert "optimizer.exp_avg.blocks.1.weight" in kept
    assert "optimizer.exp_avg.blocks.0.weight" not in kept


def test_interrupt_saves(tmp_path: Path) -> None:
    def batch(step: int) -> tuple[Tensor, Tensor]:
        if step == 5:
            raise KeyboardInterrupt
        return recipe().batch(step)

    with pytest.raises(KeyboardInterrupt):
        train(recipe(batch=batch), tmp_path / "cut")
    train(recipe(), tmp_path / "cut")
    train(recipe(), tmp_path / "whole")
    whole, cut = (load_file(tmp_path / name / CHECKPOINT) for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_not_a_number_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    train(recipe(), tmp_path, stop_after=6)
    good = load_file(tmp_path / CHECKPOINT)

    def poisoned(step: int) -> tuple[Tensor, Tensor]:
        return torch.full((32, 4), float("nan")), torch.zeros(32, 1)

    with pytest.raises(ModaVerseError, match="loss is nan at step 6") as caught:
        train(recipe(batch=poisoned), tmp_path)
    assert "learning rate" in caught.value.hint
    kept = load_file(tmp_path / CHECKPOINT)
    assert all(torch.equal(good[key], kept[key]) for key in good)


def test_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(recipe(), tmp_path, stop_after=2)
    with pytest.raises(CheckpointError, match="'regression', not 'other'"):
        train(recipe(name="other"), tmp_path)


def test_truncated_checkpoint_is_named(tmp_path: Path) -> None:
    train(recipe(), tmp_path, stop_after=2)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=CHECKPOINT):
        train(recipe(), tmp_path)


def test_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(recipe(), tmp_path, stop_after=2)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer, "save_file", full)
    with pytest.raises(StorageError, match="No space left"):
        train(recipe(), tmp_path, stop_after=2)
    assert list(tmp_path.glob("*.tmp")) == []
    monkeypatch.undo()
    train(recipe(), tmp_path)


def test_rate_warms_up_and_falls() -> None:
    schedule = Schedule(steps=100, learning_rate=1.0, warmup=10, final_rate=0.1)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def convolutions(steps: int = 12) -> Recipe:
    """A regression by a residual convolution in a numbered block."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Conv2d(3, 6, 3, padding=1)])
            self.head = nn.Conv2d(6, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.blocks[0](x).relu())
            return y

    def build() -> nn.Module:
        torch.manual_seed(3)
        return Net()

    def batch(step: int) -> Tensor:
        return torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(step))

    def loss(module: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, float]]:
        value = (module(x) - x.sum(1, keepdim=True)).square().mean()
        return value, {"mse": value.item()}

    schedule = Schedule(
        steps=steps, learning_rate=1e-2, warmup=2, ema=0.9, muon=True, muon_filters=True, bfloat16=False
    )
    made = recipe(steps, build=build, batch=batch, loss=loss, schedule=schedule, name="filters")
    return replace(made, evaluate=lambda module: {"error": loss(module, batch(10**6))[0].item()})


def test_filters_are_muons_as_matrices_on_the_memory_of_the_module() -> None:
    state = trainer._State(convolutions())
    (muon,) = (o for o in state._optimizers if isinstance(o, torch.optim.Muon))
    (filters,) = muon.param_groups[0]["params"]
    weight = state.module.blocks[0].weight  # type: ignore[union-attr, index]
    assert filters.shape == (6, 27)
    before = weight.detach().clone()
    state.advance()
    moved = (weight - before).flatten(1)
    assert torch.equal(filters, weight.flatten(1))
    # What is special about Muon's steps: along all directions more alike than the slope is.
    assert filters.grad is not None
    step, slope = (torch.linalg.svdvals(matrix.detach()) for matrix in (moved, filters.grad))
    assert step[-1] / step[0] > 4 * slope[-1] / slope[0]


def test_filters_resume_exactly(tmp_path: Path) -> None:
    train(convolutions(), tmp_path / "whole")
    train(convolutions(), tmp_path / "parts", stop_after=5)
    train(convolutions(), tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
