"""Many answers at once are what each is alone, and no row waits for another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from worlds import BELL, CAT, kinds, text_of

from modaverse.assembly import LazyMask
from modaverse.context import Done, Event, GenerationFailed, Media, MetaResponse, Modality, Text
from modaverse.errors import ContextOverflow, GenerationError, MediaError
from modaverse.generation import GeneratorPool
from modaverse.interfaces import GenerationRequest, Matcher, Pixels, Sampling, Waveform
from modaverse.language.batched_decoding import BatchDecoder
from modaverse.language.model import MultimodalLM
from modaverse.many_answers import News, Row, Together
from modaverse.media import write_media
from modaverse.metaresponse import Catalogue, Vocabulary
from modaverse.orchestrator import AnswerSettings, Orchestrator
from modaverse.settings import LoraSettings, ProjectorSettings
from modaverse.testing import (
    VOCABULARY,
    EchoLanguageModel,
    ScriptedEncoder,
    ScriptedGenerator,
    save_tiny_llm,
)


class Alone:
    """A language model that reads no rows together."""

    def __init__(self) -> None:
        self._rows = EchoLanguageModel()
        self.context_length, self.transcript = self._rows.context_length, self._rows.transcript


def paint(request: GenerationRequest) -> Pixels:
    """Noise that follows from what was asked, and a failure for one prompt."""
    if request.prompt == "fail":
        raise GenerationError("out of paint", hint="Buy some.")
    rng = np.random.default_rng([request.seed, len(request.prompt)])
    return Pixels(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))


def ring(request: GenerationRequest) -> Waveform:
    rng = np.random.default_rng(request.seed)
    return Waveform(rng.uniform(-0.5, 0.5, (1600, 1)).astype(np.float32), 16_000)


class PickyEncoder(ScriptedEncoder):
    """Cannot read one medium."""

    bad: Media | None = None

    def encode(self, media: Sequence[Media]) -> torch.Tensor:
        if self.bad in media:
            raise MediaError("This file is damaged", hint="Make it again.")
        return super().encode(media)


class World:
    """What rows share, on fakes."""

    def __init__(self, folder: Path, *, gate: threading.Event | None = None, language: Any = None) -> None:
        self.folder = folder
        self.painter = ScriptedGenerator("T-to-I", Modality.IMAGE, paint, gate=gate)
        self.pool = GeneratorPool([self.painter, ScriptedGenerator("T-to-A", Modality.AUDIO, ring)], folder)
        self.language = language or EchoLanguageModel(context_length=1000)
        self.encoder = PickyEncoder()
        self.orchestrator = Orchestrator(self.language, self.encoder, self.pool, vocabulary=VOCABULARY)
        self.together = Together(self.orchestrator)

    def admit(self, *parts: Text | Media | str, seed: int = 0) -> Row:
        return admit(self.together, self.orchestrator, request(*parts, seed=seed))

    def given(self, shade: int) -> Media:
        return write_media(Pixels(np.full((4, 4, 3), shade, np.uint8)), self.folder)


Asked = tuple[list[Text | Media], AnswerSettings]


def admit(together: Together, orchestrator: Orchestrator, asked: Asked) -> Row:
    """A row in a conversation of its own."""
    chat = orchestrator.conversation()
    return together.admit(orchestrator.steps(chat, *asked), chat.transcript)


def request(*parts: Text | Media | str, seed: int = 0) -> Asked:
    said = [Text(part) if isinstance(part, str) else part for part in parts]
    return said, AnswerSettings(seed, Sampling(max_new_tokens=2000))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**settings: Any) -> World:
        worlds.append(World(tmp_path, **settings))
        return worlds[-1]

    yield make
    for each in worlds:
        each.pool.close()


def drive(together: Together, until: Callable[[News], bool] = lambda news: False) -> dict[Row, list[Any]]:
    """What happens in each row, until all are at their end or `until` says so."""
    happened: dict[Row, list[Any]] = {}
    while together:
        for row, event in together.step():
            happened.setdefault(row, []).append(event)
            if until((row, event)):
                return happened
    return happened


def test_rows_together_are_what_each_is_alone(world: Any) -> None:
    texts = [
        "Good day!", f"Here: {CAT} A cat.", f"{BELL}{CAT} Both.", 'No <meta>{"Model": 3} call.',
        '<meta>{"Model": "T-to-I", "Input": "fail"}</meta> Sorry.', f"{CAT * 3}",
    ]  # fmt: skip
    w = world()
    alone = [
        list(w.orchestrator.stream(w.orchestrator.conversation(), *request(text, seed=seed)))
        for seed, text in enumerate(texts)
    ]
    rows = [w.admit(text, seed=seed) for seed, text in enumerate(texts)]
    happened = drive(w.together)
    assert [happened[row] for row in rows] == alone
    assert len(w.together) == 0
    assert {kind for events in alone for kind in kinds(events)} >= {
        "MediaReady",
        "GenerationFailed",
        "Malformed",
    }
    assert w.language.steps[0] == len(texts)
    assert set(w.language.released) == {row.transcript for row in rows}


def test_a_row_that_waits_holds_up_nobody(world: Any) -> None:
    gate = threading.Event()
    w = world(gate=gate)
    waiting, other = w.admit(f"{CAT} Done."), w.admit("A much longer answer. " * 4)
    happened = drive(w.together, until=lambda news: isinstance(news[1], Done))
    assert isinstance(happened[other][-1], Done)
    assert kinds(happened[waiting]) == ["MetaResponseOpened", "MetaResponse"]
    late = w.admit("Late.")  # admitted while all others wait
    assert text_of(drive(w.together, until=lambda news: isinstance(news[1], Done))[late]) == "Late."
    gate.set()
    assert text_of(drive(w.together)[waiting]) == " Done."


def test_a_step_in_which_all_wait_can_be_woken(world: Any) -> None:
    gate = threading.Event()
    w = world(gate=gate)
    row = w.admit(CAT)
    drive(w.together, until=lambda news: isinstance(news[1], MetaResponse))
    timer = threading.Timer(0.05, w.together.wake)
    timer.start()
    assert w.together.step() == []
    timer.join()
    w.together.cancel(row)
    assert len(w.together) == 0
    assert w.together.step() == []  # nothing to wait for


def test_a_row_that_is_given_up_leaves_the_others_alone(world: Any) -> None:
    gate = threading.Event()
    w = world(gate=gate)
    given_up, other = w.admit(f"{CAT} Done."), w.admit(f"So: {CAT} Yes.", seed=1)
    drive(w.together, until=lambda news: isinstance(news[1], MetaResponse))
    w.together.cancel(given_up)
    w.together.cancel(given_up)  # twice is as good as once
    assert len(given_up.transcript) == 0
    gate.set()
    happened = drive(w.together)
    assert list(happened) == [other]
    assert text_of(happened[other]).endswith(" Yes.")
    w.admit("One"), w.admit("Two")
    w.together.step()
    w.together.close()
    assert len(w.together) == 0


def test_media_are_encoded_together_and_a_bad_one_fails_its_row_alone(world: Any) -> None:
    w = world()
    media = [w.given(shade) for shade in range(3)]
    rows = [w.admit(medium, f"Row {index}") for index, medium in enumerate(media)]
    happened = drive(w.together)
    assert w.encoder.log == [media]
    assert [text_of(happened[row]) for row in rows] == ["Row 0", "Row 1", "Row 2"]
    fresh = [w.given(shade) for shade in range(3, 6)]
    w.encoder.bad = fresh[1]
    rows = [w.admit(medium, f"Row {index}") for index, medium in enumerate(fresh)]
    happened = drive(w.together)
    assert [type(happened[row][-1]) for row in rows] == [Done, MediaError, Done]


def test_what_does_not_fit_fails_alone(world: Any) -> None:
    w = world()
    large, small = w.admit("a" * 2000), w.admit("b")
    happened = drive(w.together)
    assert [type(event) for event in happened[large]] == [ContextOverflow]
    assert text_of(happened[small]) == "b"


def test_any_language_model_will_do(world: Any) -> None:
    w = world(language=Alone())
    rows = [w.admit(f"{CAT} Row {index}") for index in range(2)]
    happened = drive(w.together)
    assert [text_of(happened[row]) for row in rows] == [" Row 0", " Row 1"]


def test_the_mask_of_a_profile_looks_at_rows_together() -> None:
    mask = LazyMask(
        VOCABULARY, Catalogue([ScriptedGenerator("T-to-I", Modality.IMAGE).spec]), "meta_response"
    )
    matchers = [mask.start({}, 200, calls_left=1), mask.start({}, 1, calls_left=1)]
    matchers[0].accept(VOCABULARY.added["<meta>"])
    logits = torch.randn(3, len(VOCABULARY), generator=torch.Generator().manual_seed(0))
    allowed = mask.allow([*matchers, None], logits)
    for row, matcher in enumerate(matchers):
        assert allowed[row].equal(matcher.allow(logits[row]))
    assert not allowed[0].equal(allowed[1])
    assert allowed[2].equal(logits[2])


# ------------------------------------------------------------------------------------ with a real LLM


class Dictation:
    """A mask that dictates how each segment begins, and leaves the rest to the LLM."""

    def __init__(self, *segments: Sequence[int]) -> None:
        self._segments = segments

    def start(self, sources: Mapping[int, Modality], tokens_left: int, *, calls_left: int) -> Matcher:
        return Dictated([*self._segments[len(sources)]] if len(sources) < len(self._segments) else [])

    def allow(self, matchers: Sequence[Dictated], logits: torch.Tensor) -> torch.Tensor:
        return torch.stack([matcher.allow(row) for matcher, row in zip(matchers, logits, strict=True)])


class Dictated:
    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        if not self._tokens:
            return logits
        return torch.full_like(logits, -torch.inf).index_fill(0, torch.tensor(self._tokens[0]), 0.0)

    def accept(self, token: int) -> None:
        del self._tokens[:1]


@pytest.mark.parametrize("splice", ["wait", "deferred"])
def test_a_real_llm_writes_in_rows_what_it_writes_alone(tmp_path: Path, splice: Any) -> None:
    language = MultimodalLM.build(
        save_tiny_llm(tmp_path / "llm"), embedding_dim=8, projector=ProjectorSettings(k=2),
        lora=LoraSettings(r=2, target_modules="all-linear"),
    ).eval()  # fmt: skip
    vocabulary = Vocabulary.from_tokenizer(language.tokenizer, ends=sorted(language.script.ends))

    def dictated(text: str, call: MetaResponse) -> list[int]:
        spans = [*language.script.text(text), *language.script.call(call)]
        return [token for span in spans for token in span.ids]  # type: ignore[union-attr]

    mask = Dictation(
        dictated("So: ", MetaResponse("T-to-I", "a cat")), dictated("", MetaResponse("T-to-A", "a bell"))
    )
    painter = ScriptedGenerator("T-to-I", Modality.IMAGE, paint)
    with GeneratorPool([painter, ScriptedGenerator("T-to-A", Modality.AUDIO, ring)], tmp_path) as pool:

        def begin(llm: Any) -> Orchestrator:
            return Orchestrator(llm, ScriptedEncoder(), pool, vocabulary=vocabulary, mask=mask)

        texts = ["", "Draw it. ", "Draw what you hear. " * 4, "x"]
        asked: list[Asked] = []
        for seed, text in enumerate(texts):
            given: list[Text | Media] = [write_media(paint(GenerationRequest("", text, seed)), tmp_path)]
            sampling = Sampling(temperature=0.8 * (seed % 2), max_new_tokens=56)
            asked.append(
                ([*given[: seed // 2], Text(text + "!")], AnswerSettings(seed, sampling, splice=splice))
            )
        alone = begin(language)
        expected: list[list[Event]] = [list(alone.stream(alone.conversation(), *each)) for each in asked]
        beside = begin(BatchDecoder(language, mask=mask))
        together = Together(beside)
        rows = [admit(together, beside, each) for each in asked[:3]]
        happened = drive(together, until=lambda news: isinstance(news[1], MetaResponse))
        rows.append(admit(together, beside, asked[3]))
        for row, events in drive(together).items():
            happened.setdefault(row, []).extend(events)
    assert [happened[row] for row in rows] == expected
    assert sum(kind == "MediaReady" for events in expected for kind in kinds(events)) >= 4
    assert not any(isinstance(event, GenerationFailed) for events in expected for event in events)
