from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from modaverse.context import Modality
from modaverse.errors import CheckpointError, DataError, ModaVerseError, SettingsError, StorageError
from modaverse.language.batch import IGNORED, Example
from modaverse.language.model import MultimodalLM
from modaverse.language.prompt import Slot, Tokens
from modaverse.settings import LoraSettings
from modaverse.testing import save_tiny_llm
from modaverse.training import checkpoints as checkpoint_module
from modaverse.training.features import Features
from modaverse.training.progress import Progress, read_log
from modaverse.training.record import CHECKPOINTS, LOG
from modaverse.training.run import build_model, train
from modaverse.training.settings import LearningRates, TrainSettings

EAGER: dict[str, Any] = {
    "batch_size": 10,
    "log_every": 10,
    "lora": LoraSettings(r=16, alpha=32, dropout=0.0, target_modules="all-linear"),
    "learning_rates": LearningRates(projectors=2e-2, lora=2e-2, tokens=2e-2),
}
"""Settings with which twenty rows are learnt by heart."""


def losses(folder: Path, stage: str = "all") -> list[float]:
    return [row["loss"] for row in read_log(folder / LOG) if "loss" in row and row["stage"] == stage]


def stop_after(steps: int) -> Callable[[], bool]:
    left = iter(range(steps - 1, -1, -1))
    return lambda: next(left) == 0


def test_it_learns_twenty_rows_and_the_result_loads(
    settings: Any, encoder: Any, llm_folder: Path, tmp_path: Path
) -> None:
    """Rows are learnt by heart, media told apart by what the encoder says of them; only what should train
    did; and the folder that was written gives the same logits as the model that trained."""
    chosen: TrainSettings = settings(**EAGER, steps=None, epochs=60.0)
    out = tmp_path / "out"
    result = train(chosen, out, encoder=encoder)
    assert result.finished
    assert result.step == result.steps == 120
    # The tiny LLM's frozen output table cannot say anything with more certainty than this.
    assert losses(out)[-1] < 1.2 < 4 < losses(out)[0]

    fresh = build_model(chosen, encoder.dim, "")
    loaded = MultimodalLM.from_pretrained(llm_folder, out, merge=False)
    for name, parameter in loaded.named_parameters():
        if "embed_tokens" not in name or loaded.part_of(name) == "tokens":
            moved = not torch.equal(parameter, fresh.get_parameter(name))
            # The rows' media are pictures and sounds: the projector of clips had nothing to learn from.
            assert moved == (loaded.part_of(name) != "base" and "video" not in name), name
    merged = MultimodalLM.from_pretrained(llm_folder, out)
    table = merged.core.get_input_embeddings().weight
    new = merged.tokenizer.convert_tokens_to_ids(list(merged.config.transcript.markers))
    before = load_file(llm_folder / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(table[: min(new)], before)
    assert sorted(new) == list(range(len(before), len(table)))

    rows, features = _rows(chosen, loaded, encoder)
    rows.attach(features)
    batch = loaded.collate([rows[index] for index in range(len(rows))])
    wanted = batch["labels"][:, 1:] != IGNORED
    for lm in (loaded, merged):
        right = lm(**batch).logits[:, :-1].argmax(-1) == batch["labels"][:, 1:]
        assert right[wanted].float().mean() > 0.97
    assert not (out / CHECKPOINTS).exists()
    assert "A ModaVerse adapter" in (out / "README.md").read_text()
    assert loaded.config.encoder.startswith("audio:")
    assert str(tmp_path) not in "".join(path.read_text() for path in out.glob("*.[jm][sd]*"))


def _rows(settings: TrainSettings, lm: MultimodalLM, encoder: Any) -> tuple[Any, Features]:
    from modaverse.training.run import _transcripts

    rows, _ = _transcripts(settings, lm)
    return rows, Features(encoder, settings.feature_cache or Path())


class Uncached:
    """What training without a cache would do: every medium is encoded whenever it is needed."""

    def __init__(self, encoder: Any, sources: Any) -> None:
        self._encoder, self._sources = encoder, sources

    def get(self, modality: object, identity: str) -> torch.Tensor:
        feature: torch.Tensor = self._encoder.encode_decoded([self._sources[identity].decode()])[0]
        return feature


def test_the_encoder_is_called_once_for_each_medium(settings: Any, encoder: Any, tmp_path: Path) -> None:
    chosen = settings(steps=None, epochs=3.0)
    first = train(chosen, tmp_path / "first", encoder=encoder)
    assert encoder.encoded == first.data.encoded == 6
    second = train(chosen, tmp_path / "second", encoder=encoder)
    assert encoder.encoded == 6
    assert second.data.encoded == 0
    assert losses(tmp_path / "first") == losses(tmp_path / "second")
    # Row by row, losses are those of training without a cache.
    lm = build_model(chosen, encoder.dim, "").eval()
    rows, features = _rows(chosen, lm, encoder)
    for store in (features, Uncached(encoder, rows.sources)):
        rows.attach(store)
        with torch.no_grad():
            each = [lm(**lm.collate([rows[i]])).loss for i in range(len(rows))]
        if isinstance(store, Features):
            cached = torch.stack(each)
    torch.testing.assert_close(torch.stack(each), cached, atol=1e-5, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"accumulation": 2, "batch_size": None, "batch_tokens": 150}])
def test_stopped_and_resumed_it_equals_a_run_that_was_not(
    settings: Any, encoder: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Stopped twice, between entries of the log and in the middle of epochs, with dropout and all."""
    chosen = settings(steps=11, log_every=3, hold_out=3, eval_every=4, **changes)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = train(chosen, whole, encoder=encoder)
    for count in (4, 4):
        stopped = train(chosen, parts, encoder=encoder, resume=True, stop=stop_after(count))
        assert not stopped.finished
    assert stopped.step == 8
    result = train(chosen, parts, encoder=encoder, resume=True)
    assert result.finished
    assert (result.loss, result.evaluation) == (expected.loss, expected.evaluation)
    timeless = [
        [{**row, "seconds": 0, "rows": 0, "positions": 0} for row in read_log(folder / LOG)]
        for folder in (whole, parts)
    ]
    assert timeless[0] == timeless[1]
    for name in ("adapter_model.safetensors", "projectors.safetensors"):
        first, second = load_file(whole / name), load_file(parts / name)
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_projectors_may_train_first_and_alone(settings: Any, encoder: Any, tmp_path: Path) -> None:
    chosen = settings(steps=3, projectors_first=0.8, batch_size=5)
    stopped = train(chosen, tmp_path, encoder=encoder, stop=stop_after(2))
    assert not stopped.finished
    assert [part.part for part in stopped.parts if part.trainable] == ["projectors"]
    result = train(chosen, tmp_path, encoder=encoder, resume=True, stop=stop_after(3))
    assert (result.step, result.finished) == (2, False)  # two steps of the first stage, then of the second
    result = train(chosen, tmp_path, encoder=encoder, resume=True)
    assert result.finished
    assert [len(losses(tmp_path, stage)) for stage in ("projectors", "all")] == [4, 3]
    rates = [row["rates"] for row in read_log(tmp_path / LOG)]
    assert set(rates[0]) == {"projectors"}
    assert set(rates[-1]) == {"projectors", "lora", "tokens"}


def test_training_goes_on_from_a_trained_adapter(
    settings: Any, encoder: Any, llm_folder: Path, tmp_path: Path
) -> None:
    train(settings(**EAGER, steps=60), tmp_path / "first", encoder=encoder)
    more = settings(adapter=tmp_path / "first", steps=2, batch_size=10)
    train(more, tmp_path / "second", encoder=encoder)
    assert losses(tmp_path / "second")[0] < 0.5 * losses(tmp_path / "first")[0]
    with torch.no_grad():
        next(p for n, p in encoder.net.named_parameters() if "trunks.vision" in n).add_(1)
    with pytest.raises(SettingsError, match="trained on another encoder"):
        train(more, tmp_path / "third", encoder=encoder)


def test_progress_is_told(settings: Any, encoder: Any, tmp_path: Path) -> None:
    seen: list[Progress] = []
    train(settings(log_every=2, hold_out=4, eval_every=3), tmp_path, encoder=encoder, report=seen.append)
    assert [(p.done, p.total) for p in seen if p.stage == "features"][-1] == (6, 6)
    assert [p.done for p in seen if p.stage == "all" and p.loss is not None] == [2, 4, 6]
    assert [p.done for p in seen if p.evaluation] == [3, 6]
    assert all(p.rows_per_second and p.rows_per_second > 0 for p in seen if p.loss is not None)


def test_losses_are_drawn_and_written_for_tensorboard(settings: Any, encoder: Any, tmp_path: Path) -> None:
    """Also of a run that stopped: what TensorBoard shows is the log, without a step twice."""
    pytest.importorskip("matplotlib")
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    chosen = settings(tensorboard=True, hold_out=3, eval_every=3, projectors_first=0.5)
    train(chosen, tmp_path, encoder=encoder, stop=stop_after(4))
    train(chosen, tmp_path, encoder=encoder, resume=True)
    for stage in ("projectors", "all"):
        events = loader.EventAccumulator(str(tmp_path / "tensorboard" / stage)).Reload()
        shown = [event.value for event in events.Scalars("loss")]
        assert shown == pytest.approx(losses(tmp_path, stage), rel=1e-6)
    assert {"rate/lora", "held_out/loss", "gradient"} <= set(events.Tags()["scalars"])
    from PIL import Image

    with Image.open(tmp_path / "loss.png") as picture:
        assert picture.size == (840, 480)
        assert len(picture.convert("RGB").getcolors(1 << 16) or []) > 20
    assert "![Losses over the steps](loss.png)" in (tmp_path / "README.md").read_text()


def test_bfloat16_trains_too(settings: Any, encoder: Any, tmp_path: Path) -> None:
    chosen = settings(**EAGER, precision="bfloat16", llm_dtype="bfloat16", checkpointing=True, steps=40)
    train(chosen, tmp_path, encoder=encoder)
    assert losses(tmp_path)[-1] < 0.5 * losses(tmp_path)[0]
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


# ------------------------------------------------------------------------------------------ faults


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra quantized")
def test_gradients_flow_through_four_bits_after_an_evaluation_too(settings: Any, tmp_path: Path) -> None:
    base = save_tiny_llm(tmp_path / "llm", hidden_size=128, intermediate_size=128)
    lora = LoraSettings(r=2, alpha=2, dropout=0.0)
    lm = build_model(settings(llm=str(base), llm_quantized="int4", lora=lora), 16, "").eval()
    spans = [Tokens((5, 6, 7)), Slot(1, Modality.IMAGE), Tokens((8, 9), sampled=True)]
    batch = lm.collate([Example(spans, {1: torch.linspace(-1, 1, 16)})])
    with torch.no_grad():
        before = lm(**batch).loss
    loss = lm.train()(**batch).loss
    torch.testing.assert_close(loss.detach(), before, atol=0.05, rtol=0)
    loss.backward()
    trained = {name for name, weight in lm.named_parameters() if weight.requires_grad}
    assert {name for name, weight in lm.named_parameters() if weight.grad is not None} == trained


def test_an_unstable_run_ends_before_it_reaches_the_weights(
    settings: Any, encoder: Any, tmp_path: Path
) -> None:
    wild = LearningRates(projectors=1e19, lora=1e19, tokens=1e19)
    chosen = settings(learning_rates=wild, save_every=1, warmup=0.0, schedule="constant")
    with pytest.raises(ModaVerseError, match=r"unstable: the loss is \S+, .* at step 2") as caught:
        train(chosen, tmp_path, encoder=encoder)
    assert "checkpoint-1 is kept" in caught.value.hint
    kept = load_file(tmp_path / CHECKPOINTS / "all" / "checkpoint-1" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_a_full_disk_keeps_the_last_checkpoint(
    settings: Any, encoder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint_module.save_file
    calls = iter(range(100))

    def full(*arguments: Any, **options: Any) -> None:
        if next(calls) >= 3:  # a checkpoint has two files: the second one's second
            raise OSError(28, "No space left on device")
        write(*arguments, **options)

    whole = train(settings(), tmp_path / "whole", encoder=encoder)
    monkeypatch.setattr(checkpoint_module, "save_file", full)
    out = tmp_path / "out"
    with pytest.raises(StorageError, match=r"step 4 .*No space left on device") as caught:
        train(settings(save_every=2), out, encoder=encoder)
    assert "step 2 is kept" in caught.value.hint
    assert [path.name for path in (out / CHECKPOINTS / "all").iterdir()] == ["checkpoint-2"]
    monkeypatch.undo()
    assert train(settings(), out, encoder=encoder, resume=True).loss == whole.loss


def test_another_run_is_not_gone_on_with(settings: Any, encoder: Any, tmp_path: Path) -> None:
    chosen = settings(steps=4)
    train(chosen, tmp_path, encoder=encoder, stop=stop_after(2))
    with pytest.raises(SettingsError, match="holds a training run already"):
        train(chosen, tmp_path, encoder=encoder)
    other = settings(steps=4, seed=1, lora=LoraSettings(r=8))
    with pytest.raises(SettingsError, match="lora, seed differ"):
        train(other, tmp_path, encoder=encoder, resume=True)
    fewer = settings(steps=4, data=(tmp_path / "rows.jsonl",))
    (tmp_path / "rows.jsonl").write_text(
        json.dumps(
            {
                "turns": [
                    {"role": "user", "parts": [{"type": "text", "text": "Hm"}]},
                    {"role": "assistant", "parts": [{"type": "text", "text": "Hm"}]},
                ]
            }
        )
    )
    with pytest.raises(SettingsError, match="data differ"):
        train(fewer, tmp_path, encoder=encoder, resume=True)
    # How it is logged and saved may change.
    assert train(settings(steps=4, log_every=2), tmp_path, encoder=encoder, resume=True).finished
    assert train(chosen, tmp_path, encoder=encoder, resume=True).step == 4


def test_rows_that_are_not_there_are_named_before_models_are_loaded(settings: Any, tmp_path: Path) -> None:
    nowhere = {"llm": str(tmp_path / "llm"), "encoder": tmp_path / "encoder"}
    for name in ("data", "eval_data"):
        with pytest.raises(DataError, match=r"no\.jsonl does not exist"):
            train(settings(**nowhere, **{name: (tmp_path / "no.jsonl",)}), tmp_path / "out")


def test_a_damaged_checkpoint_is_named(settings: Any, encoder: Any, tmp_path: Path) -> None:
    train(settings(), tmp_path, encoder=encoder, stop=stop_after(2))
    path = tmp_path / CHECKPOINTS / "all" / "checkpoint-2" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CheckpointError, match="checkpoint-2") as caught:
        train(settings(), tmp_path, encoder=encoder, resume=True)
    assert "Remove that folder" in caught.value.hint
