"""A measurement: all cases answered and read, each outcome kept as soon as it is there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from modaverse.context import Context, GenerationFailed, Media, MetaResponse, Text
from modaverse.embeddings import Embeddings
from modaverse.errors import DataError, GenerationError, InputError, ModelError
from modaverse.evaluation.cases import DataCase
from modaverse.evaluation.scoring import Tallies, meaning, prompts, score
from modaverse.interfaces import Encoder
from modaverse.language.batch import IGNORED, Example, length
from modaverse.language.model import MultimodalLM
from modaverse.metaresponse import Catalogue
from modaverse.toybox.evaluation.answering import Answer, Answerer
from modaverse.toybox.evaluation.making import Made, Order
from modaverse.toybox.evaluation.row import Outcome
from modaverse.toybox.evaluation.store import Outcomes

CHUNK = 48
"""Cases that are answered, and kept, together."""

_READ = 4
"""Answers that are read together to see which tokens the LLM would have chosen."""

Report = Callable[[int, int], None]
"""Told (done, of all)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A case and what came of it. `facts` are for people who look it up."""

    key: str
    name: str
    direction: str
    tallies: Tallies
    facts: dict[str, object]


def measure(
    cases: Sequence[DataCase],
    measurer: Measurer,
    folder: Path,
    *,
    weights: str,
    report: Report = lambda done, count: None,
) -> list[Measured]:
    """Measure cases, or take what a run in this folder has kept of the same cases and `weights`.

    Raises:
        DataError: there are no cases.
        StorageError: the folder cannot be written.
    """
    if not cases:
        raise DataError("There are no rows to evaluate on", hint="Give a file of rows that is not empty.")
    store = Outcomes(folder)
    keys = [hashlib.sha256(f"{case.key} {weights}".encode()).hexdigest()[:24] for case in cases]
    new = [place for place, key in enumerate(keys) if store.find(key) is None]
    for start in range(0, len(new), CHUNK):
        report(len(cases) - len(new) + start, len(cases))
        begun = time.perf_counter()
        places = new[start : start + CHUNK]
        outcomes = measurer.outcomes([cases[place] for place in places])
        store.append("data", [keys[place] for place in places], outcomes, time.perf_counter() - begun)
    report(len(cases), len(cases))
    found = zip(cases, map(store.find, keys), strict=True)
    return [_measured(case, outcome) for case, outcome in found if outcome is not None]


def _measured(case: DataCase, outcome: Outcome) -> Measured:
    tallies: Tallies = {name: (above, below) for name, (above, below) in outcome.numbers.items()}
    return Measured(case.key, case.name, case.direction, tallies, dict(outcome.facts))


class Measurer:
    """Puts cases to an LLM.

    Args:
        answerer: has the LLM, its sampling and its mask.
        calls: what the profile's generators take.
        seed: of the sampling, where there is some.
    """

    def __init__(self, answerer: Answerer, encoder: Encoder, calls: Catalogue, *, seed: int = 0) -> None:
        self._answerer = answerer
        self._encoder = encoder
        self._embeddings = Embeddings(encoder)
        self._calls = calls
        self._seed = seed
        self.without_meaning = ""
        """Why the meaning of prompts is not measured, where the encoder turned out to read no text."""

    def outcomes(self, cases: Sequence[DataCase]) -> list[Outcome]:
        """What came of some cases, in order."""
        requests = [case.request(self._seed + place) for place, case in enumerate(cases)]
        answers = self._answerer.answer(requests, lambda orders: _from_rows(cases, orders))
        tokens = self._tokens(cases)
        outcomes = []
        for case, answer in zip(cases, answers, strict=True):
            tallies = score(case, answer, self._calls) | next(tokens)
            if case.calls and not self.without_meaning:
                self._add_meaning(case, answer, tallies)
            numbers = {name: list(pair) for name, pair in tallies.items()}
            outcomes.append(Outcome(case.name, numbers=numbers, facts=_facts(case, answer)))
        return outcomes

    def _add_meaning(self, case: DataCase, answer: Answer, tallies: Tallies) -> None:
        pairs = prompts(case, answer, self._calls)
        texts = list({text for pair in pairs for text in pair if text})
        try:
            known = dict(zip(texts, self._embeddings.texts(texts), strict=True))
        except (InputError, ModelError) as error:  # no text trunk, or no tokenizer for it
            self.without_meaning = error.message
            return
        tallies["meaning"] = meaning([(known.get(mine), known[wanted]) for mine, wanted in pairs])

    # ------------------------------------------------------------------------------- token by token

    def _tokens(self, cases: Sequence[DataCase]) -> Iterator[Tallies]:
        """Right tokens, and loss, of each case's own answer, in order."""
        examples = self._examples(cases)
        order = sorted(range(len(cases)), key=lambda place: length(examples[place][0].spans, self._k))
        found: dict[int, Tallies] = {}
        for start in range(0, len(order), _READ):
            places = order[start : start + _READ]
            found |= zip(places, _read(self._language, [examples[place] for place in places]), strict=True)
        return (found[place] for place in range(len(cases)))

    @property
    def _language(self) -> MultimodalLM:
        return self._answerer.language

    @property
    def _k(self) -> int:
        return self._language.config.projector.k

    def _examples(self, cases: Sequence[DataCase]) -> list[tuple[Example, int]]:
        """Transcripts as training reads them, and where the answer begins in each."""
        script = self._language.script
        media = {medium.sha256: medium for case in cases for medium in case.context.media}
        embedded = dict(zip(media, self._encoder.encode(list(media.values())), strict=True))
        examples = []
        for case in cases:
            features = {n: embedded[m.sha256] for n, m in enumerate(case.context.media, start=1)}
            before = script.context(Context(case.context.turns[:-1]))
            examples.append((Example(script.context(case.context), features), length(before, self._k)))
        return examples


@torch.inference_mode()
def _read(language: MultimodalLM, examples: Sequence[tuple[Example, int]]) -> list[Tallies]:
    """One pass over some transcripts (b rows, s positions)."""
    batch = language.collate([example for example, _ in examples])
    labels = batch["labels"]
    for row, (_, begin) in enumerate(examples):
        labels[row, :begin] = IGNORED
    inputs = {name: value.to(language.device) for name, value in batch.items()}  # type: ignore[attr-defined]
    logits = language(**inputs).logits[:, :-1].float()  # (b, s - 1, vocabulary)
    targets = inputs["labels"][:, 1:]
    losses = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none").sum(1)
    right = ((logits.argmax(-1) == targets) & (targets != IGNORED)).sum(1)
    counts = (targets != IGNORED).sum(1)
    return [
        {"tokens": (float(r), float(n)), "loss": (float(loss), float(n))}
        for r, loss, n in zip(right, losses, counts, strict=True)
    ]


def _from_rows(cases: Sequence[DataCase], orders: Sequence[Order]) -> list[Made | Media]:
    """What came of the row's call at the same place, or else of the first that makes the same."""
    made: list[Made | Media] = []
    for order in orders:
        calls = cases[order.request].calls
        candidates = (*calls[order.call : order.call + 1], *calls)
        outcome = next((wanted.outcome for wanted in candidates if wanted.makes is order.makes), None)
        made.append(GenerationError(outcome.cause) if isinstance(outcome, GenerationFailed) else outcome)
    return made


def _facts(case: DataCase, answer: Answer) -> dict[str, object]:
    """What people want to see of a case that went wrong."""
    facts: dict[str, object] = {
        "request": [_fact(part) for part in case.context.turns[-2].parts],
        "wanted": [_fact(part) for part in case.answer.parts],
        "answer": [_fact(part) for part in answer.parts],
    }
    if answer.malformed:
        facts["malformed"] = list(answer.malformed)
    return facts


def _fact(part: object) -> str:
    match part:
        case Text(text=text):
            return text
        case Media(path=path):
            return f"[{path.name}]"
        case MetaResponse(model=model, input=prompt):
            return f"{{{model}: {prompt}}}"
        case GenerationFailed(cause=cause):
            return f"[failed: {cause}]"
        case _:
            return str(part)
