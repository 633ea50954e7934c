"""The pieces of `benchmarks/training_gpu.py`, at a size that a CPU does in a moment."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import training_gpu
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from modaverse.language.storage import quiet
from modaverse.settings import LoraSettings

TINY = LlamaConfig(
    vocab_size=3100,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)


def test_the_work_of_a_row_is_what_torch_counts() -> None:
    """But for attention: eager attention also computes what it masks, half of the pairs of positions."""
    length, rank = 24, 5
    with torch.random.fork_rng(devices=[]), quiet():
        llm = LlamaForCausalLM._from_config(TINY, attn_implementation="eager")
        targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
        model = get_peft_model(llm, LoraConfig(task_type="CAUSAL_LM", r=rank, target_modules=targets))
    model.enable_input_require_grads()  # as projectors and new tokens need it
    ids = torch.arange(length)[None]
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    need = training_gpu.work(TINY, rank, length, length)
    masked = need.attention * 2 * length // (length + 1) - need.attention
    assert counter.get_total_flops() == pytest.approx(need.total + masked, rel=1e-3)


def test_the_paper_s_setting_needs_what_one_reckons_by_hand() -> None:
    """Of Vicuna's 6.48 billion weights in layers two products of two FLOPs each, of LoRA's 33.6M three."""
    need = training_gpu.work(training_gpu.VICUNA, 32, 512, 256)
    assert need.matrices == 512 * 4 * 6_476_005_376
    assert need.lora == 512 * 6 * 33_554_432
    assert need.output == 256 * 4 * 131_072_000
    assert 0.012 < need.attention / need.total < 0.018


def test_peaks_are_found_by_name() -> None:
    assert training_gpu.peak_of("NVIDIA H200") == 989
    assert training_gpu.peak_of("Some Accelerator 9") is None


def test_both_sides_have_the_same_rows() -> None:
    mine = training_gpu.Rows(2, 8, 100)[1].spans
    plain = training_gpu.PlainRows(2, 8, 100)[1]
    assert plain["input_ids"].tolist() == [token for span in mine for token in span.ids]
    assert plain["labels"].tolist() == [-100] * 4 + list(mine[1].ids)
    assert [span.sampled for span in mine] == [False, True]


@pytest.mark.parametrize("side", training_gpu.SIDES.values())
def test_both_sides_train(side: object, tmp_path: Path) -> None:
    training_gpu.write_llm(TINY, tmp_path / "llm", "cpu")
    run = training_gpu.Run(
        llm=tmp_path / "llm",
        scratch=tmp_path,
        batch=2,
        steps=2,
        length=12,
        vocabulary=TINY.vocab_size,
        checkpointing=False,
        lora=LoraSettings(r=2),
    )
    seconds = side(run)  # type: ignore[operator]
    assert len(seconds) == 2
    assert all(second > 0 for second in seconds)


def test_the_table_says_how_fast_and_how_near_the_peak() -> None:
    run = training_gpu.Run(Path(), Path(), batch=4, steps=3, length=512, vocabulary=9, checkpointing=True)
    found = {
        "plain": training_gpu.Measured([2.0, 1.0, 1.0], 30.0),
        "ours": training_gpu.Measured([0.5, 0.5, 9.0], 20.0),
    }
    assert training_gpu.lines(found, run, 10**13, 100.0) == [
        ("plain", "2,048", "1.00×", "40.0%", "30.0 GB"),
        ("ours", "4,096", "2.00×", "80.0%", "20.0 GB"),
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["training_gpu.py", "--out", str(tmp_path / "out.md")])
    training_gpu.main()
    assert "no GPU" in capsys.readouterr().out
    assert not (tmp_path / "out.md").exists()
