"""Rows answered by a `ModaVerse` over scripted models, one at a time; and what tells models apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modaverse.batch.identity import profile_identity
from modaverse.batch.local import LocalEngine
from modaverse.batch.run import run_batch
from modaverse.batch.settings import BatchSettings
from modaverse.batch.values import Answered, Failed, Options, Request
from modaverse.context import Modality, Text
from modaverse.errors import GenerationError, ModelNotFound
from modaverse.generation import GeneratorPool
from modaverse.interfaces import Pixels
from modaverse.media import write_media
from modaverse.orchestrator import Orchestrator
from modaverse.pipeline import ModaVerse
from modaverse.settings import Profile
from modaverse.testing import VOCABULARY, ScriptedEncoder, ScriptedGenerator, ScriptedLanguageModel

CAT = '<meta>{"Model": "T-to-I", "Input": "a cat"}</meta>'
Make = Callable[..., LocalEngine]


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    for name in ("llm", "adapter", "encoder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    values = {"path": tmp_path / "llm", "adapter": tmp_path / "adapter"}
    return Profile.model_validate(
        {"name": "scripted", "llm": values, "encoder": {"path": tmp_path / "encoder"}, "device": "cpu"}
    )


@pytest.fixture
def engine(tmp_path: Path, profile: Profile) -> Iterator[Make]:
    made: list[LocalEngine] = []

    def make(*answers: str, results: list[Any] | None = None, **options: Any) -> LocalEngine:
        pictures = [Pixels(np.full((4, 4, 3), shade, np.uint8)) for shade in range(5)]

        def parts(folder: Path) -> Orchestrator:
            generator = ScriptedGenerator("T-to-I", Modality.IMAGE, *(results or pictures), **options)
            return Orchestrator(
                ScriptedLanguageModel(*answers),
                ScriptedEncoder(),
                GeneratorPool([generator], folder),
                vocabulary=VOCABULARY,
            )

        models = ModaVerse(profile, parts, folder=tmp_path / "out" / "media")
        made.append(LocalEngine(models, rows=1))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Given:
    """Rows that are all there; implements `engine.Supply`."""

    def __init__(self, *rows: Request) -> None:
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        return next(self._rows)

    def ready(self) -> bool:
        return True


def request(row_id: str, *parts: Any, **options: Any) -> Request:
    texts = tuple(Text(part) if isinstance(part, str) else part for part in parts)
    return Request(row_id, texts, 7, Options(**options))


def test_rows_are_answered_one_by_one(engine: Make, tmp_path: Path) -> None:
    picture = write_media(Pixels(np.zeros((4, 4, 3), np.uint8)), tmp_path)
    rows = Given(request("a", picture, "Look"), request("b", "Draw", max_new_tokens=1000))
    first, second = engine("Nice.", f"Here: {CAT}!").answer(rows)
    assert isinstance(first, Answered)
    assert isinstance(second, Answered)
    assert (first.id, first.reply.text, first.reply.request) == ("a", "Nice.", (picture, Text("Look")))
    assert (second.reply.text, second.reply.seed) == ("Here: !", 7)
    assert second.reply.media[0].path.parent == tmp_path / "out" / "media"
    assert set(second.stages) == {"llm", "generators"}
    assert sum(second.stages.values()) <= second.seconds


def test_what_fails_costs_its_row_alone(engine: Make) -> None:
    error = GenerationError("no memory", hint="Free some.")
    rows = Given(request("a"), request("b", "Draw"), request("c", "Hi"), request("d", "more than there is"))
    empty, drawn, said, unscripted = engine(f"Here: {CAT} so", "Hello.", results=[error]).answer(rows)
    assert isinstance(empty, Failed)
    assert (empty.kind, empty.cause) == ("InputError", "The request is empty")
    assert isinstance(drawn, Failed)
    assert (drawn.kind, drawn.cause, drawn.hint) == (
        "GenerationError",
        "T-to-I made nothing: no memory",
        "Free some.",
    )
    assert drawn.reply is not None
    assert drawn.reply.text == "Here:  so"
    assert isinstance(said, Answered)
    assert isinstance(unscripted, Failed)
    assert unscripted.cause == "RuntimeError: The script has no more tokens"
    assert unscripted.hint


def test_a_whole_job(engine: Make, tmp_path: Path, bench, row) -> None:
    bench.write([row("a", "Hello"), row("b", "Draw")])
    own = engine("Hi.", f"Here: {CAT}")
    settings = BatchSettings()
    events = list(run_batch(bench.jobs, bench.out, own, settings))
    assert events[-1].progress.answered == 2
    assert [entry["text"] for entry in bench.results] == ["Hi.", "Here: "]
    assert (bench.out / bench.results[1]["media"][0]).is_file()


def test_what_decides_answers_is_the_identity(profile: Profile) -> None:
    before = profile_identity(profile)
    assert before == profile_identity(profile.model_copy(update={"name": "other", "description": "x"}))
    assert not any(str(profile.llm.path) in value for value in before.values())
    changed = profile.model_copy(update={"answer": profile.answer.model_copy(update={"temperature": 0.5})})
    assert {name for name, value in profile_identity(changed).items() if before[name] != value} == {
        "answer.temperature"
    }
    larger = profile.model_copy(update={"media": profile.media.model_copy(update={"max_bytes": 1})})
    assert profile_identity(larger) == before
    assert profile.llm.adapter is not None
    (profile.llm.adapter / "config.json").write_text("{ }")
    assert profile_identity(profile)["weights of adapter"] != before["weights of adapter"]
    gone = profile.model_copy(update={"encoder": profile.encoder.model_copy(update={"path": Path("/no")})})
    with pytest.raises(ModelNotFound, match="/no"):
        profile_identity(gone)
