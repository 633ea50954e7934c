from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from modaverse.context import Context, Media, MetaResponse, Modality, Role, Text
from modaverse.errors import CheckpointError, ModelError, ModelNotFound
from modaverse.language.batch import IGNORED, Batch, Example
from modaverse.language.model import MultimodalLM
from modaverse.language.storage import load_base
from modaverse.language.vocabulary import add_markers
from modaverse.settings import LoraSettings
from modaverse.testing import save_tiny_llm

FEATURES = {n: torch.randn(24, generator=torch.Generator().manual_seed(n)) for n in (1, 2)}
MEDIUM = {m: Media(m, Path("x"), "x/y", "0") for m in Modality}


def conversation(prompt: str = "Draw what you hear.", given: Modality = Modality.AUDIO) -> Context:
    return (
        Context()
        .with_turn(Role.USER, MEDIUM[given], Text(prompt))
        .with_turn(
            Role.ASSISTANT, MetaResponse("T-to-I", "a brown dog"), MEDIUM[Modality.IMAGE], Text(" A dog.")
        )
    )


def batch_of(model: MultimodalLM, *contexts: Context) -> Batch:
    return model.collate([Example(model.script.context(context), FEATURES) for context in contexts])


def token(model: MultimodalLM, text: str) -> int:
    index: int = model.tokenizer.convert_tokens_to_ids(text)
    return index


def test_loss_is_that_of_the_sampled_tokens_alone(build: Any, base: Path) -> None:
    model = build(base)
    batch = batch_of(model, conversation(), conversation("Now, please, what is it that you hear?"))
    output = model(**batch)
    expected = F.cross_entropy(
        output.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED
    )
    torch.testing.assert_close(output.loss, expected)
    wanted = [token(model, "<meta>"), token(model, "</meta>"), token(model, "<|end|>")]
    assert set(wanted) <= set(batch["labels"][0].tolist())
    assert token(model, "<media>") not in batch["labels"]


def test_padding_changes_nothing(build: Any, tied_base: Path) -> None:
    model = build(tied_base)
    short, long = conversation(), conversation("A much longer request than the other one " * 3)
    alone = model(**batch_of(model, short)).logits[0]
    padded = model(**batch_of(model, short, long)).logits[0, : len(alone)]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)


def test_micro_batches_weigh_every_token_alike(build: Any, tied_base: Path) -> None:
    model = build(tied_base)
    contexts = [conversation(), conversation("Draw, " * 9), conversation("Hm")]
    whole = model(**batch_of(model, *contexts)).loss
    count = sum(int((batch_of(model, c)["labels"][:, 1:] != IGNORED).sum()) for c in contexts)
    parts = [model(**batch_of(model, c), num_items_in_batch=count).loss for c in contexts]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)


def test_what_trains_is_said_and_no_more_than_that(build: Any, base: Path) -> None:
    model = build(base)
    parts = {part.part: part for part in model.parts()}
    tables = 1 if base.name.startswith("tied") else 2
    assert parts["tokens"].trainable == 4 * 32 * tables
    assert parts["base"].trainable == 0 < parts["base"].parameters
    for part in ("lora", "projectors"):
        assert parts[part].trainable == parts[part].parameters > 0
    assert sum(part.parameters for part in model.parts()) == sum(p.numel() for p in model.parameters())


def test_every_trained_part_gets_a_gradient_even_of_absent_modalities(build: Any, base: Path) -> None:
    model = build(base)
    model(**batch_of(model, conversation())).loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert ("video" in name) == bool(parameter.grad.eq(0).all()), name


def test_new_tokens_are_really_learnt(build: Any, base: Path) -> None:
    """The LLM comes to write `<meta>` and `</meta>`, and of the tables nothing but the new rows changes."""
    model = build(base, stirred=False).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    start = {n: p.detach().clone() for n, p in model.named_parameters() if model.part_of(n) == "tokens"}
    batch = batch_of(model, conversation(), conversation("Draw it", Modality.VIDEO))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    for _ in range(40):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
    model.eval()
    predicted, labels = model(**batch).logits[:, :-1].argmax(-1), batch["labels"][:, 1:]
    assert (predicted == labels)[labels != IGNORED].all()
    for marker in ("<meta>", "</meta>"):
        place = labels == token(model, marker)
        assert place.sum() == 2
        assert (predicted[place] == token(model, marker)).all()
    for name, parameter in model.named_parameters():
        if name in before:
            assert torch.equal(parameter, before[name]), name
    # Each of the tables that a token needs has moved: one if tied, input and output if not.
    assert len(start) == (1 if base.name.startswith("tied") else 2)
    for name, old in start.items():
        assert (model.get_parameter(name) - old).abs().max() > 1e-2, name


@pytest.mark.parametrize("merge", [True, False])
def test_saved_and_loaded_it_says_the_same(build: Any, base: Path, tmp_path: Path, merge: bool) -> None:
    model = build(base)
    model.save_pretrained(tmp_path)
    loaded = MultimodalLM.from_pretrained(base, tmp_path, merge=merge)
    batch = batch_of(model, conversation())
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, atol=1e-5, rtol=1e-5)
    assert loaded.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    assert loaded.config == model.config
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_what_lies_on_disk(build: Any, tied_base: Path, tmp_path: Path) -> None:
    build(tied_base).save_pretrained(tmp_path, dtype=torch.float16)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "projectors.safetensors"} <= names
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".tmp")) for name in names)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    # No whole table is written, only the rows of the four new tokens.
    assert [t.shape for name, t in weights.items() if "embed" in name] == [(4, 32)]
    assert str(tied_base) not in "".join(p.read_text() for p in tmp_path.glob("*.json"))
    loaded = MultimodalLM.from_pretrained(tied_base, tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_a_trained_model_can_be_trained_on(build: Any, tied_base: Path, tmp_path: Path) -> None:
    build(tied_base).save_pretrained(tmp_path)
    model = MultimodalLM.from_pretrained(tied_base, tmp_path, trainable=True)
    trainable = {part.part for part in model.parts() if part.trainable}
    assert trainable == {"lora", "tokens", "projectors"}
    model.save_pretrained(tmp_path / "again")
    for name in ("adapter_model.safetensors", "projectors.safetensors"):
        first, second = load_file(tmp_path / name), load_file(tmp_path / "again" / name)
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("padding", [0, 2, 64])
def test_a_padded_table_is_never_shrunk(build: Any, tmp_path: Path, padding: int) -> None:
    base = save_tiny_llm(tmp_path / "base", padding=padding)
    model = build(base)
    rows = model.core.get_input_embeddings().weight.shape[0]
    size = len(model.tokenizer)
    assert rows == max(size, size - 4 + padding)
    model.save_pretrained(tmp_path / "adapter")
    for merge in (True, False):
        loaded = MultimodalLM.from_pretrained(base, tmp_path / "adapter", merge=merge)
        assert loaded.core.get_output_embeddings().weight.shape[0] == rows
    assert torch.isneginf(model.token_bias[size:]).all()


def test_a_marker_that_the_llm_knows_keeps_its_meaning(build: Any, tmp_path: Path) -> None:
    llm, tokenizer = load_base(save_tiny_llm(tmp_path / "base"), revision=None, dtype=torch.float32)
    (known,) = add_markers(llm, tokenizer, ["<meta>"])
    row = llm.get_input_embeddings().weight[known].detach().clone()
    llm.save_pretrained(tmp_path / "knows")
    tokenizer.save_pretrained(tmp_path / "knows")
    model = build(tmp_path / "knows", stirred=False)
    assert token(model, "<meta>") == known
    table = model.core.get_input_embeddings()
    assert torch.equal(table(torch.tensor(known)), row)
    assert table(torch.tensor(token(model, "</meta>"))).abs().max() > 0


def test_fresh_weights_depend_on_the_seed_alone(build: Any, tied_base: Path) -> None:
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    first = build(tied_base, seed=5).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(100)
    second, other = build(tied_base, seed=5).state_dict(), build(tied_base, seed=6).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first if "lora_A" in key)


def test_without_the_adapter_it_is_the_base(build: Any, tied_base: Path) -> None:
    plain, stirred = build(tied_base, stirred=False), build(tied_base)
    batch = batch_of(plain, Context().with_turn(Role.USER, Text("Hello")))
    with stirred.without_adapter():
        torch.testing.assert_close(stirred(**batch).logits, plain(**batch).logits, atol=1e-5, rtol=0)
    assert not torch.allclose(stirred(**batch).logits, plain(**batch).logits, atol=1e-2)


def test_the_paper_s_adapter_is_the_default() -> None:
    lora = LoraSettings()
    assert (lora.r, lora.alpha, lora.dropout) == (32, 32, 0.1)
    assert lora.target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")


def test_a_merged_model_says_why_it_cannot_be_saved(build: Any, tied_base: Path, tmp_path: Path) -> None:
    build(tied_base).save_pretrained(tmp_path)
    merged = MultimodalLM.from_pretrained(tied_base, tmp_path)
    with pytest.raises(ModelError, match="merged") as caught:
        merged.save_pretrained(tmp_path / "again")
    assert "merge=False" in caught.value.hint
    with pytest.raises(ModelError, match="merged"), merged.without_adapter():
        pass


def test_missing_and_foreign_files_are_named(build: Any, tied_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="No LLM lies in"):
        MultimodalLM.build(tmp_path / "nothing", embedding_dim=4)
    with pytest.raises(ModelNotFound, match="No trained adapter lies in"):
        MultimodalLM.from_pretrained(tied_base, tmp_path)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        MultimodalLM.build(tmp_path, embedding_dim=4)
    build(tied_base).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="does not fit"):
        MultimodalLM.from_pretrained(save_tiny_llm(tmp_path / "other", hidden_size=48), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    with pytest.raises(CheckpointError, match=r"config\.json is no adapter configuration"):
        MultimodalLM.from_pretrained(tied_base, tmp_path)
