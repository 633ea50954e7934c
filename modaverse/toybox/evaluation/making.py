"""Who answers a call while an answer is measured: mini's generators, or a stand-in that a row asks for.

A maker takes the calls of many answers at once and gives a medium for each, or the error that the LLM is
to be told, or None: then nothing is spliced at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modaverse.context import Media, MetaResponse, Modality
from modaverse.errors import GenerationError
from modaverse.generators.diffusers_adapter import DiffusersGenerator
from modaverse.generators.shared_runs import generate_all
from modaverse.interfaces import Decoded, GenerationRequest, Generator
from modaverse.toybox.evaluation.specimens import Specimen, foreign, fresh, make
from modaverse.toybox.evaluation.words import wish_of
from modaverse.toybox.wordings.wishes import complete


@dataclass(frozen=True, slots=True)
class Order:
    """Call number `call` of the answer to request number `request`; `makes` is the modality it wants."""

    request: int
    call: int
    response: MetaResponse
    makes: Modality
    seed: int
    source: Media | None = None


Made = Decoded | GenerationError | None
Maker = Callable[[Sequence[Order]], list[Made]]

BATCH = {Modality.IMAGE: 32, Modality.VIDEO: 16, Modality.AUDIO: 16}
"""Requests that a generator gets at once: as many as pay on two cores, within some 300 MB."""


def by_generators(generators: Mapping[str, Generator]) -> Maker:
    """A maker that runs the generator of each call, calls of one kind in batches."""

    def maker(orders: Sequence[Order]) -> list[Made]:
        results: dict[int, Made] = {}
        for model in sorted({order.response.model for order in orders}):
            places = [place for place, order in enumerate(orders) if order.response.model == model]
            requests = [_request(orders[place]) for place in places]
            made = run(generators[model], requests) if model in generators else _absent(model, len(places))
            results.update(zip(places, made, strict=True))
        return [results[place] for place in range(len(orders))]

    return maker


def _absent(model: str, count: int) -> list[Made]:
    """What calls get that no generator at hand answers: the row does not ask for such media."""
    return [GenerationError(f"nothing answers {model}", hint="Train that generator.") for _ in range(count)]


def _request(order: Order) -> GenerationRequest:
    response = order.response
    return GenerationRequest(response.model, response.input, order.seed, response.options, order.source)


def run(generator: Generator, requests: Sequence[GenerationRequest]) -> list[Made]:
    """What `generator` makes of each request: in batches where it can, and otherwise one by one."""
    generator.load()
    if isinstance(generator, DiffusersGenerator):
        try:
            return list(generate_all(generator, requests, batch=BATCH[generator.spec.makes]))
        except GenerationError:
            pass  # one of them may be to blame, and only it is to fail
    return [_alone(generator, request) for request in requests]


def _alone(generator: Generator, request: GenerationRequest) -> Made:
    try:
        return generator.generate(request, progress=lambda step, steps: None, cancelled=lambda: False)
    except GenerationError as error:
        return error


def by_renders(orders: Sequence[Order]) -> list[Made]:
    """A fresh render of what each call asks for, so that the LLM alone is measured; something foreign where
    Toybox has no such thing."""
    return [_render(order) for order in orders]


def _render(order: Order) -> Decoded:
    wish = wish_of(order.response.input, order.makes)
    if wish is None:
        return make(foreign(order.makes, order.seed))
    return make(fresh(complete(wish, random.Random(order.seed), held_out=None), order.seed))


def by_specimens(specimens: Sequence[Specimen]) -> Maker:
    """The specimen of each request, whatever its calls ask for."""

    def made(orders: Sequence[Order]) -> list[Made]:
        return [make(specimens[order.request]) for order in orders]

    return made


def nothing(orders: Sequence[Order]) -> list[Made]:
    """No medium and no word about it: the splice is left out."""
    return [None] * len(orders)
