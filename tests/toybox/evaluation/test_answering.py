"""Answering many requests at once gives what the orchestrator gives one by one, token for token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from modaverse.context import (
    FinishReason,
    Media,
    MetaResponse,
    Modality,
    Text,
)
from modaverse.errors import GenerationError
from modaverse.interfaces import CallSpec, Decoded, GenerationRequest, Matcher, Pixels, Sampling, Waveform
from modaverse.language.model import MultimodalLM
from modaverse.media import write_media
from modaverse.metaresponse import Catalogue, Vocabulary
from modaverse.orchestrator import AnswerSettings, Orchestrator
from modaverse.settings import LoraSettings, ProjectorSettings
from modaverse.testing import save_tiny_llm
from modaverse.toybox.evaluation.answering import Answer, Answerer, Request
from modaverse.toybox.evaluation.making import Made, Order, nothing

DIM = 24
SPECS = (CallSpec("T-to-I", Modality.IMAGE), CallSpec("T-to-A", Modality.AUDIO))


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> MultimodalLM:
    model = MultimodalLM.build(
        save_tiny_llm(tmp_path_factory.mktemp("llm")),
        embedding_dim=DIM,
        projector=ProjectorSettings(k=3),
        lora=LoraSettings(r=4, alpha=8, dropout=0.0, target_modules="all-linear"),
    )
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "trainable_tokens" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


class HashEncoder:
    """An embedding that follows from the file."""

    dim = DIM

    def encode(self, media: Sequence[Media]) -> torch.Tensor:
        rows = [np.random.default_rng(int(medium.sha256[:12], 16)).normal(size=DIM) for medium in media]
        return torch.tensor(np.array(rows), dtype=torch.float32).reshape(len(media), DIM)


class Dictation:
    """A mask that dictates how each segment begins, and leaves the rest to the LLM. Segments are told apart
    by how many media there are."""

    def __init__(self, tokens: Mapping[int, Sequence[int]]) -> None:
        self.tokens = tokens

    def start(self, sources: Mapping[int, Modality], tokens_left: int, *, calls_left: int) -> Matcher:
        return Dictated(list(self.tokens.get(len(sources), ())))

    def allow(self, matchers: Sequence[Matcher], logits: torch.Tensor) -> torch.Tensor:
        return torch.stack([matcher.allow(row) for matcher, row in zip(matchers, logits, strict=True)])


class Dictated:
    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        if not self.tokens:
            return logits
        only = torch.full_like(logits, -torch.inf)
        only[self.tokens[0]] = 0.0
        return only

    def accept(self, token: int) -> None:
        del self.tokens[:1]


def call(language: MultimodalLM, model: str, prompt: str, before: str = "") -> list[int]:
    spans = [*language.script.text(before), *language.script.call(MetaResponse(model, prompt))]
    return [token for span in spans for token in span.ids]  # type: ignore[union-attr]


def draw(prompt: str, seed: int) -> Decoded:
    """Noise that follows from what was asked, and a failure for one prompt."""
    if prompt == "fail":
        raise GenerationError("out of paint")
    rng = np.random.default_rng([int(hashlib.sha256(prompt.encode()).hexdigest()[:8], 16), seed])
    if "sound" in prompt:
        return Waveform(rng.uniform(-0.5, 0.5, (1600, 1)).astype(np.float32), 16_000)
    return Pixels(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))


def maker(orders: Sequence[Order]) -> list[Made]:
    made: list[Made] = []
    for order in orders:
        try:
            made.append(draw(order.response.input, order.seed))
        except GenerationError as error:
            made.append(error)
    return made


class Pool:
    """`maker` as a pool."""

    catalogue: Mapping[str, CallSpec] = {spec.model: spec for spec in SPECS}

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def preload(self, model: str) -> None:
        pass

    def submit(self, request: GenerationRequest) -> Pool:
        self.made = draw(request.prompt, request.seed)
        return self

    def events(self) -> Iterator[tuple[int, int]]:
        return iter(())

    def result(self) -> Media:
        return write_media(self.made, self.folder)

    def cancel(self) -> None:
        pass


def picture(folder: Path, seed: int) -> Media:
    return write_media(draw("given", seed), folder)


def requests(folder: Path) -> list[Request]:
    """Rows of very different lengths, each with one medium."""
    texts = [
        "",
        "Draw what you see.",
        "a " * 60,
        "Please!",
        "x",
        "What is it, and what else could it be? " * 3,
    ]
    return [
        Request((Text(text), picture(folder, i)) if text else (picture(folder, i),), seed=100 + i)
        for i, text in enumerate(texts)
    ]


def one_by_one(
    language: MultimodalLM, folder: Path, asked: Sequence[Request], sampling: Sampling, mask: Dictation
) -> list[tuple[tuple[object, ...], FinishReason]]:
    vocabulary = Vocabulary.from_tokenizer(language.tokenizer, ends=sorted(language.script.ends))
    orchestrator = Orchestrator(language, HashEncoder(), Pool(folder), vocabulary=vocabulary, mask=mask)
    found = []
    for request in asked:
        conversation = orchestrator.conversation()
        settings = AnswerSettings(seed=request.seed, sampling=sampling)
        *_, done = orchestrator.stream(conversation, request.parts, settings)
        found.append((conversation.context.turns[-1].parts, done.finish_reason))  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize(("temperature", "batch"), [(0.0, 8), (0.8, 3)])
def test_equals_the_orchestrator(
    language: MultimodalLM, tmp_path: Path, temperature: float, batch: int
) -> None:
    mask = Dictation(
        {
            1: call(language, "T-to-I", "a cat", "So "),
            2: call(language, "T-to-A", "sound", " "),
        },
    )
    sampling = Sampling(temperature=temperature, max_new_tokens=90)
    asked = requests(tmp_path)
    answerer = Answerer(
        language, HashEncoder(), Catalogue(SPECS), tmp_path, sampling=sampling, mask=mask, batch=batch
    )
    answers = answerer.answer(asked, maker)
    expected = one_by_one(language, tmp_path, asked, sampling, mask)
    assert [(answer.parts, answer.finish) for answer in answers] == expected
    assert {len(answer.made) for answer in answers} == {2}
    assert len({answer.text for answer in answers}) > 2  # rows do go ways of their own


def test_a_failure_is_told_and_the_answer_goes_on(language: MultimodalLM, tmp_path: Path) -> None:
    mask = Dictation({1: call(language, "T-to-I", "fail")})
    sampling = Sampling(max_new_tokens=60)
    answerer = Answerer(language, HashEncoder(), Catalogue(SPECS), tmp_path, sampling=sampling, mask=mask)
    # After the note no medium was added, so the same dictation comes again until the room is used up.
    answer = answerer.answer(requests(tmp_path)[:1], maker)[0]
    assert len(answer.calls) >= 2
    assert answer.made == (None,) * len(answer.calls)
    assert answer.finish is FinishReason.LENGTH


def test_without_a_splice_the_answer_goes_on_at_once(language: MultimodalLM, tmp_path: Path) -> None:
    mask = Dictation({1: call(language, "T-to-I", "a cat")})
    answerer = Answerer(
        language, HashEncoder(), Catalogue(SPECS), tmp_path, sampling=Sampling(max_new_tokens=60), mask=mask
    )
    answer = answerer.answer(requests(tmp_path)[1:2], nothing)[0]
    assert answer.calls
    assert answer.made == (None,) * len(answer.calls)
    assert not any(isinstance(part, Media) for part in answer.parts)


def test_what_is_no_call_is_text_and_noted(language: MultimodalLM, tmp_path: Path) -> None:
    script = language.script
    broken = [token for span in script.call(MetaResponse("T-to-V", "a cat")) for token in span.ids]  # type: ignore[union-attr]
    mask = Dictation({1: broken})
    answerer = Answerer(
        language,
        HashEncoder(),
        Catalogue(SPECS),
        tmp_path,
        sampling=Sampling(max_new_tokens=len(broken)),
        mask=mask,
    )
    answer = answerer.answer(requests(tmp_path)[:2], maker)[0]
    assert answer.calls == ()
    assert len(answer.malformed) == 1
    assert "T-to-V" in answer.text


def test_what_does_not_fit_ends_its_own_row(language: MultimodalLM, tmp_path: Path) -> None:
    answerer = Answerer(
        language, HashEncoder(), Catalogue(SPECS), tmp_path, sampling=Sampling(max_new_tokens=4)
    )
    asked = [Request((Text("~" * 2000),), 1), Request((Text("Hi"),), 2), Request((Text("~" * 2000),), 3)]
    answers = answerer.answer(asked, maker)
    assert [answer.finish for answer in answers[::2]] == [FinishReason.LENGTH] * 2
    assert [bool(answer.text) for answer in answers] == [False, True, False]


def test_no_requests_are_no_answers(language: MultimodalLM, tmp_path: Path) -> None:
    answerer = Answerer(
        language, HashEncoder(), Catalogue(SPECS), tmp_path, sampling=Sampling(max_new_tokens=4)
    )
    assert answerer.answer([], maker) == []


def test_last_words_are_those_after_the_last_call() -> None:
    medium = Media(Modality.IMAGE, Path("a.png"), "image/png", "0")
    drawn = MetaResponse("T-to-I", "a cat")
    parts = (Text("Here: "), drawn, medium, Text(" and "), drawn, medium, Text(" A cat."))
    answer = Answer(parts, (medium, medium), (), FinishReason.STOP)
    assert answer.last_words == " A cat."
    assert answer.text == "Here:  and  A cat."
    assert Answer(parts[:3], (medium,), (), FinishReason.STOP).last_words == ""
