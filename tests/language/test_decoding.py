"""Splices into the KV cache must be what a full re-run over the same positions is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from modaverse.context import Modality
from modaverse.errors import ContextOverflow, InputError
from modaverse.interfaces import Sampling
from modaverse.language.batch import Example
from modaverse.language.decoding import CachedTranscript
from modaverse.language.model import MultimodalLM
from modaverse.settings import TranscriptSettings
from modaverse.testing import tiny_tokenizer

GREEDY = Sampling()
WARM = Sampling(temperature=1.0)
FEATURES = {n: torch.randn(24, generator=torch.Generator().manual_seed(n)) for n in range(1, 8)}
MODALITIES = [Modality.IMAGE, Modality.AUDIO, Modality.VIDEO]


@torch.inference_mode()
def rerun(model: MultimodalLM, transcript: CachedTranscript) -> torch.Tensor:
    """Logits (positions, vocabulary) of a full pass over the transcript, by the code of training."""
    batch = model.collate([Example(transcript.spans(), FEATURES)])
    logits: torch.Tensor = model(**batch).logits[0]
    return logits + model.token_bias


def no_end(model: MultimodalLM) -> Any:
    """Forbid ends, so that 64 tokens really are 64."""
    ends = sorted(model.script.ends)

    def allow(logits: torch.Tensor) -> torch.Tensor:
        logits[ends] = -torch.inf
        return logits

    return allow


def write(
    model: MultimodalLM, *, seed: int = 0, sampling: Sampling = GREEDY, tokens: int = 64
) -> CachedTranscript:
    """A request with two media and an answer of `tokens` tokens with four splices and a note between them."""
    transcript = model.transcript(seed=seed, sampling=sampling)
    transcript.add_user_start()
    transcript.add_media(1, Modality.AUDIO, FEATURES[1])
    transcript.add_text("Draw what you hear, then ")
    transcript.add_media(2, Modality.VIDEO, FEATURES[2])
    transcript.add_user_end()
    number = 3
    for index in range(tokens):
        transcript.next_token(no_end(model))
        if index % 13 == 5 and number < 7:
            transcript.add_media(number, MODALITIES[number % 3], FEATURES[number])
            number += 1
        if index == 30:
            transcript.add_note("the generator ran out of memory")
    return transcript


@pytest.fixture(params=["with adapter", "merged", "adapter off"])
def model(request: pytest.FixtureRequest, build: Any, base: Path, tmp_path: Path) -> Iterator[MultimodalLM]:
    fresh: MultimodalLM = build(base)
    if request.param == "with adapter":
        yield fresh
        return
    fresh.save_pretrained(tmp_path)
    model = MultimodalLM.from_pretrained(base, tmp_path, merge=request.param == "merged")
    with model.without_adapter() if request.param == "adapter off" else nullcontext():
        yield model


def test_a_splice_equals_a_full_rerun(model: MultimodalLM) -> None:
    transcript = write(model)
    full = rerun(model, transcript)
    torch.testing.assert_close(transcript.logits(), full[-1], atol=1e-4, rtol=0)

    # 64 greedy tokens over several splices: each is what the full pass says at its place.
    ids, sampled = transcript._ids, transcript._sampled
    positions = [p for p in range(len(ids)) if sampled[p]]
    assert len(positions) == 64
    allow = no_end(model)
    assert [ids[p] for p in positions] == [int(allow(full[p - 1].clone()).argmax()) for p in positions]


def test_every_step_equals_a_full_rerun_of_that_moment(build: Any, base: Path) -> None:
    model = build(base)
    transcript = model.transcript(seed=0, sampling=GREEDY)
    transcript.add_user_start()
    transcript.add_user_end()
    for number in (1, 2, 3):
        torch.testing.assert_close(transcript.logits(), rerun(model, transcript)[-1], atol=1e-4, rtol=0)
        transcript.next_token()
        transcript.add_media(number, MODALITIES[number % 3], FEATURES[number])
    torch.testing.assert_close(transcript.logits(), rerun(model, transcript)[-1], atol=1e-4, rtol=0)


def test_only_new_positions_go_through_the_llm(build: Any, tied_base: Path) -> None:
    model = build(tied_base)
    widths: list[int] = []
    model.core.get_decoder().layers[0].register_forward_pre_hook(
        lambda module, args: widths.append(args[0].shape[1])
    )
    transcript = write(model)
    assert sum(widths) == len(transcript) - 1  # all but the last token, once
    assert max(widths[1:]) < 45  # the note is the longest splice
    assert sorted(set(widths[1:]))[0] == 1


def test_what_was_spliced_is_seen(build: Any, tied_base: Path) -> None:
    model = build(tied_base)
    logits = []
    for number in (1, 2):
        transcript = model.transcript(seed=0, sampling=GREEDY)
        transcript.add_user_start()
        transcript.add_media(1, Modality.IMAGE, FEATURES[number])
        transcript.add_user_end()
        logits.append(transcript.logits())
    assert (logits[0] - logits[1])[model.token_bias == 0].abs().max() > 1e-2


def test_rewinding_leaves_no_trace(build: Any, tied_base: Path) -> None:
    model = build(tied_base)
    transcript = write(model, sampling=WARM, tokens=20)
    before, spans, mark = transcript.logits(), transcript.spans(), transcript.mark()
    transcript.add_user_start()
    transcript.add_media(7, Modality.IMAGE, FEATURES[7])
    transcript.add_user_end()
    again = [transcript.next_token() for _ in range(5)]
    transcript.rewind(mark)
    assert (transcript.spans(), len(transcript)) == (spans, mark)
    torch.testing.assert_close(transcript.logits(), before, atol=1e-5, rtol=0)
    transcript.add_user_start()
    transcript.add_media(7, Modality.IMAGE, FEATURES[7])
    transcript.add_user_end()
    assert [transcript.next_token() for _ in range(5)] == again
    with pytest.raises(InputError, match="Cannot rewind"):
        transcript.rewind(10_000)


def test_a_cache_that_cannot_be_cut_is_read_again(build: Any, tmp_path: Path) -> None:
    """Sliding windows forget what lies behind them, so a rewind must read the transcript anew."""
    tokenizer = tiny_tokenizer()
    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=16, initializer_range=0.2,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=256,
    )  # fmt: skip
    torch.manual_seed(0)
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = build(tmp_path)
    transcript = write(model, tokens=24)
    torch.testing.assert_close(transcript.logits(), rerun(model, transcript)[-1], atol=1e-4, rtol=0)
    transcript.rewind(len(transcript) - 3)
    torch.testing.assert_close(transcript.logits(), rerun(model, transcript)[-1], atol=1e-4, rtol=0)


def test_a_pass_that_breaks_off_leaves_no_trace(build: Any, tied_base: Path) -> None:
    """Ctrl-C comes between two layers as well: the first has read then what the second has not."""
    model = build(tied_base)
    transcript = write(model, tokens=10)
    before, mark = transcript.logits(), transcript.mark()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    hook = model.core.get_decoder().layers[-1].register_forward_pre_hook(interrupt)
    transcript.add_note("no paint")
    with pytest.raises(KeyboardInterrupt):
        transcript.next_token()
    hook.remove()
    transcript.rewind(mark)
    torch.testing.assert_close(transcript.logits(), before, atol=1e-5, rtol=0)


def test_seeds_decide_the_tokens(build: Any, tied_base: Path) -> None:
    model = build(tied_base)
    first = write(model, seed=3, sampling=WARM, tokens=20).spans()
    assert write(model, seed=3, sampling=WARM, tokens=20).spans() == first
    assert write(model, seed=4, sampling=WARM, tokens=20).spans() != first


def test_control_tokens_and_padding_rows_are_never_sampled(build: Any, tied_base: Path) -> None:
    model = build(tied_base)
    transcript = write(model, sampling=Sampling(temperature=50.0), tokens=400 // 3)
    sampled = {i for i, s in zip(transcript._ids, transcript._sampled, strict=True) if s}
    assert len(sampled) > 50
    assert not sampled & model.script.never_sampled
    assert torch.isneginf(transcript.logits()[sorted(model.script.never_sampled)]).all()


def test_an_answer_that_was_cut_is_closed_before_the_next_turn(build: Any, tied_base: Path) -> None:
    model = build(tied_base)
    tokenizer = model.tokenizer
    transcript = model.transcript(seed=0, sampling=GREEDY)
    for _ in range(2):
        transcript.add_user_start()
        transcript.add_text("Hi")
        transcript.add_user_end()
        transcript.next_token(no_end(model))
    shown = tokenizer.decode([i for span in transcript.spans() for i in span.ids])
    assert shown.count("<|end|><|user|>Hi<|assistant|>") == 1
    end = model.script.end
    transcript.next_token(lambda logits: torch.full_like(logits, -9.0).index_fill_(0, torch.tensor(end), 9.0))
    transcript.add_user_start()
    shown = tokenizer.decode([i for span in transcript.spans() for i in span.ids])
    assert shown.endswith("<|end|><|user|>")
    assert shown.count("<|end|>") == 2


def test_a_full_context_says_its_numbers(build: Any, tied_base: Path) -> None:
    model = build(tied_base)
    transcript = model.transcript(seed=0, sampling=GREEDY)
    transcript.add_user_start()
    before = len(transcript)
    with pytest.raises(ContextOverflow, match=r"would take 2,0\d\d positions.*holds 512") as caught:
        transcript.add_text("~" * 2000)
    assert caught.value.hint
    assert len(transcript) == before


def test_dump_and_restore_give_the_same_future(build: Any, tied_base: Path) -> None:
    model = build(tied_base)
    transcript = write(model, seed=5, sampling=WARM, tokens=20)
    other = model.transcript(seed=5, sampling=WARM)
    other.restore(transcript.dump(), FEATURES)
    assert other.spans() == transcript.spans()
    for each in (transcript, other):
        each.add_user_start()
        each.add_user_end()
    assert [other.next_token() for _ in range(8)] == [transcript.next_token() for _ in range(8)]


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"turns": [], "spans": [{"number": 1}]},
        {"turns": [], "spans": [{"number": 1, "modality": "smell"}]},
        {"turns": [], "spans": [{"ids": [1, 10**6], "sampled": False}]},
        {"turns": [], "spans": [{"ids": [-1], "sampled": False}]},
        {"turns": 3, "spans": []},
        {"turns": [], "spans": ["<|user|>"]},
    ],
)
def test_records_of_no_transcript_are_refused(build: Any, tied_base: Path, record: dict[str, Any]) -> None:
    transcript = build(tied_base).transcript(seed=0, sampling=GREEDY)
    with pytest.raises(InputError, match="none that this LLM has written"):
        transcript.restore(record, FEATURES)
    assert len(transcript) == 0


@pytest.mark.parametrize(
    ("features", "message"), [({1: torch.ones(5)}, r"has shape \(5,\), not \(24,\)"), ({}, "is missing")]
)
def test_a_wrong_embedding_is_refused_and_adds_nothing(
    build: Any, tied_base: Path, features: dict[int, torch.Tensor], message: str
) -> None:
    model = build(tied_base)
    transcript = model.transcript(seed=0, sampling=GREEDY)
    with pytest.raises(InputError, match=message):
        transcript.extend(model.script.media(1, Modality.IMAGE), features)
    assert len(transcript) == 0


@pytest.mark.parametrize("start", ["", "Be kind."])
def test_forgetting_the_oldest_turn_leaves_what_the_others_alone_would_be(
    build: Any, tied_base: Path, start: str
) -> None:
    model = build(tied_base, transcript=TranscriptSettings(start=start, between=" "))

    def talk(*turns: int) -> CachedTranscript:
        transcript = model.transcript(seed=0, sampling=GREEDY)
        for turn in turns:
            transcript.add_user_start()
            transcript.add_text(f"Turn {turn} ")
            transcript.add_media(turn, MODALITIES[turn % 3], FEATURES[turn])
            transcript.add_user_end()
            transcript.extend(
                model.script.text("Yes", sampled=True) + model.script.assistant_end(sampled=True)
            )
        return transcript

    transcript, expected = talk(1, 2, 3), talk(2, 3)
    transcript.logits()
    whole = len(transcript)
    assert transcript.forget_turn() == whole - len(transcript) > 0
    assert transcript.spans() == expected.spans()
    torch.testing.assert_close(transcript.logits(), expected.logits(), atol=1e-5, rtol=0)
    transcript.forget_turn()
    assert transcript.spans() == talk(3).spans()
    transcript.forget_turn()
    assert len(transcript) == 0
    transcript.add_user_start()
    assert transcript.spans() == model.script.user_start(first=True)
