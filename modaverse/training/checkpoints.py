"""Checkpoints of a stage: what trains, the optimiser's moments, and where the run is.

    checkpoint-500/  model.safetensors       all that trains, by its name in `MultimodalLM`
                     optimizer.safetensors   "exp_avg.NAME", "exp_avg_sq.NAME", "step.NAME"
                     trainer_state.json      transformers' own: the step
                     window.json             losses since the last entry of the log

A checkpoint is written under another name and renamed when it is complete, and only then older ones go: a
process that is killed while saving, or a full disk, leaves the last good one. A model that FSDP shards is
written whole, to the same files.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import Trainer

from modaverse.errors import CheckpointError, StorageError

if TYPE_CHECKING:
    from modaverse.training.engine import Stage
    from modaverse.training.settings import TrainSettings
    from modaverse.training.window import Window

MODEL, OPTIMIZER, WINDOW, STATE = (
    "model.safetensors",
    "optimizer.safetensors",
    "window.json",
    "trainer_state.json",
)
_STAGING = ".partial"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint."""

    path: Path
    step: int


def plain_name(name: str) -> str:
    """A parameter's name in `MultimodalLM`, without what wrappers put around it."""
    for wrapper in ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod."):
        name = name.replace(wrapper, "")
    return name.removeprefix("module.").removeprefix("lm.")


def checkpoints(folder: Path) -> list[Checkpoint]:
    """The checkpoints of a stage, oldest first."""
    found = [
        Checkpoint(path, int(match[1]))
        for path in folder.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and (path / STATE).is_file()
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor on the CPU; one that is sharded is gathered, for which all processes have to ask."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu().contiguous()


def as_held(tensor: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    """A whole tensor, sharded where `held` is: each process has all of it and keeps its part."""
    if not isinstance(held, DTensor):
        return tensor
    return distribute_tensor(tensor.to(held.device), held.device_mesh, held.placements, src_data_rank=None)


def load_trained(path: Path, model: nn.Module) -> None:
    """Put what trained into `model` (a `MultimodalLM`).

    Raises:
        CheckpointError: the file is damaged, or of another model.
    """
    try:
        tensors = load_file(path / MODEL)
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, tensor in tensors.items():
                if parameters[name].shape != tensor.shape:
                    raise ValueError(f"{name} has another shape")
                parameters[name].copy_(as_held(tensor, parameters[name]))
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"Cannot go on from {path}: {error}",
        hint="Remove that folder to go on from the checkpoint before it, or train into another folder.",
    )


class CheckpointingTrainer(Trainer):  # type: ignore[misc]
    """The half of `Engine` that keeps and restores the state of a run."""

    stage: Stage
    settings: TrainSettings
    window: Window

    def last_checkpoint(self) -> Checkpoint | None:
        found = checkpoints(self.stage.folder)
        return found[-1] if found else None

    # -------------------------------------------------------------------------------------- saving

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.stage.folder / _STAGING)

    def _save_checkpoint(self, model: nn.Module, trial: Any = None) -> None:
        name = f"checkpoint-{self.state.global_step}"
        staged, final = self.stage.folder / _STAGING / name, self.stage.folder / name
        with self._saving():
            if self.args.should_save:
                shutil.rmtree(staged.parent, ignore_errors=True)
                staged.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                (staged / WINDOW).write_text(json.dumps(self.window.losses()), encoding="utf-8")
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                _settle(staged, final)
                for old in checkpoints(self.stage.folder)[: -self.settings.keep_checkpoints]:
                    shutil.rmtree(old.path)

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            shutil.rmtree(self.stage.folder / _STAGING, ignore_errors=True)
            last = self.last_checkpoint()
            raise StorageError(
                f"The checkpoint of step {self.state.global_step} cannot be written to {self.stage.folder}: "
                f"{getattr(error, 'strerror', None) or error}",
                hint="Free some space, then resume"
                + (f"; step {last.step} is kept." if last else "; there was no checkpoint before it."),
            ) from error

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        parameters = self.model.named_parameters()
        self._keep(MODEL, output_dir, {plain_name(n): p for n, p in parameters if p.requires_grad})

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state = self.optimizer.state_dict()["state"]
        moments = {
            f"{key}.{name}": value
            for index, name in enumerate(self._optimised())
            for key, value in state.get(index, {}).items()
        }
        self._keep(OPTIMIZER, output_dir, moments)

    def _keep(self, name: str, folder: str | None, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write tensors to a file of a checkpoint. All processes come here, and one of them writes."""
        if not (self.args.should_save or self.is_fsdp_enabled):
            return
        kept = {key: whole(tensor) for key, tensor in tensors.items()}
        if self.args.should_save:
            save_file(kept, Path(folder or self.args.output_dir) / name, metadata={"format": "pt"})

    def _save_rng_state(self, output_dir: str) -> None:
        """Nothing to keep: random numbers depend on the step."""

    def _optimised(self) -> dict[str, torch.Tensor]:
        """The optimiser's parameters by name, in its order."""
        groups = self.optimizer.param_groups
        return {n: p for group in groups for n, p in zip(group["names"], group["params"], strict=True)}

    # ------------------------------------------------------------------------------------ restoring

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        path = Path(resume_from_checkpoint)
        load_trained(path, self.model.lm)
        try:
            self.window.earlier = json.loads((path / WINDOW).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _unusable(path, error) from error

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        try:
            tensors = load_file(Path(checkpoint) / OPTIMIZER)
        except (OSError, SafetensorError) as error:
            raise _unusable(Path(checkpoint), error) from error
        state: dict[int, dict[str, torch.Tensor]] = {}
        held = self._optimised()
        places = {name: index for index, name in enumerate(held)}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(".")
            # What counts steps is one number, and on each process.
            state.setdefault(places[name], {})[kind] = as_held(tensor, held[name]) if tensor.ndim else tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._set_schedule(self.state.global_step)

    def _set_schedule(self, step: int) -> None:
        scheduler = self.lr_scheduler
        scheduler.last_epoch = step
        scheduler._step_count = step + 1
        rates = [
            base * factor(step) for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        ]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        scheduler._last_lr = rates

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing was kept: random numbers depend on the step."""


def _settle(staged: Path, final: Path) -> None:
    """Make a complete checkpoint durable under its own name."""
    for path in [p for p in staged.rglob("*") if p.is_file()]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    os.replace(staged, final)
    shutil.rmtree(staged.parent, ignore_errors=True)
