"""`benchmarks/training_throughput.py` on a few rows and models of no size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import training_throughput as benchmark
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from modaverse.imagebind import ImageBindConfig

TRUNKS = {
    f"{trunk}_{name}": value
    for trunk in ("vision", "audio", "text")
    for name, value in (("embed_dim", 16), ("num_blocks", 1), ("num_heads", 2))
}


def tiny_llm(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=2048,
        )
    )


def tiny_encoder(_: PreTrainedTokenizerBase) -> ImageBindConfig:
    return ImageBindConfig(
        out_embed_dim=16,
        text_vocab_size=8,
        image_size=16,
        vision_patch=8,
        video_clips=1,
        video_crops=1,
        audio_clips=1,
        audio_stride=16,
        **TRUNKS,
    )


def test_both_sides_train_on_the_same_rows(tmp_path: Path) -> None:
    data = benchmark.write_data(tmp_path / "rows.jsonl", 6)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    named = {part["uri"] for row in rows for turn in row["turns"] for part in turn["parts"] if "uri" in part}
    assert named == {f"media/{path.name}" for path in (tmp_path / "media").iterdir()}
    case = benchmark.Case(tiny_llm, tiny_encoder, ("", ""), batch=2)
    found = benchmark.measure(case, data, 6, 1, "float32", tmp_path)
    assert found.media == len(named)
    assert found.apart < 1e-5
    assert found.padding[0] >= found.padding[1]
    assert [len(paces) for paces in found.paces.values()] == [1, 1, 1]
    assert all(pace.wall > 0 for paces in found.paces.values() for pace in paces)


def test_the_first_step_does_not_count() -> None:
    pace = benchmark.Clock([(100.0, 50.0), (101.0, 52.0), (104.0, 54.0)]).pace([16, 16, 4])
    assert (pace.wall, pace.cpu) == (5.0, 5.0)


def test_ratios_are_of_medians_and_may_count_the_encoding() -> None:
    speeds = dict(zip(benchmark.SIDES, ([1.0, 2.0, 9.0], [3.0], [8.0, 6.0, 8.0]), strict=True))
    paces = {side: [benchmark.Pace(wall, wall) for wall in walls] for side, walls in speeds.items()}
    found = benchmark.Measured(paces, rows=80, media=9, encoding=30.0, padding=(0, 0), apart=0)
    assert found.ratio() == 4.0
    assert found.from_nothing() == pytest.approx((240 / 2) / (30 + 240 / 8))
