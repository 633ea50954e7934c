"""Runs in processes of their own: killed outright and resumed, and several that train together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from modaverse.settings import LoraSettings
from modaverse.training.checkpoints import as_held, whole
from modaverse.training.launch import launch
from modaverse.training.progress import read_log
from modaverse.training.record import CHECKPOINTS, LOG
from modaverse.training.run import train

SCRIPT = """
import os, signal, sys
from pathlib import Path
from modaverse.training.run import train
from modaverse.training.settings import TrainSettings

settings = TrainSettings.model_validate_json(Path(sys.argv[1]).read_text())
last = int(sys.argv[3])

def report(progress):
    if progress.stage == "all" and progress.done == last:
        os.kill(os.getpid(), signal.SIGKILL)

train(settings, Path(sys.argv[2]), resume=True, report=report)
"""


def command(folder: Path, settings: Any, out: Path, kill_at: int = -1) -> list[str]:
    (folder / "settings.json").write_text(settings.model_dump_json())
    return [sys.executable, "-c", SCRIPT, str(folder / "settings.json"), str(out), str(kill_at)]


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_log(folder / LOG) if "loss" in row]


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_it_has_the_same_losses(
    settings: Any, encoder: Any, tmp_path: Path
) -> None:
    """An epoch has 5 steps; the process is killed at step 8, two steps after a checkpoint."""
    chosen = settings(steps=12, save_every=3)
    train(chosen, tmp_path / "whole", encoder=encoder)
    killed = tmp_path / "killed"
    ended = subprocess.run(command(tmp_path, chosen, killed, kill_at=8), capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert len(losses(killed)) == 8
    names = {path.name for path in (killed / CHECKPOINTS / "all").iterdir()}
    assert names == {"checkpoint-3", "checkpoint-6"}
    # A kill in the middle of saving leaves this behind; it is no checkpoint.
    (killed / CHECKPOINTS / "all" / ".partial" / "checkpoint-9").mkdir(parents=True)
    seen: list[int] = []
    train(
        chosen,
        killed,
        encoder=encoder,
        resume=True,
        report=lambda p: seen.append(p.done) if p.stage == "all" else None,
    )
    assert seen == list(range(7, 13))
    assert losses(killed) == pytest.approx(losses(tmp_path / "whole"), abs=1e-6)
    first, second = (load_file(f / "adapter_model.safetensors") for f in (killed, tmp_path / "whole"))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], atol=1e-6, rtol=0)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(settings: Any, encoder: Any, tmp_path: Path) -> None:
    """Their gradients are those of one process with twice the accumulation, so all losses are, too."""
    lora = LoraSettings(r=4, alpha=8, dropout=0.0, target_modules="all-linear")
    fixed = {
        "steps": 6,
        "lora": lora,
        "hold_out": 3,
        "eval_every": 3,
        "batch_size": 3,
        "projectors_first": 0.5,
    }
    train(settings(**fixed, accumulation=4), tmp_path / "one", encoder=encoder)
    two = settings(**fixed, accumulation=2, feature_cache=tmp_path / "features")
    assert launch(command(tmp_path, two, tmp_path / "two"), 2) == 0
    logs = [read_log(tmp_path / name / LOG) for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1])
    for one, both in zip(*logs, strict=True):
        assert one["step"] == both["step"]
        assert one.keys() == both.keys()
        if "evaluation" in one:
            assert one["evaluation"] == pytest.approx(both["evaluation"], abs=1e-5)
        else:
            assert one["loss"] == pytest.approx(both["loss"], abs=1e-5)
            assert one["gradient"] == pytest.approx(both["gradient"], rel=1e-4)
            assert (one["rows"], one["rates"]) == (both["rows"], both["rates"])
    for name in ("adapter_model.safetensors", "projectors.safetensors"):
        first, second = load_file(tmp_path / "one" / name), load_file(tmp_path / "two" / name)
        for key, tensor in first.items():
            torch.testing.assert_close(tensor, second[key], atol=1e-4, rtol=1e-3)


WORKER = """
import os, sys, time
rank = os.environ["RANK"]
print("hello from", rank, flush=True)
if rank == sys.argv[1]:
    print("rank", rank, "fails", file=sys.stderr)
    sys.exit(7)
time.sleep(float(sys.argv[2]))
"""


def test_launched_processes_end_together(capfd: pytest.CaptureFixture[str]) -> None:
    def run(failing: str, seconds: str) -> int:
        return launch([sys.executable, "-S", "-c", WORKER, failing, seconds], 3)

    assert run("none", "0") == 0
    out, errors = capfd.readouterr()
    assert (out, errors) == ("hello from 0\n", "")  # one of them speaks
    began = time.monotonic()
    assert run("2", "100") == 7
    assert time.monotonic() - began < 50
    assert capfd.readouterr().err == "rank 2 fails\n"


def test_launched_processes_can_be_told_to_stop() -> None:
    script = f"""
import sys
from modaverse.training.launch import launch
sys.exit(launch([sys.executable, "-S", "-c", {WORKER!r}, "none", "100"], 2))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"hello from 0\n"
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=40) == 128 + signal.SIGTERM
    process.stdout.close()


def test_what_is_sharded_is_kept_whole_and_comes_back(tmp_path: Path) -> None:
    """As FSDP holds parameters; a group of one process has all there is of the shards."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        held = distribute_tensor(torch.zeros(3, 2), init_device_mesh("cpu", (1,)), [Shard(0)])
        tensor = torch.arange(6.0).reshape(3, 2)
        sharded = as_held(tensor, held)
        assert isinstance(sharded, DTensor)
        assert sharded.placements == held.placements
        assert torch.equal(whole(sharded), tensor)
        assert type(whole(sharded)) is torch.Tensor
        assert as_held(tensor, torch.zeros(3, 2)) is tensor
    finally:
        torch.distributed.destroy_process_group()
