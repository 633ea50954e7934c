"""`benchmarks/decoding.py` lets both sides write the same, at a size that takes a moment."""

from __future__ import annotations

from pathlib import Path

from decoding import alike, ours, side_by_side, theirs, without_end

from modaverse.language.model import MultimodalLM
from modaverse.settings import LoraSettings, ProjectorSettings
from modaverse.testing import save_tiny_llm


def test_both_sides_write_the_same_tokens(tmp_path: Path) -> None:
    model = MultimodalLM.build(
        save_tiny_llm(tmp_path), embedding_dim=16, projector=ProjectorSettings(k=4), lora=LoraSettings(r=4)
    ).eval()
    without_end(model)
    generate, own = side_by_side([theirs(model, "Draw a cat", 12), ours(model, "Draw a cat", 12)], 2)
    assert len(generate.wall) == len(own.cpu) == 2
    assert len(generate.tokens) == len(own.tokens) == 12
    forbidden = [place for place, token in enumerate(generate.tokens) if model.token_bias[token] < 0]
    same = forbidden[0] if forbidden else 12  # from there on only `generate` may go where no answer may
    assert generate.tokens[:same] == own.tokens[:same]


def test_how_far_two_are_alike() -> None:
    assert alike([1, 2, 3], [1, 2, 3]) == "all"
    assert alike([1, 2, 3], [1, 5, 3]) == "the first 1"
