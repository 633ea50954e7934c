"""What counts of an answer: each measure as two numbers, what was reached and of how much.

    valid        answers without a malformed call, of those that call or should
    modality     answers whose calls make just what the row's calls make, no more and no less
    prompts      chrF of the calls' prompts, call by call; one that is missing counts 0
    meaning      cosine of the same prompts in ImageBind's space, where it reads text
    words        chrF of the words around the calls
    tokens       tokens of the row's answer that the LLM would have chosen, each after the right ones
    loss         nats of the same tokens

Sums of both over many cases, divided, are the measure of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from modaverse.context import MetaResponse, Modality
from modaverse.evaluation.cases import DataCase
from modaverse.evaluation.chrf import chrf
from modaverse.interfaces import CallSpec
from modaverse.toybox.evaluation.answering import Answer

TITLES = {
    "valid": "valid calls",
    "modality": "right modality",
    "prompts": "prompts, chrF",
    "meaning": "prompts, meaning",
    "words": "words, chrF",
    "tokens": "right tokens",
    "loss": "loss of a token",
}

Tallies = dict[str, tuple[float, float]]
"""Measure → what was reached, and of how much. One that a case does not ask for is not there."""


def score(case: DataCase, answer: Answer, calls: Mapping[str, CallSpec]) -> Tallies:
    """All that can be told without a model; `calls` says what each call makes."""
    tallies: Tallies = {}
    said = [(call, calls[call.model].makes) for call in answer.calls]
    if case.calls or said or answer.malformed:
        tallies["valid"] = (float(not answer.malformed), 1.0)
    made = sorted(makes for _, makes in said)
    tallies["modality"] = (float(made == sorted(case.made.elements())), 1.0)
    if case.calls:
        agreed = sum(chrf(mine, wanted) for mine, wanted in prompts(case, answer, calls) if mine)
        tallies["prompts"] = (agreed, float(len(case.calls)))
    if case.text.strip():
        tallies["words"] = (chrf(answer.text, case.text), 1.0)
    return tallies


def prompts(case: DataCase, answer: Answer, calls: Mapping[str, CallSpec]) -> list[tuple[str, str]]:
    """(said, wanted) for each call of the row; said is empty where no call of its modality is left."""
    left: dict[Modality, list[MetaResponse]] = {}
    for call in answer.calls:
        left.setdefault(calls[call.model].makes, []).append(call)
    pairs = []
    for wanted in case.calls:
        mine = left.get(wanted.makes, [])
        pairs.append((mine.pop(0).input if mine else "", wanted.call.input))
    return pairs


def meaning(pairs: Sequence[tuple[torch.Tensor | None, torch.Tensor]]) -> tuple[float, float]:
    """Cosines of embeddings (d,) of prompts; None stands for one that is missing."""
    cosines = (torch.cosine_similarity(mine, wanted, dim=0) for mine, wanted in pairs if mine is not None)
    return float(sum(max(0.0, float(cosine)) for cosine in cosines)), float(len(pairs))
