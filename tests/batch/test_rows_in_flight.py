"""Rows in flight together: each is answered, whatever the others do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modaverse.batch.local import LocalEngine
from modaverse.batch.values import Answered, Failed, Options, Outcome, Request
from modaverse.cli.batch_job import sharing_runs
from modaverse.context import Modality, Text
from modaverse.errors import CheckpointError, GenerationError, StorageError
from modaverse.generation import GeneratorPool
from modaverse.interfaces import GenerationRequest, Pixels
from modaverse.media import write_media
from modaverse.orchestrator import Orchestrator
from modaverse.pipeline import ModaVerse
from modaverse.settings import Profile
from modaverse.testing import VOCABULARY, EchoLanguageModel, ScriptedEncoder, ScriptedGenerator

CAT = '<meta>{"Model": "T-to-I", "Input": "a cat"}</meta>'
PROFILE = Profile.model_validate(
    {"name": "scripted", "llm": {"path": "x", "adapter": "y"}, "encoder": {"path": "z"}}
)


class Supply:
    """Rows that are there, and a look at how many were taken."""

    def __init__(self, rows: Sequence[Request]) -> None:
        self._rows = list(rows)
        self.taken = 0

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        if self.taken == len(self._rows):
            raise StopIteration
        self.taken += 1
        return self._rows[self.taken - 1]

    def ready(self) -> bool:
        return True


def row(index: int, text: str, **options: Any) -> Request:
    return Request(str(index), (Text(text),), index, Options(**options))


class World:
    def __init__(self, folder: Path) -> None:
        self.language = EchoLanguageModel(context_length=1000)
        self.encoder = ScriptedEncoder()
        self.painter = ScriptedGenerator("T-to-I", Modality.IMAGE, self.paint)
        self.error: Exception | None = None

        def parts(media: Path) -> Orchestrator:
            pool = GeneratorPool([self.painter], media)
            return Orchestrator(self.language, self.encoder, pool, vocabulary=VOCABULARY)

        self.models = ModaVerse(PROFILE, parts, folder=folder)
        self.engine = LocalEngine(self.models, rows=4)

    def paint(self, request: GenerationRequest) -> Pixels:
        if self.error is not None:
            raise self.error
        return Pixels(np.full((4, 4, 3), request.seed % 251, np.uint8))

    def answer(self, *rows: Request) -> dict[str, Outcome]:
        return {outcome.id: outcome for outcome in self.engine.answer(Supply(rows))}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.engine.close()


def test_every_row_is_answered_as_it_would_be_alone(world: World) -> None:
    rows = [row(index, f"Row {index}{CAT * (index % 2)}" + "." * index) for index in range(10)]
    alone = [world.models.run(request.parts[0].text, seed=request.seed) for request in rows]  # type: ignore[union-attr]
    world.engine.load()
    outcomes = world.answer(*rows)
    for request, expected in zip(rows, alone, strict=True):
        outcome = outcomes[request.id]
        assert isinstance(outcome, Answered)
        assert outcome.reply.parts == expected.parts
        assert outcome.reply.usage == expected.usage
        assert 0 < outcome.stages["llm"] <= outcome.seconds
    assert world.engine.in_flight == max(world.language.steps) == 4


def test_what_is_wrong_with_a_row_is_its_own_failure(world: World) -> None:
    world.error = GenerationError("no paint", hint="Buy some.")
    outcomes = world.answer(
        row(0, "a" * 2000), row(1, "Fine."), row(2, CAT), row(3, "", max_new_tokens=3), row(4, "Fine too.")
    )
    failed = {
        outcome.id: (outcome.kind, outcome.cause)
        for outcome in outcomes.values()
        if isinstance(outcome, Failed)
    }
    assert set(failed) == {"0", "2", "3"}
    assert failed["0"][0] == "ContextOverflow"
    assert failed["2"] == ("GenerationError", "T-to-I made nothing: no paint")
    assert failed["3"] == ("InputError", "The request is empty")
    assert {outcome.id for outcome in outcomes.values() if isinstance(outcome, Answered)} == {"1", "4"}


def test_what_concerns_all_rows_ends_the_job(world: World) -> None:
    medium = write_media(Pixels(np.zeros((4, 4, 3), np.uint8)), world.models.folder)
    for error in (CheckpointError("gone"), StorageError("the disk is full")):
        world.encoder.failure = error
        with pytest.raises(type(error)):
            world.answer(row(0, "Fine."), Request("1", (medium,), 1))


def test_rows_in_flight_are_given_up_when_the_job_is(world: World) -> None:
    supply = Supply([row(0, "Hi"), *(row(index, "So long " * 9) for index in range(1, 9))])
    answers = world.engine.answer(supply)
    assert next(answers).id == "0"
    world.engine.cancel()
    assert list(answers) == []
    assert supply.taken == 4
    assert len(world.language.released) == 4


def test_calls_of_several_rows_may_share_runs_unless_the_profile_says_otherwise() -> None:
    assert PROFILE.generators.batch == 1
    assert sharing_runs(PROFILE).generators.batch > 1
    alone = Profile.model_validate(PROFILE.model_dump(exclude_unset=True) | {"generators": {"batch": 1}})
    assert sharing_runs(alone).generators.batch == 1
