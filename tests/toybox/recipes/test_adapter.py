from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from modaverse.errors import ModelNotFound
from modaverse.imagebind import ImageBind, ImageBindConfig, ImageBindEncoder
from modaverse.language.model import MultimodalLM
from modaverse.testing import save_tiny_llm
from modaverse.toybox.recipes.adapter import mini_settings, part_folder, train_adapter
from modaverse.training.progress import Progress, read_log


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny stand-ins, with random weights, for the parts that are trained before the adapter."""
    folder = tmp_path_factory.mktemp("runs")
    save_tiny_llm(folder / "llm" / "export", max_position_embeddings=2048)
    sizes: dict[str, Any] = {"out_embed_dim": 8, "image_size": 64, "vision_patch": 32, "text_vocab_size": 8}
    sizes |= {"video_clips": 2, "video_crops": 1, "video_clip_seconds": 0.625, "audio_clips": 1}
    for trunk in ("vision", "audio", "text"):
        sizes |= {f"{trunk}_embed_dim": 8, f"{trunk}_num_blocks": 1, f"{trunk}_num_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ImageBind(ImageBindConfig(**sizes), modalities=("vision", "audio"))
    ImageBindEncoder(net).save_pretrained(folder / "encoder" / "export")
    return folder


def test_it_is_trained_on_rows_of_toybox_and_goes_on(runs: Path) -> None:
    seen: list[Progress] = []
    few: dict[str, Any] = {"rows": 12, "checks": 3, "steps": 4, "batch_tokens": 600, "log_every": 1}
    stopped = train_adapter(runs, **few, report=seen.append, stop=lambda: True)
    assert (stopped.step, stopped.finished) == (1, False)
    assert {progress.stage for progress in seen} == {"rows", "features", "all"}
    result = train_adapter(runs, **few)
    assert result.finished
    assert (result.data.rows, result.data.held_out, result.data.encoded) == (12, 3, 0)
    assert result.evaluation is not None
    out = runs / "adapter" / "export"
    assert [row["step"] for row in read_log(out / "log.jsonl") if "loss" in row] == [1, 2, 3, 4]
    loaded = MultimodalLM.from_pretrained(runs / "llm" / "export", out)
    assert loaded.config.projector.k == 4
    assert train_adapter(runs, **few).step == 4
    anew = train_adapter(runs, **few, resume=False, stop=lambda: True)
    assert anew.step == 1


def test_settings_may_be_changed(tmp_path: Path) -> None:
    paths = {"llm": tmp_path, "encoder": tmp_path, "data": tmp_path, "held_out": tmp_path}
    settings = mini_settings(**paths, feature_cache=tmp_path)
    assert (settings.epochs, settings.batch_tokens, settings.lora.r) == (2.0, 3000, 32)
    changed = mini_settings(**paths, feature_cache=tmp_path, steps=7, batch_size=8, batch_tokens=None)
    assert (changed.epochs, changed.steps, changed.batch_size) == (None, 7, 8)


def test_parts_that_are_not_there_are_named(runs: Path, tmp_path: Path) -> None:
    assert part_folder(runs, "llm") == runs / "llm" / "export"
    with pytest.raises(ModelNotFound, match="Mini's dreams is not trained yet"):
        part_folder(tmp_path, "dreams")
