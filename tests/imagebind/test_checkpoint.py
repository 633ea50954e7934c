from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modaverse.errors import CheckpointError, ModelNotFound, SettingsError
from modaverse.imagebind import ImageBind, ImageBindConfig


def test_safetensors_carries_its_own_configuration(tiny_file: Path, tiny: ImageBind) -> None:
    net = ImageBind.from_checkpoint(tiny_file)
    assert net.config == tiny.config
    assert not net.training
    for name, value in tiny.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


def test_a_torch_file_loads_the_same(tiny_state: dict[str, Tensor], tiny: ImageBind, tmp_path: Path) -> None:
    path = tmp_path / "tiny.pth"
    torch.save(tiny_state, path)
    net = ImageBind.from_checkpoint(path, config=tiny.config, modalities=("audio", "imu"))
    x = torch.randn(1, 6, 2000)
    torch.testing.assert_close(net({"imu": x})["imu"], tiny({"imu": x})["imu"])
    assert all(not value.is_meta for value in net.state_dict().values())


def test_type_of_the_weights_can_be_chosen(tiny_file: Path) -> None:
    net = ImageBind.from_checkpoint(tiny_file, modalities="vision", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in net.parameters()} == {torch.bfloat16}
    x = torch.randn(1, 3, 224, 224, dtype=torch.bfloat16)
    assert net({"vision": x})["vision"].norm().item() == pytest.approx(1, abs=1e-3)


def test_a_file_of_some_modalities_loads_those(
    tiny_state: dict[str, Tensor], tiny: ImageBind, tmp_path: Path
) -> None:
    path = tmp_path / "part.safetensors"
    save_file({key: value for key, value in tiny_state.items() if ".depth." in key}, path)
    assert ImageBind.from_checkpoint(path, config=tiny.config).modalities == ("depth",)
    with pytest.raises(CheckpointError, match="thermal"):
        ImageBind.from_checkpoint(path, config=tiny.config, modalities=("depth", "thermal"))


class Malicious:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.flag,)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    flag, path = tmp_path / "ran", tmp_path / "bad.pth"
    torch.save({"modality_heads.vision.0.weight": Malicious(flag)}, path)
    with pytest.raises(CheckpointError, match=r"bad\.pth"):
        ImageBind.from_checkpoint(path)
    assert not flag.exists()
    pickle.loads(pickle.dumps(Malicious(flag)))  # the trap works where code is run
    assert flag.exists()


def test_faulty_files_are_named(tmp_path: Path, tiny_file: Path) -> None:
    with pytest.raises(ModelNotFound, match="nowhere"):
        ImageBind.from_checkpoint(tmp_path / "nowhere.pth")
    for name in ("cut.safetensors", "cut.pth"):
        (tmp_path / name).write_bytes(tiny_file.read_bytes()[:5000])
        with pytest.raises(CheckpointError, match=name):
            ImageBind.from_checkpoint(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="no plain state dict"):
        ImageBind.from_checkpoint(tmp_path / "list.pth")


def test_weights_of_another_architecture_are_refused(tiny_file: Path, small_config: ImageBindConfig) -> None:
    with pytest.raises(CheckpointError, match="size mismatch"):
        ImageBind.from_checkpoint(tiny_file, config=small_config)


@pytest.mark.parametrize("config", ["{", json.dumps({"no_such": 1})])
def test_a_faulty_configuration_in_a_file_is_refused(
    config: str, tiny_state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "odd.safetensors"
    save_file(
        {"modality_heads.depth.0.bias": tiny_state["modality_heads.depth.0.bias"]}, path, {"config": config}
    )
    with pytest.raises((CheckpointError, SettingsError)):
        ImageBind.from_checkpoint(path)
