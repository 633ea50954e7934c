from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from modaverse.imagebind import ImageBind, ImageBindConfig

DATA = Path(__file__).parent / "data"
MEDIA = Path(__file__).parents[1] / "data" / "media"
TOKEN_TABLE = "modality_preprocessors.text.token_embedding.weight"


@pytest.fixture(scope="session")
def media() -> Path:
    return MEDIA


@pytest.fixture(scope="session")
def preprocessing() -> dict[str, Tensor]:
    with np.load(DATA / "preprocessing.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="session")
def published_shapes() -> dict[str, list[int]]:
    return json.loads(gzip.decompress((DATA / "imagebind_huge_state_dict.json.gz").read_bytes()))


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return json.loads((DATA / "texts.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def tiny_io() -> dict[str, Tensor]:
    with np.load(DATA / "tiny_io.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="session")
def tiny_json() -> dict[str, int]:
    with safe_open(DATA / "tiny_weights.safetensors", "pt") as file:
        return json.loads(file.metadata()["config"])


@pytest.fixture(scope="session")
def tiny_state(tiny_json: dict[str, int]) -> dict[str, Tensor]:
    """A whole state dict in the published layout; rows of the token table that no test reads are zero."""
    with safe_open(DATA / "tiny_weights.safetensors", "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    ids, rows = state.pop("token_ids"), state.pop("token_rows")
    state[TOKEN_TABLE] = torch.zeros(49_408, tiny_json["text_embed_dim"])
    state[TOKEN_TABLE][ids] = rows
    return state


@pytest.fixture(scope="session")
def tiny_file(
    tiny_state: dict[str, Tensor], tiny_json: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_file(tiny_state, path, {"config": json.dumps(tiny_json)})
    return path


@pytest.fixture(scope="session")
def tiny(tiny_json: dict[str, int], tiny_state: dict[str, Tensor]) -> ImageBind:
    with torch.device("meta"):
        net = ImageBind(ImageBindConfig(**tiny_json))
    net.load_state_dict(tiny_state, assign=True)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def small_config() -> ImageBindConfig:
    """A net of other sizes than the published ones in every setting that can differ."""
    return ImageBindConfig(
        out_embed_dim=12,
        **{f"{name}_embed_dim": 16 for name in ("vision", "text", "audio", "depth", "thermal", "imu")},
        **{f"{name}_num_blocks": 2 for name in ("vision", "text", "audio", "depth", "thermal", "imu")},
        **{f"{name}_num_heads": 2 for name in ("vision", "text", "audio", "depth", "thermal", "imu")},
        image_size=64,
        vision_patch=8,
        depth_patch=32,
        thermal_patch=32,
        video_clips=4,
        video_clip_seconds=0.5,
        video_frames=2,
        video_crops=1,
        audio_clips=1,
        audio_stride=16,
        text_vocab_size=300,
        text_context_length=20,
        text_pool="last",
        imu_length=64,
        imu_kernel=16,
    )


@pytest.fixture
def small(small_config: ImageBindConfig) -> ImageBind:
    torch.manual_seed(0)
    return ImageBind(small_config).eval()
