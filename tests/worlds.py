"""An orchestrator and a `ModaVerse` on scripts, for the tests of answering."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modaverse.context import Event, Media, Modality, Text, TextDelta
from modaverse.generation import GeneratorPool
from modaverse.interfaces import Frames, Pixels, Sampling, Waveform
from modaverse.media import write_media
from modaverse.metaresponse import Catalogue, Limits, TokenMask
from modaverse.orchestrator import AnswerSettings, Conversation, Orchestrator
from modaverse.pipeline import ModaVerse
from modaverse.settings import Profile
from modaverse.testing import VOCABULARY, ScriptedEncoder, ScriptedGenerator, ScriptedLanguageModel

CAT = '<meta>{"Model": "T-to-I", "Input": "a cat"}</meta>'
BELL = '<meta>{"Model": "T-to-A", "Input": "a bell"}</meta>'


def picture(shade: int = 9) -> Pixels:
    return Pixels(np.full((4, 4, 3), shade, np.uint8))


def sound() -> Waveform:
    return Waveform(np.zeros((1600, 1), np.float32), 16000)


def clip() -> Frames:
    return Frames(np.zeros((4, 16, 16, 3), np.uint8), 8.0)


class World:
    """An orchestrator on scripts, and what happened in it."""

    def __init__(
        self,
        folder: Path,
        *answers: str | Sequence[int],
        generators: Sequence[ScriptedGenerator] = (),
        masked: bool = False,
        context_length: int = 10_000,
        limits: Limits | None = None,
        workers: int = 2,
        reads_text: bool = True,
    ) -> None:
        self.folder = folder
        self.generators = list(generators) or [
            ScriptedGenerator("T-to-I", Modality.IMAGE, *(picture(shade) for shade in range(1, 9))),
            ScriptedGenerator("T-to-A", Modality.AUDIO, *[sound()] * 4),
            ScriptedGenerator("T-to-V", Modality.VIDEO, *[clip()] * 4),
            ScriptedGenerator("TI-to-I", Modality.IMAGE, *[picture(99)] * 4, source=Modality.IMAGE),
        ]
        self.pool = GeneratorPool(self.generators, folder, workers=workers)
        self.language = ScriptedLanguageModel(*answers, context_length=context_length)
        self.encoder = ScriptedEncoder(reads_text=reads_text)
        mask = TokenMask.compile(VOCABULARY, Catalogue(self.pool.catalogue.values())) if masked else None
        self.orchestrator = Orchestrator(
            self.language,
            self.encoder,
            self.pool,
            vocabulary=VOCABULARY,
            mask=mask,
            limits=limits or Limits(),
        )
        self.chat: Conversation = self.orchestrator.conversation()

    def stream(
        self, *parts: Text | Media, seed: int = 7, tokens: int = 2000, **settings: Any
    ) -> Iterator[Event]:
        sampling = Sampling(max_new_tokens=tokens)
        return self.orchestrator.stream(self.chat, parts, AnswerSettings(seed, sampling, **settings))

    def ask(self, *parts: Text | Media, **settings: Any) -> list[Event]:
        return list(self.stream(*(parts or (Text("Hi"),)), **settings))

    def given(self, value: Pixels | Waveform | Frames) -> Media:
        return write_media(value, self.folder)

    @property
    def log(self) -> list[tuple[Any, ...]]:
        """The transcript's log, runs of tokens as the text that they spell."""
        log: list[tuple[Any, ...]] = []
        for entry in self.language.transcripts[0].log:
            if entry[0] != "token":
                log.append(entry[:3] if entry[0] == "media" else entry)
                continue
            text = VOCABULARY.text([entry[1]])
            if log and log[-1][0] == "wrote":
                log[-1] = ("wrote", log[-1][1] + text)
            else:
                log.append(("wrote", text))
        return log


def kinds(events: Sequence[Event]) -> list[str]:
    """The kinds of events, runs of the same kind once."""
    names = [type(event).__name__ for event in events]
    return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def only(events: Sequence[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


PROFILE = Profile.model_validate(
    {"name": "scripted", "llm": {"path": "x", "adapter": "y"}, "encoder": {"path": "z"}}
)
Make = Callable[..., ModaVerse]
"""What the fixture `scripted` gives: a maker of `modaverse_on` the answers that it is told."""


def pictures() -> ScriptedGenerator:
    """Paints each call another shade."""
    return ScriptedGenerator("T-to-I", Modality.IMAGE, *(picture(shade) for shade in range(50, 60)))


def modaverse_on(folder: Path, *answers: str, generator: ScriptedGenerator | None = None) -> ModaVerse:
    """A `ModaVerse` whose LLM writes `answers`."""

    def parts(folder: Path) -> Orchestrator:
        pool = GeneratorPool([generator or pictures()], folder)
        return Orchestrator(ScriptedLanguageModel(*answers), ScriptedEncoder(), pool, vocabulary=VOCABULARY)

    return ModaVerse(PROFILE, parts, folder=folder)


def log_of(mv: ModaVerse) -> list[Any]:
    """What its newest transcript was given, without the tokens that were sampled."""
    language = mv.orchestrator.language
    assert isinstance(language, ScriptedLanguageModel)
    return [entry[:3] for entry in language.transcripts[-1].log if entry[0] != "token"]
