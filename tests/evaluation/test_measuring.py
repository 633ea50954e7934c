"""A tiny LLM is told what to write, so that what is measured of it is known beforehand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modaverse.context import Context, GenerationFailed, Media, MetaResponse, Modality, Role, Text
from modaverse.errors import DataError, InputError
from modaverse.evaluation.cases import DataCase, cases_of
from modaverse.evaluation.chrf import chrf
from modaverse.evaluation.measuring import Measured, Measurer, measure
from modaverse.interfaces import CallSpec, Matcher, Pixels, Sampling, Waveform
from modaverse.language.model import MultimodalLM
from modaverse.language.prompt import Tokens
from modaverse.media import write_media
from modaverse.metaresponse import Catalogue
from modaverse.settings import LoraSettings, ProjectorSettings
from modaverse.testing import save_tiny_llm
from modaverse.toybox.evaluation.answering import Answerer
from modaverse.training.dataset import read_rows

DIM = 24
CALLS = Catalogue([CallSpec("T-to-I", Modality.IMAGE), CallSpec("T-to-A", Modality.AUDIO)])


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> MultimodalLM:
    model = MultimodalLM.build(
        save_tiny_llm(tmp_path_factory.mktemp("llm")),
        embedding_dim=DIM,
        projector=ProjectorSettings(k=3),
        lora=LoraSettings(r=4, alpha=8, dropout=0.0, target_modules="all-linear"),
    )
    return model.eval()


class HashEncoder:
    """Embeddings that follow from the content; `texts` are those that were asked for."""

    dim = DIM

    def __init__(self, *, reads_text: bool = True) -> None:
        self.texts: list[str] = []
        self._reads_text = reads_text

    def encode(self, media: Sequence[Media]) -> torch.Tensor:
        return self._rows([medium.sha256 for medium in media])

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        if not self._reads_text:
            raise InputError("no text trunk")
        self.texts += texts
        return self._rows([hashlib.sha256(text.encode()).hexdigest() for text in texts])

    def _rows(self, digests: Sequence[str]) -> torch.Tensor:
        rows = [np.random.default_rng(int(digest[:12], 16)).normal(size=DIM) for digest in digests]
        return torch.tensor(np.array(rows), dtype=torch.float32).reshape(len(digests), DIM)


class Dictation:
    """A mask under which every segment is what the next of `segments` says."""

    def __init__(self, segments: Sequence[Sequence[int]]) -> None:
        self._segments = iter(segments)
        self.sources: list[Mapping[int, Modality]] = []

    def start(self, sources: Mapping[int, Modality], tokens_left: int, *, calls_left: int) -> Matcher:
        self.sources.append(dict(sources))
        return Dictated(list(next(self._segments)))

    def allow(self, matchers: Sequence[Any], logits: torch.Tensor) -> torch.Tensor:
        return torch.stack([matcher.allow(row) for matcher, row in zip(matchers, logits, strict=True)])


class Dictated:
    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        only = torch.full_like(logits, -torch.inf)
        only[self.tokens[0]] = 0.0
        return only

    def accept(self, token: int) -> None:
        del self.tokens[:1]


def segment(language: MultimodalLM, *parts: str | tuple[str, str], end: bool) -> list[int]:
    script = language.script
    spans = []
    for part in parts:
        spans += script.text(part) if isinstance(part, str) else script.call(MetaResponse(*part))
    ids = [token for span in spans if isinstance(span, Tokens) for token in span.ids]
    return [*ids, script.end] if end else ids


def turn(role: Role, *parts: str | tuple[str, str] | Media) -> dict[str, Any]:
    def value(part: str | tuple[str, str] | Media) -> dict[str, Any]:
        match part:
            case str():
                return {"type": "text", "text": part}
            case Media(path=path):
                return {"type": "media", "uri": str(path)}
            case (model, prompt):
                return {"type": "meta_response", "model": model, "input": prompt}

    return {"role": role, "parts": [value(part) for part in parts]}


@pytest.fixture
def media(tmp_path: Path) -> dict[str, Media]:
    wave = np.sin(np.arange(4_000) / 3).astype(np.float32)[:, None]
    return {
        "red": write_media(Pixels(np.full((4, 4, 3), 200, np.uint8)), tmp_path / "in"),
        "blue": write_media(Pixels(np.zeros((4, 4, 3), np.uint8)), tmp_path / "in"),
        "tone": write_media(Waveform(wave, 8_000), tmp_path / "in"),
    }


@pytest.fixture
def cases(tmp_path: Path, media: dict[str, Media]) -> list[DataCase]:
    """A picture to describe; a sound to draw and, two turns on, a picture from words; words alone."""
    user, mini = Role.USER, Role.ASSISTANT
    rows = [
        [turn(user, media["red"], "What is it?"), turn(mini, "A red square.")],
        [
            turn(user, "Draw", media["tone"]),
            turn(mini, "Here: ", ("T-to-I", "a flute"), media["blue"], " Fine?"),
            turn(user, "And now hum and draw"),
            turn(mini, ("T-to-A", "a hum"), ("T-to-I", "lips"), media["tone"], media["red"]),
        ],
        [turn(user, "Hi"), turn(mini, "Hello.")],
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"turns": turns}) + "\n" for turns in rows))
    return list(cases_of(read_rows([path]), CALLS, tmp_path))


def measured(
    language: MultimodalLM,
    cases: Sequence[DataCase],
    folder: Path,
    segments: Sequence[Sequence[int]],
    encoder: HashEncoder | None = None,
) -> tuple[list[Measured], Dictation]:
    mask = Dictation(segments)
    encoder = encoder or HashEncoder()
    sampling = Sampling(0.0, 1.0, 200)
    answerer = Answerer(language, encoder, CALLS, folder / "media", sampling=sampling, mask=mask)
    return measure(cases, Measurer(answerer, encoder, CALLS), folder, weights="w"), mask


def test_each_answer_of_a_row_is_a_case(cases: list[DataCase], tmp_path: Path) -> None:
    assert [case.name.removeprefix(f"{tmp_path}/") for case in cases] == [
        "rows.jsonl:1.1", "rows.jsonl:2.1", "rows.jsonl:2.2", "rows.jsonl:3.1",
    ]  # fmt: skip
    assert [case.direction for case in cases] == [
        "image → text", "audio → image", "text → image+audio", "text → text",
    ]  # fmt: skip
    assert [[getattr(wanted.outcome, "modality", None) for wanted in case.calls] for case in cases] == [
        [], [Modality.IMAGE], [Modality.AUDIO, Modality.IMAGE], [],
    ]  # fmt: skip
    assert len({case.key for case in cases}) == 4


def test_answers_are_held_against_the_rows(
    language: MultimodalLM, cases: list[DataCase], media: dict[str, Media], tmp_path: Path
) -> None:
    first = [
        segment(language, "A blue square.", end=True),
        segment(language, "Here: ", ("T-to-I", "a flat flute"), end=False),
        segment(language, ("T-to-A", "a hum"), end=False),
        segment(language, "No.", ("T-to-I", "a cat"), end=False),
    ]
    # After the splices, shortest transcript first: words alone, the sound, the flute.
    rest = [
        segment(language, " There.", end=True),
        segment(language, " Fine?", end=True),
        segment(language, " That is all.", end=True),
    ]
    results, mask = measured(language, cases, tmp_path / "out", [*first, *rest])
    words, flute, both, hello = (result.tallies for result in results)
    assert words["modality"] == flute["modality"] == (1, 1)
    assert both["modality"] == hello["modality"] == (0, 1)  # a picture is missing; one that nobody wanted
    assert "valid" not in words
    assert flute["valid"] == both["valid"] == hello["valid"] == (1, 1)
    assert "prompts" not in words
    assert "prompts" not in hello
    assert flute["prompts"] == pytest.approx((chrf("a flat flute", "a flute"), 1))
    assert both["prompts"] == (1.0, 2.0)  # the hum is right, the lips are missing
    assert both["meaning"] == pytest.approx((1.0, 2.0))
    assert words["words"] == pytest.approx((chrf("A blue square.", "A red square."), 1))
    assert "words" not in both
    assert results[3].facts["answer"][:2] == ["No.", "{T-to-I: a cat}"]
    # What was given, what came before and what the row has behind its call can be referred to.
    assert mask.sources[:4] == [
        {1: "image"}, {1: "audio"}, {1: "audio", 2: "image"}, {},
    ]  # fmt: skip
    after = sorted(map(len, mask.sources[4:]))
    assert after == [0, 2, 3]  # nothing stands behind a call that the row does not have


def test_a_malformed_call_counts(language: MultimodalLM, cases: list[DataCase], tmp_path: Path) -> None:
    script = language.script
    opened = next(span.ids[0] for span in script.call(MetaResponse("x", "y")) if isinstance(span, Tokens))
    broken = [opened, *segment(language, "no call", end=True)]
    results, _ = measured(language, cases[3:], tmp_path / "out", [broken])
    assert results[0].tallies["valid"] == (0, 1)
    assert results[0].facts["malformed"]


def test_tokens_are_those_of_the_answer_alone(
    language: MultimodalLM, cases: list[DataCase], tmp_path: Path
) -> None:
    done = [segment(language, "x", end=True)] * 4
    results, _ = measured(language, cases, tmp_path / "out", done)
    encoder = HashEncoder()
    for case, result in zip(cases, results, strict=True):
        transcript = language.transcript(seed=0, sampling=Sampling(0.0, 1.0, 9))
        features = dict(enumerate(encoder.encode(case.context.media), start=1))
        script = language.script
        before = script.context(Context(case.context.turns[:-1]))
        whole = script.context(case.context)
        taken = sum(len(s.ids) if isinstance(s, Tokens) else 3 for s in before)
        ids, sampled = [], []
        for span in whole:
            ids += list(span.ids) if isinstance(span, Tokens) else [-1] * 3
            sampled += [isinstance(span, Tokens) and span.sampled] * (
                len(span.ids) if isinstance(span, Tokens) else 3
            )
        transcript.extend(before, features)
        spans = iter_after(whole, taken)
        right = total = 0
        for span in spans:
            for token in span.ids if isinstance(span, Tokens) and span.sampled else ():
                right += int(transcript.logits().argmax()) == token
                total += 1
                transcript.extend([Tokens((token,), True)])
            if not (isinstance(span, Tokens) and span.sampled):
                transcript.extend([span], features)
        assert result.tallies["tokens"] == (right, total)
        assert total == sum(sampled[taken:])
        assert result.tallies["loss"][1] == total
        assert result.tallies["loss"][0] > 0


def iter_after(spans: Sequence[Any], positions: int) -> list[Any]:
    """What stands behind so many positions (a medium takes three)."""
    rest = []
    for span in spans:
        size = len(span.ids) if isinstance(span, Tokens) else 3
        if positions >= size:
            positions -= size
            continue
        rest.append(Tokens(span.ids[positions:], span.sampled) if positions else span)
        positions = 0
    return rest


def test_a_run_goes_on_from_what_was_kept(
    language: MultimodalLM, cases: list[DataCase], tmp_path: Path
) -> None:
    done = segment(language, "x", end=True)
    some, _ = measured(language, cases[:2], tmp_path / "out", [done] * 2)
    every, mask = measured(language, cases, tmp_path / "out", [done] * 2)
    assert len(mask.sources) == 2  # only what is new was answered
    assert [result.tallies for result in every[:2]] == [result.tallies for result in some]
    assert len(every) == 4


def test_an_encoder_without_text_leaves_the_meaning_out(
    language: MultimodalLM, cases: list[DataCase], tmp_path: Path
) -> None:
    done = segment(language, "x", end=True)
    results, _ = measured(language, cases[1:2], tmp_path / "out", [done], HashEncoder(reads_text=False))
    assert "prompts" in results[0].tallies
    assert "meaning" not in results[0].tallies


def test_a_failure_of_the_row_is_told_again(
    language: MultimodalLM, media: dict[str, Media], tmp_path: Path
) -> None:
    answer = turn(Role.ASSISTANT, ("T-to-I", "a cat"), " Sorry.")
    answer["parts"].insert(1, {"type": "failed", "cause": "it took too long"})
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"turns": [turn(Role.USER, "Draw"), answer]}))
    cases = list(cases_of(read_rows([path]), CALLS, tmp_path))
    assert cases[0].calls[0].outcome == GenerationFailed(0, "it took too long")
    call = segment(language, ("T-to-I", "a cat"), end=False)
    end = segment(language, " Sorry.", end=True)
    results, mask = measured(language, cases, tmp_path / "out", [call, end])
    assert results[0].tallies["words"] == (1.0, 1.0)
    assert results[0].facts["wanted"][1] == "[failed: it took too long]"
    assert mask.sources == [{}, {}]  # a failure takes no number


def test_a_call_that_the_profile_does_not_know_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"turns": [turn(Role.USER, "x"), turn(Role.ASSISTANT, ("T-to-S", "y"))]}))
    with pytest.raises(DataError, match=r"rows\.jsonl:1: nothing in the profile answers to T-to-S"):
        list(cases_of(read_rows([path]), CALLS, tmp_path))


def test_what_came_before_is_read_as_training_reads_it(
    language: MultimodalLM, cases: list[DataCase], tmp_path: Path
) -> None:
    from modaverse.toybox.evaluation import answering

    answerer = Answerer(language, HashEncoder(), CALLS, tmp_path, sampling=Sampling(0.0, 1.0, 1))
    decoder = answering.BatchDecoder(language)
    (row,) = answerer._begin([cases[2].request(0)], decoder)
    wanted = language.script.context(Context(cases[2].context.turns[:-1]))
    ids = [token for span in wanted for token in (span.ids if isinstance(span, Tokens) else (-1,) * 3)]
    assert row.transcript._ids == ids
    assert isinstance(cases[2].answer.parts[0], MetaResponse)
    assert not any(isinstance(part, Text) for part in cases[2].answer.parts)
