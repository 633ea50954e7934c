"""The released checkpoint's layout, on a tiny Llama of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer

from modaverse.assembly import load_language
from modaverse.cli.import_checkpoint import import_checkpoint
from modaverse.context import (
    Done,
    FinishReason,
    Media,
    MediaReady,
    MetaResponse,
    Modality,
    Text,
    WrappedText,
)
from modaverse.errors import CheckpointError, ModelNotFound
from modaverse.generation import GeneratorPool
from modaverse.interfaces import Pixels, Sampling
from modaverse.language.model import MultimodalLM
from modaverse.language.released import ADDED, import_released
from modaverse.metaresponse import StreamParser, Vocabulary
from modaverse.orchestrator import AnswerSettings, Orchestrator
from modaverse.settings import load_profile
from modaverse.testing import ScriptedEncoder, ScriptedGenerator

LAYERS, HIDDEN, DIM, RANK = 2, 32, 1024, 32
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def vicuna(tmp_path_factory: pytest.TempPathFactory, pieces: Any) -> Path:
    """A tiny LLM of Vicuna's classes; its vocabulary has the piece that ends an answer."""
    folder = tmp_path_factory.mktemp("vicuna")
    vocab, merges = pieces.sentence_piece(["<unk>", "<s>", "</s>"])
    tokenizer = LlamaTokenizer(vocab=vocab, merges=merges)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        llm = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=HIDDEN,
                intermediate_size=48,
                num_hidden_layers=LAYERS,
                num_attention_heads=4,
                initializer_range=0.2,
            )
        )
    llm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def state(vicuna: Path) -> State:
    """Random values under the checkpoint's keys."""
    rows = len(LlamaTokenizer.from_pretrained(vicuna)) + len(ADDED)
    shapes = {"linear_proj.weight": (HIDDEN, DIM), "linear_proj.bias": (HIDDEN,)}
    for layer in range(LAYERS):
        for matrix in "qkvo":
            name = f"LLM.base_model.model.model.layers.{layer}.self_attn.{matrix}_proj.lora_"
            shapes |= {f"{name}A.default.weight": (RANK, HIDDEN), f"{name}B.default.weight": (HIDDEN, RANK)}
    for table in ("model.embed_tokens", "lm_head"):
        shapes[f"LLM.base_model.model.{table}.weight"] = (rows, HIDDEN)
    generator = torch.Generator().manual_seed(1)
    return {key: 0.1 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def imported(vicuna: Path, state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    torch.save(state, folder / "pytorch_model.pt")
    import_released(folder / "pytorch_model.pt", vicuna, folder / "out")
    return folder / "out"


def straight(vicuna: Path, state: State, feature: torch.Tensor, instruction: str) -> torch.Tensor:
    """Logits (vocabulary,) after the prompt, from the layout alone: matrices W + B A, tables as they are."""
    tokenizer = LlamaTokenizer.from_pretrained(vicuna)
    base = len(tokenizer)
    llm = LlamaForCausalLM.from_pretrained(vicuna, dtype=torch.float32)
    llm.resize_token_embeddings(base + len(ADDED))
    weights = llm.state_dict()
    for layer in range(LAYERS):
        for matrix in "qkvo":
            name = f"model.layers.{layer}.self_attn.{matrix}_proj"
            down, up = (state[f"LLM.base_model.model.{name}.lora_{part}.default.weight"] for part in "AB")
            weights[f"{name}.weight"] += up @ down  # alpha / r is 1
    for table in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[table].copy_(state[f"LLM.base_model.model.{table}"])

    def words(text: str) -> torch.Tensor:
        return llm.get_input_embeddings()(
            torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
        )

    table = llm.get_input_embeddings().weight
    projected = state["linear_proj.weight"] @ feature + state["linear_proj.bias"]
    rows = [
        table[tokenizer.bos_token_id][None],
        words("### Human:"),
        table[base][None],  # <Media>
        projected[None],
        table[base + 1][None],
        words(f"{instruction}\n### Assistant:"),
    ]
    with torch.no_grad():
        return llm(inputs_embeds=torch.cat(rows)[None]).logits[0, -1]


@pytest.mark.parametrize("merge", [True, False])
def test_its_logits_are_those_of_the_layout(vicuna: Path, state: State, imported: Path, merge: bool) -> None:
    feature = 20 * torch.randn(DIM, generator=torch.Generator().manual_seed(2))  # not of unit length
    lm = MultimodalLM.from_pretrained(vicuna, imported, merge=merge)
    transcript = lm.transcript(seed=0, sampling=Sampling())
    transcript.add_user_start()
    transcript.add_media(1, Modality.AUDIO, feature)
    transcript.add_text("Draw a small red boat.")
    transcript.add_user_end()
    expected = straight(vicuna, state, feature, "Draw a small red boat.")
    allowed = ~torch.isneginf(transcript.logits())
    assert allowed.sum() > len(expected) - 10  # all but control tokens
    torch.testing.assert_close(transcript.logits()[allowed], expected[allowed], atol=1e-4, rtol=1e-4)


def test_its_tokens_have_their_order_and_their_meaning(vicuna: Path, imported: Path) -> None:
    base = len(LlamaTokenizer.from_pretrained(vicuna))
    lm = MultimodalLM.from_pretrained(vicuna, imported)
    ids = lm.tokenizer.convert_tokens_to_ids(list(ADDED))
    assert ids == list(range(base, base + len(ADDED)))
    assert lm.script.end == lm.tokenizer.convert_tokens_to_ids("▁###")
    # Media are given and never written; the flags are what an answer is made of.
    assert torch.isneginf(lm.token_bias[ids]).tolist() == [True] * 2 + [False] * 4


def test_an_answer_of_it_is_read(imported: Path, vicuna: Path) -> None:
    lm = MultimodalLM.from_pretrained(vicuna, imported)
    written = lm.tokenizer("Modality: [IMAGE] Prompt: a red boat", add_special_tokens=False)["input_ids"]
    text = lm.tokenizer.decode(written)
    parser = StreamParser("modaverse_v0")
    events = [*parser.feed(text), *parser.close()]
    calls = [event for event in events if isinstance(event, MetaResponse)]
    assert [(call.model, call.input) for call in calls] == [("T-to-I", "a red boat")]
    parser = StreamParser("modaverse_v0")
    events = [*parser.feed("Modality: [TEXT] Prompt: It is a boat. ###"), *parser.close()]
    assert [event.text.strip() for event in events if isinstance(event, WrappedText)] == ["It is a boat."]


class Written:
    """In the place of a mask: an answer that is these tokens, whatever random weights would write."""

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids

    def start(self, sources: Mapping[int, Modality], tokens_left: int, *, calls_left: int) -> Written:
        self._left = list(self._ids)
        return self

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        assert logits[self._left[0]] > -torch.inf  # no control token that answers may not contain
        return torch.full_like(logits, -torch.inf).index_fill(0, torch.tensor(self._left[:1]), 0.0)

    def accept(self, token: int) -> None:
        del self._left[:1]


def test_it_answers_a_request_with_a_medium(imported: Path, vicuna: Path, tmp_path: Path) -> None:
    lm = MultimodalLM.from_pretrained(vicuna, imported)
    text = "Modality: [IMAGE] Prompt: a red boat"
    ids = [*lm.tokenizer(text, add_special_tokens=False)["input_ids"], lm.script.end]
    generator = ScriptedGenerator("T-to-I", Modality.IMAGE, Pixels(np.zeros((4, 4, 3), np.uint8)))
    engine = Orchestrator(
        lm,
        ScriptedEncoder(DIM),
        GeneratorPool([generator], tmp_path),
        vocabulary=Vocabulary.from_tokenizer(lm.tokenizer, ends=sorted(lm.script.ends)),
        mask=Written(ids),
        grammar="modaverse_v0",
    )
    given = Media(Modality.AUDIO, tmp_path / "bell.wav", "audio/wav", "7" * 64)
    settings = AnswerSettings(0, Sampling(max_new_tokens=246), splice="none")
    events = list(engine.stream(engine.conversation(), [given, Text("Draw it.")], settings))
    assert generator.requests[0].prompt.strip() == "a red boat"
    assert [event.media.modality for event in events if isinstance(event, MediaReady)] == ["image"]
    assert isinstance(events[-1], Done)
    assert (events[-1].finish_reason, events[-1].usage.sampled_tokens) == (FinishReason.STOP, len(ids))


def test_it_is_a_folder_of_safetensors_with_a_card(imported: Path, state: State) -> None:
    names = {path.name for path in imported.iterdir()}
    assert {"adapter_config.json", "config.json", "tokenizer.json", "README.md"} <= names
    adapter = load_file(imported / "adapter_model.safetensors")
    table = adapter["base_model.model.model.embed_tokens.weight"]
    assert torch.equal(table, state["LLM.base_model.model.model.embed_tokens.weight"])
    assert json.loads((imported / "adapter_config.json").read_text())["r"] == RANK
    assert "Vicuna-7b-v0" in (imported / "README.md").read_text()


def test_the_command_leaves_a_profile(
    vicuna: Path, state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(state, tmp_path / "pytorch_model.pt")
    import_checkpoint(tmp_path / "pytorch_model.pt", vicuna, tmp_path / "out", "float32")
    assert capsys.readouterr().out.startswith(f"imported: {tmp_path / 'out'}")
    profile = load_profile(tmp_path / "out")
    assert (profile.llm.path, profile.llm.adapter) == (vicuna, tmp_path / "out")
    answer = profile.answer
    assert (answer.grammar, answer.constrained, answer.splice) == ("modaverse_v0", False, "none")
    assert answer.max_new_tokens == 246
    lm = load_language(profile, torch.device("cpu"))
    assert lm.projectors.settings.shared
    assert not lm.projectors.settings.normalise


def test_half_precision_on_request(vicuna: Path, state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "all.pt")
    import_released(tmp_path / "all.pt", vicuna, tmp_path / "out", dtype=torch.float16)
    weight = load_file(tmp_path / "out" / "projectors.safetensors")["projectors.shared.input.weight"]
    assert torch.equal(weight, state["linear_proj.weight"].half())


Q0 = "LLM.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop(Q0), f"lacks {Q0}"),
        (lambda state: state.update({"LLM.other": torch.zeros(1)}), "holds what is no part of it: LLM.other"),
        (lambda state: state.update({Q0: torch.zeros(8, HIDDEN)}), r"is \(8, 32\) and not \(32, 32\)"),
        (lambda state: state.update({Q0: torch.zeros(32, 32).char()}), "other types: .* is torch.int8"),
        (lambda state: [state.pop(key) for key in list(state) if ".layers.1." in key], "and 5 more"),
    ],
)  # fmt: skip
def test_every_fault_is_named(
    vicuna: Path, state: State, tmp_path: Path, change: Callable[[State], Any], message: str
) -> None:
    changed = dict(state)
    change(changed)
    torch.save(changed, tmp_path / "pytorch_model.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        import_released(tmp_path / "pytorch_model.pt", vicuna, tmp_path / "out")
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("harm"), "done"))


def test_pickled_code_is_not_run(
    vicuna: Path, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({**state, "more": Harm()}, tmp_path / "pytorch_model.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        import_released(tmp_path / "pytorch_model.pt", vicuna, tmp_path / "out")
    assert not (tmp_path / "harm").exists()


def test_what_is_not_there_is_named(vicuna: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no weights at"):
        import_released(tmp_path / "pytorch_model.pt", vicuna, tmp_path / "out")
    with pytest.raises(ModelNotFound, match="no LLM lies in"):
        import_released(tmp_path / "pytorch_model.pt", tmp_path / "llm", tmp_path / "out")
