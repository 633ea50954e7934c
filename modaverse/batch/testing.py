"""Scripted stand-ins for an engine and for workers: for tests of batch jobs, and to measure what they cost by
themselves.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modaverse.batch.engine import Supply
from modaverse.batch.values import Answered, Failed, Outcome, Request
from modaverse.context import FinishReason, Media, MetaResponse, Modality, Text, Usage
from modaverse.generation import GeneratorPool
from modaverse.interfaces import GenerationRequest, Pixels, Pool, TokenNeeded
from modaverse.media import write_media
from modaverse.orchestrator import Orchestrator
from modaverse.pipeline import ModaVerse
from modaverse.reply import Reply
from modaverse.settings import Profile
from modaverse.testing import VOCABULARY, EchoLanguageModel, ScriptedEncoder, ScriptedGenerator


class ScriptedEngine:
    """Answers a row with its own text, spelled backwards; what it asks for is said by words in it.

    "draw" makes a picture of the row's seed, "fail" fails, "crash" raises `error`, "wait" takes as long as
    nobody cancels. Up to `in_flight` rows are held and given back in an order drawn from `order`; each takes
    `seconds`. `answered` has the ids of rows in the order in which they were given back.
    """

    def __init__(
        self,
        folder: Path,
        *,
        in_flight: int = 1,
        seconds: float = 0.0,
        order: int = 0,
        identity: Mapping[str, str] | None = None,
        error: Exception | None = None,
        before: Callable[[Request], None] = lambda row: None,
    ) -> None:
        self._folder = folder
        self._in_flight = in_flight
        self._seconds = seconds
        self._random = random.Random(order)
        self._identity = dict(identity or {"engine": "scripted"})
        self._error = error or RuntimeError("the script says so")
        self._before = before
        self._cancelled = False
        self.answered: list[str] = []
        self.loads = 0
        self.closed = False

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def identity(self) -> Mapping[str, str]:
        return self._identity

    def load(self) -> None:
        self.loads += 1

    def answer(self, rows: Supply) -> Iterator[Outcome]:
        held: list[Request] = []
        more = True
        while (more or held) and not self._cancelled:
            while more and len(held) < self._in_flight and (not held or rows.ready()):
                row = next(iter(rows), None)
                more = row is not None
                held += [row] if row is not None else []
            if held:
                row = held.pop(self._random.randrange(len(held)))
                outcome = self._outcome(row)
                if outcome is not None:
                    self.answered.append(row.id)
                    yield outcome

    def cancel(self) -> None:
        self._cancelled = True

    def close(self) -> None:
        self.closed = True

    def _outcome(self, row: Request) -> Outcome | None:
        self._before(row)
        text = "".join(part.text for part in row.parts if isinstance(part, Text))
        if self._seconds:
            time.sleep(self._seconds)
        while "wait" in text and not self._cancelled:
            time.sleep(0.01)
        if self._cancelled:
            return None
        if "crash" in text:
            raise self._error
        if "fail" in text:
            return Failed(row.id, "the script says so", "Change the script.", "GenerationError", 0.001)
        record: list[Text | MetaResponse | Media] = [Text(text[::-1])]
        if "draw" in text:
            record += [MetaResponse("T-to-I", text), self._picture(row.seed)]
        usage = Usage(len(text), len(text), 0)
        reply = Reply(row.parts, tuple(record), row.seed, FinishReason.STOP, usage, "scripted")
        return Answered(row.id, reply, 0.001, {"llm": 0.001})

    def _picture(self, seed: int) -> Media:
        import numpy as np

        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        return write_media(Pixels(pixels), self._folder)


# ------------------------------------------------------------------------------- parts of workers

_DEADLY = "deadly"


@dataclass(frozen=True, slots=True)
class ScriptedParts:
    """Workers that answer a row with its own text, in which calls of T-to-I are spelled; implements
    `cluster.parts.Parts`.

    A row that calls for something "deadly" ends the generator worker, one that just says so the LLM worker,
    as a kill -9 would. Each process of a worker leaves its number in the folder `pids`, as the name of a file
    in `llm` or `generators`. A token takes `seconds`.
    """

    pids: Path
    seconds: float = 0.0
    splice: str = "none"
    device: str = "cpu"
    places: int = 2

    def on(self, device: str) -> ScriptedParts:
        return self

    def language_identity(self) -> Mapping[str, str]:
        return {"llm": "scripted"}

    def language(self, folder: Path, pool: Pool) -> ModaVerse:
        self._leave_pid("llm")
        profile = Profile.model_validate(
            {
                "name": "scripted",
                "llm": {"path": "x", "adapter": "y"},
                "encoder": {"path": "z"},
                "answer": {"splice": self.splice},
            }
        )
        language = MortalLanguageModel(self.seconds)

        def assemble(media: Path) -> Orchestrator:
            return Orchestrator(language, ScriptedEncoder(), pool, vocabulary=VOCABULARY)

        return ModaVerse(profile, assemble, folder=folder)

    def generator_identity(self) -> Mapping[str, str]:
        return {"generator of T-to-I": "scripted"}

    def generators(self, folder: Path) -> GeneratorPool:
        painter = ScriptedGenerator("T-to-I", Modality.IMAGE, self._paint, seconds=self.seconds)
        return GeneratorPool([painter], folder, workers=self.places)

    def _paint(self, request: GenerationRequest) -> Pixels:
        import numpy as np

        self._leave_pid("generators")
        if _DEADLY in request.prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        return Pixels(np.random.default_rng(request.seed).integers(0, 256, (8, 8, 3), np.uint8))

    def _leave_pid(self, name: str) -> None:
        (self.pids / name).mkdir(parents=True, exist_ok=True)
        (self.pids / name / str(os.getpid())).touch()


class MortalLanguageModel(EchoLanguageModel):
    """Ends its process where it is to write "deadly" outside of a call."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def step(self, wanted: Sequence[TokenNeeded]) -> Sequence[TokenNeeded]:
        time.sleep(self._seconds)
        for need in wanted:
            said = str(getattr(need.transcript, "log", ""))
            if _DEADLY in said and "<meta>" not in said:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().step(wanted)
