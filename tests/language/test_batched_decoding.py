"""Rows that are read together must write what each writes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from modaverse.context import Modality
from modaverse.errors import ContextOverflow, InputError, ModelError
from modaverse.interfaces import Sampling, TokenNeeded, Transcript
from modaverse.language.batched_decoding import BatchDecoder, SlotTranscript
from modaverse.language.model import MultimodalLM
from modaverse.language.prompt import Tokens
from modaverse.testing import tiny_tokenizer

GREEDY = Sampling()
WARM = Sampling(temperature=1.0, top_p=0.95)
MIXED = (GREEDY, WARM)
FEATURES = {n: torch.randn(24, generator=torch.Generator().manual_seed(n)) for n in range(1, 8)}
MODALITIES = [Modality.IMAGE, Modality.AUDIO, Modality.VIDEO]
TINY = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2, "bos_token_id": None,
}  # fmt: skip
FAMILIES: dict[str, Callable[[dict[str, Any]], PreTrainedModel]] = {
    "llama": lambda common: LlamaForCausalLM(LlamaConfig(**common)),
    "qwen3": lambda common: Qwen3ForCausalLM(Qwen3Config(**common, head_dim=8)),
    "mistral, window": lambda common: MistralForCausalLM(MistralConfig(**common, sliding_window=16)),
    "gemma2, eager": lambda common: Gemma2ForCausalLM(Gemma2Config(**common, head_dim=8, sliding_window=16)),
    "gemma3, ropes": lambda common: Gemma3ForCausalLM(
        Gemma3TextConfig(**common, head_dim=8, sliding_window=16, sliding_window_pattern=2)
    ),
}


def save(llm: Callable[[dict[str, Any]], PreTrainedModel], folder: Path) -> Path:
    """A tiny LLM with random weights, and its tokenizer."""
    tokenizer = tiny_tokenizer()
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        llm(TINY | {"vocab_size": len(tokenizer)} | ids).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(build: Any, tied_base: Path) -> MultimodalLM:
    found: MultimodalLM = build(tied_base)
    return found


def no_end(model: MultimodalLM) -> Any:
    """Forbid ends, so that so many tokens really are so many."""
    return Forbid(sorted(model.script.ends))


class Forbid:
    """A mask that keeps some tokens out."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, torch.tensor(self._tokens), -torch.inf)

    def accept(self, token: int) -> None:
        """Every step is masked alike."""


Writing = Iterator[TokenNeeded | None]


def write(
    model: MultimodalLM, transcript: Transcript, row: int, *, sampling: Sampling, tokens: int = 8
) -> Writing:
    """What row number `row` is given and writes. It stops before each token, and with None where it waits
    for a medium. Requests, splices and waits differ from row to row.
    """
    matcher = no_end(model)
    transcript.set_sampling(seed=row, sampling=sampling)
    transcript.add_user_start()
    transcript.add_text("Draw what you hear, please. " * (1 + row % 4))
    if row % 2:
        transcript.add_media(1, Modality.AUDIO, FEATURES[1 + row % 7])
    transcript.add_user_end()
    number = 1 + row % 2
    for index in range(tokens + row):
        yield TokenNeeded(transcript, matcher)
        transcript.next_token(matcher.allow)
        if index % (3 + row) == 2:
            for _ in range(row % 3):
                yield None
            transcript.add_media(number, MODALITIES[number % 3], FEATURES[1 + number % 7])
            number += 1
        if index == 5 and row % 3 == 1:
            transcript.add_note("the generator ran out of memory")


def finish(writing: Writing) -> None:
    for _ in writing:
        pass


def run(decoder: BatchDecoder, writings: dict[Transcript, Writing], *, width: int = 99) -> None:
    """Drive rows to their ends: at most `width` at once, a new one as soon as one has ended."""
    waiting = list(writings.items())
    active: dict[Transcript, Writing] = {}
    ready: list[TokenNeeded] = []
    while active or waiting:
        while waiting and len(active) < width:
            transcript, writing = waiting.pop(0)
            active[transcript] = writing
        known = {need.transcript for need in ready}
        going = {need.transcript for need in decoder.step(ready)}
        ready = [need for need in ready if need.transcript not in going]
        for transcript, writing in list(active.items()):
            if transcript in known and transcript not in going:
                continue
            try:
                need = next(writing)
            except StopIteration:
                decoder.release(transcript)
                del active[transcript]
                continue
            if need is not None:
                ready.append(need)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_together_write_what_each_writes_alone(build: Any, tmp_path: Path, family: str) -> None:
    model = build(save(FAMILIES[family], tmp_path))
    decoder = BatchDecoder(model, chunk=24)
    rows = [decoder.transcript(seed=0, sampling=GREEDY) for _ in range(6)]
    run(decoder, {t: write(model, t, row, sampling=MIXED[row % 2]) for row, t in enumerate(rows)}, width=4)
    for row, transcript in enumerate(rows):
        alone = model.transcript(seed=0, sampling=GREEDY)
        finish(write(model, alone, row, sampling=MIXED[row % 2]))
        assert transcript.spans() == alone.spans()


def bloom(common: dict[str, Any]) -> PreTrainedModel:
    return BloomForCausalLM(BloomConfig(vocab_size=common["vocab_size"], hidden_size=32))


def mamba(common: dict[str, Any]) -> PreTrainedModel:
    return MambaForCausalLM(MambaConfig(vocab_size=common["vocab_size"], hidden_size=32))


def stretched(common: dict[str, Any]) -> PreTrainedModel:
    ropes = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    return LlamaForCausalLM(LlamaConfig(**common, rope_parameters=ropes))


@pytest.mark.parametrize(
    ("llm", "cause"), [(bloom, "positions of its rows"), (mamba, "a state"), (stretched, "the longest row")]
)
def test_llms_that_cannot_are_refused(llm: Any, cause: str) -> None:
    with pytest.raises(ModelError, match=f"rows of different lengths together: .*{cause}") as caught:
        BatchDecoder(Holder(llm(TINY | {"vocab_size": 300})))  # type: ignore[arg-type]
    assert "one at a time" in caught.value.hint


class Holder:
    """As much of a `MultimodalLM` as a decoder looks at before it is refused."""

    def __init__(self, core: PreTrainedModel) -> None:
        self.core = core


def begin(decoder: BatchDecoder, text: str, *, seed: int = 0) -> SlotTranscript:
    transcript = decoder.transcript(seed=seed, sampling=WARM)
    transcript.add_user_start()
    transcript.add_text(text)
    transcript.add_user_end()
    return transcript


def take(decoder: BatchDecoder, rows: Sequence[SlotTranscript], tokens: int = 1) -> None:
    """So many tokens in each of `rows`."""
    matcher = no_end(decoder.model)
    for _ in range(tokens):
        wanted = [TokenNeeded(row, matcher) for row in rows]
        while wanted:
            for need in decoder.step(wanted):
                need.transcript.next_token()
                wanted.remove(need)


def alone(model: MultimodalLM, row: SlotTranscript) -> list[int]:
    """What an LLM that reads nothing but the beginning of `row` writes after it."""
    given = len(row._sampled) - sum(row._sampled)
    other = model.transcript(seed=row._seed, sampling=row._sampling)
    other.extend([Tokens(tuple(row._ids[:given]))])
    while len(other) < len(row):
        other.next_token(no_end(model).allow)
    return other._ids


def test_who_waits_costs_nothing_and_who_comes_late_is_served(model: MultimodalLM) -> None:
    decoder = BatchDecoder(model)
    shapes: list[tuple[int, int]] = []
    layer = model.core.get_decoder().layers[0]
    handle = layer.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape[:2])))
    first, second, third = (
        begin(decoder, text, seed=i) for i, text in enumerate(["One", "Two, and more", "3"])
    )
    take(decoder, [first, second, third], 2)
    take(decoder, [first, third])  # the one between them waits
    late = begin(decoder, "Draw it. " * 20, seed=3)
    take(decoder, [late, third, first], 2)
    handle.remove()
    assert [rows for rows, width in shapes if width == 1] == [3, 2, 2, 3]
    for row in (first, second, third, late):
        assert row._ids == alone(model, row)


def test_rows_that_leave_take_their_memory_along(model: MultimodalLM) -> None:
    decoder = BatchDecoder(model)
    rows = [begin(decoder, "Draw it. " * (1 + 30 * (i == 1)), seed=i) for i in range(3)]
    take(decoder, rows)
    assert decoder._cache.places > 64
    decoder.release(rows[1])
    decoder.release(rows[1])  # twice is as good as once
    assert decoder._cache.places == 64
    take(decoder, [rows[0], rows[2]], 2)
    take(decoder, [rows[1]])  # whoever comes back is read again
    for row in rows:
        assert row._ids == alone(model, row)


def test_rows_that_nobody_holds_any_more_lose_their_slots(model: MultimodalLM) -> None:
    decoder = BatchDecoder(model)
    for index in range(20):
        row = begin(decoder, f"Row {index}", seed=index)
        take(decoder, [row], 2)
    assert decoder._cache.slots == 4
    assert row._ids == alone(model, row)


def test_what_is_no_number_stays_in_its_row(model: MultimodalLM) -> None:
    decoder = BatchDecoder(model)
    sick, well = begin(decoder, "Draw"), begin(decoder, "Draw it", seed=1)
    sick.add_media(1, Modality.IMAGE, torch.full((24,), torch.nan))
    take(decoder, [sick, well])
    decoder.release(sick)
    new = begin(decoder, "Me", seed=2)
    take(decoder, [new, well], 2)
    for row in (new, well):
        assert row._ids == alone(model, row)


def test_one_row_that_is_full_hurts_no_other(model: MultimodalLM) -> None:
    decoder = BatchDecoder(model)
    full, other = begin(decoder, "Draw"), begin(decoder, "Draw it")
    full.extend([Tokens((5,) * (model.context_length - len(full)))])
    wanted = [TokenNeeded(full, None), TokenNeeded(other, None)]
    assert decoder.step(wanted) == [wanted[1], wanted[0]] or decoder.step(wanted) == wanted
    with pytest.raises(ContextOverflow, match=r"would take 513 positions"):
        full.next_token()
    other.next_token()
    assert other._ids == alone(model, other)


def test_a_row_that_is_taken_back_leaves_no_trace(model: MultimodalLM) -> None:
    decoder = BatchDecoder(model)
    row, other = begin(decoder, "Draw it"), begin(decoder, "Draw", seed=1)
    mark = row.mark()
    take(decoder, [row, other], 2)
    wanted = TokenNeeded(row, no_end(model))
    assert decoder.step([wanted]) == [wanted]
    row.rewind(mark)  # with a token drawn that nobody took
    take(decoder, [other, row], 3)
    assert row._ids == alone(model, row)
    assert other._ids == alone(model, other)


def test_a_row_goes_on_by_itself_as_well(model: MultimodalLM) -> None:
    decoder = BatchDecoder(model, chunk=8)
    row = begin(decoder, "Draw it. " * 4)
    for _ in range(3):
        row.next_token(no_end(model).allow)
    assert row._ids == alone(model, row)


def test_a_stranger_is_refused(model: MultimodalLM) -> None:
    decoder = BatchDecoder(model)
    for stranger in (model.transcript(seed=0, sampling=GREEDY), begin(BatchDecoder(model), "Hi")):
        with pytest.raises(InputError, match="not one of this decoder's"):
            decoder.step([TokenNeeded(stranger, None)])
