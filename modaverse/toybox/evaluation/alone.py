"""Rows that measure one part by itself: the judge, a generator on plain captions, the encoder.

They need no language model, so they tell how a part's training goes before the whole can be run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from modaverse.context import Modality
from modaverse.errors import GenerationError
from modaverse.generators.card import load_card
from modaverse.generators.diffusers_adapter import DiffusersGenerator, PipelineWeights
from modaverse.interfaces import Decoded, GenerationRequest, Generator
from modaverse.media import decode, write_media
from modaverse.toybox.evaluation.making import BATCH, run
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.evaluation.row import Bar, Case, Outcome, Row
from modaverse.toybox.evaluation.seeing import shown
from modaverse.toybox.evaluation.specimens import as_kept, fresh, given, make, spoilt
from modaverse.toybox.evaluation.statistics import proportion
from modaverse.toybox.judge import NONE, QUESTIONS, Judge, Verdict
from modaverse.toybox.recipes.encoder import token_ids
from modaverse.toybox.tokenizer import load_tokenizer
from modaverse.toybox.wordings.captions import plain_caption
from modaverse.toybox.wordings.wishes import AnyScene, Wish, wish_for
from modaverse.toybox.world import COLOURS, THINGS, random_clip_scene, random_scene, random_sound_scene

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

BARS_OF: Mapping[Modality, Mapping[str, float]] = {
    Modality.IMAGE: {"thing": 0.95, "colour": 0.95, "backdrop": 0.95},
    Modality.VIDEO: {"thing": 0.90, "colour": 0.90, "direction": 0.90},
    Modality.AUDIO: {"thing": 0.90, "pitch": 0.90, "pace": 0.90},
}
"""What a medium made from words must show, and how often."""

_NOUN = {Modality.IMAGE: "picture", Modality.VIDEO: "clip", Modality.AUDIO: "sound"}


def random_scene_of(modality: Modality, rng: random.Random, *, held_out: bool | None) -> AnyScene:
    match modality:
        case Modality.IMAGE:
            return random_scene(rng, held_out=held_out)
        case Modality.VIDEO:
            return random_clip_scene(rng, held_out=held_out)
        case Modality.AUDIO:
            return random_sound_scene(rng, held_out=held_out)


def agreement(wish: Wish, verdict: Verdict) -> dict[str, bool]:
    """For each attribute that `wish` says, whether the judge sees it."""
    marks = {name: getattr(verdict, name) == value for name, value in wish.attributes.items()}
    return {**marks, "thing": verdict.thing in wish.things}


# ------------------------------------------------------------------------------- generators, alone

Sampler = Callable[[Sequence[str], Sequence[int]], Sequence[Decoded]]
"""(captions, seeds) → media: anything that makes media from words."""


def measure_generator(
    generator: Generator | Sampler | DiffusionPipeline,
    modality: Modality,
    judge: Judge,
    *,
    wishes: Sequence[Wish] | None = None,
    n: int = 200,
    seed: int = 0,
    held_out: bool | None = True,
    keep: Callable[[Decoded], Decoded] = lambda decoded: decoded,
) -> dict[str, float]:
    """How often the judge sees what a generator was asked for, for each attribute and for all at once.

    Args:
        generator: a `Generator` (its `load` is called), a diffusers pipeline with mini's parts (it runs as
            mini's card says), or a function of (captions, seeds).
        wishes: what is asked for; `n` random whole scenes by default: `held_out` ones, those of training
            (False) or both (None).
        keep: what becomes of a medium before it is judged (see `seeing.as_kept`).

    Returns:
        Shares between 0 and 1, and under "none" that of media in which the judge sees nothing at all.

    Raises:
        GenerationError: the generator failed.
    """
    if wishes is None:
        rng = random.Random(f"{seed}:{modality}")
        wishes = [wish_for(random_scene_of(modality, rng, held_out=held_out)) for _ in range(n)]
    seeds = [seed + place for place in range(len(wishes))]
    sample = sampler(generator, modality)
    verdicts: list[Verdict] = []
    for start in range(0, len(wishes), BATCH[modality]):
        some = slice(start, start + BATCH[modality])
        made = sample([plain_caption(wish) for wish in wishes[some]], seeds[some])
        verdicts += judge([keep(decoded) for decoded in made])
    marks: dict[str, list[bool]] = {}
    for wish, verdict in zip(wishes, verdicts, strict=True):
        right = agreement(wish, verdict)
        for name, mark in {**right, "all": all(right.values()), NONE: verdict.thing == NONE}.items():
            marks.setdefault(name, []).append(mark)
    return {name: proportion(values).value for name, values in marks.items()}


def sampler(generator: Generator | Sampler | DiffusionPipeline, modality: Modality) -> Sampler:
    """`generator` as a function of (captions, seeds)."""
    from diffusers import DiffusionPipeline

    if isinstance(generator, DiffusionPipeline):
        card = load_card(f"mini-{modality}")
        generator = DiffusersGenerator(card, Path(), weights=PipelineWeights.holding(card, generator))
    if callable(generator):
        return generator
    known = generator

    def sample(captions: Sequence[str], seeds: Sequence[int]) -> list[Decoded]:
        model = known.spec.model
        requests = [GenerationRequest(model, c, s) for c, s in zip(captions, seeds, strict=True)]
        made: list[Decoded] = []
        for one in run(known, requests):
            if one is None or isinstance(one, GenerationError):
                raise one or GenerationError(f"{model} made nothing", hint="Report this as a bug.")
            made.append(one)
        return made

    return sample


def generator_row(modality: Modality) -> Row:
    """Plain captions of whole held-out scenes → generator → judge."""
    bars = BARS_OF[modality]
    rest = [name for name in QUESTIONS[modality] if name not in bars]
    return Row(
        name=f"generator-{modality}",
        title=f"{_NOUN[modality]} generator alone, plain captions of held-out scenes",
        needs=(modality, f"judge-{modality}"),
        bars=(
            *(Bar(name, name, at_least=bar) for name, bar in bars.items()),
            *(Bar(name, name) for name in rest),
            Bar(NONE, "nothing to be seen" if modality is not Modality.AUDIO else "nothing to be heard"),
        ),
        count=200,
        cases=partial(_generator_cases, modality),
        run=partial(_run_generator, modality),
        chunk=BATCH[modality],
    )


def _generator_cases(modality: Modality, count: int, seed: int) -> list[Case]:
    rng = random.Random(f"generator:{modality}:{seed}")
    wishes = [wish_for(random_scene_of(modality, rng, held_out=True)) for _ in range(count)]
    return [Case(f"{i:04d}", seed=i, wishes=(wish,)) for i, wish in enumerate(wishes)]


def _run_generator(modality: Modality, parts: Parts, cases: Sequence[Case]) -> list[Outcome]:
    captions = [plain_caption(case.wishes[0]) for case in cases]
    made = sampler(parts.generator(modality), modality)(captions, [case.seed for case in cases])
    files = [write_media(one, parts.media) for one in made]
    outcomes = []
    for case, caption, file, verdict in zip(
        cases, captions, files, parts.judge([decode(file) for file in files]), strict=True
    ):
        marks = {**agreement(case.wishes[0], verdict), NONE: verdict.thing == NONE}
        facts = {"caption": caption, "file": file.path.name, "seen": shown(verdict)}
        outcomes.append(Outcome(case.id, marks=marks, facts=facts))
    return outcomes


# -------------------------------------------------------------------------------------- the judge


def judge_row(modality: Modality) -> Row:
    """As many fresh renders (of any scene) as spoilt ones."""
    return Row(
        name=f"judge-{modality}",
        title=f"the judge on {_NOUN[modality]}s",
        needs=(f"judge-{modality}",),
        bars=(
            *(Bar(name, f"{name}, fresh renders", at_least=0.99) for name in QUESTIONS[modality]),
            Bar(NONE, "“none” on spoilt ones", at_least=0.95),
        ),
        count=1000,
        cases=partial(_judge_cases, modality),
        run=_run_judge,
        chunk=60,
    )


def _judge_cases(modality: Modality, count: int, seed: int) -> list[Case]:
    rng = random.Random(f"judge:{modality}:{seed}")
    cases = []
    for i in range(count):
        scene = random_scene_of(modality, rng, held_out=None)
        number = 10_000 * (seed + 1) + i
        specimen = spoilt(modality, number) if i % 2 else fresh(scene, number)
        cases.append(Case(f"{i:04d}", seed=i, parts=(specimen,)))
    return cases


def _run_judge(parts: Parts, cases: Sequence[Case]) -> list[Outcome]:
    specimens = [specimen for case in cases for specimen in given(case.parts)]
    verdicts = parts.judge([as_kept(make(specimen)) for specimen in specimens])
    outcomes = []
    for case, specimen, verdict in zip(cases, specimens, verdicts, strict=True):
        scene = specimen.scene
        marks = {NONE: verdict.thing == NONE} if scene is None else agreement(wish_for(scene), verdict)
        outcomes.append(Outcome(case.id, marks=marks, facts={"seen": shown(verdict)}))
    return outcomes


# ------------------------------------------------------------------------------------ the encoder


def encoder_row(modality: Modality) -> Row:
    """Of which caption a held-out render's embedding is the nearest: "a cat", "a red thing"."""
    colours = modality is not Modality.AUDIO
    return Row(
        name=f"encoder-{modality}",
        title=f"the encoder on {_NOUN[modality]}s: the nearest caption",
        needs=("encoder",),
        bars=(Bar("thing", "thing"), *((Bar("colour", "colour"),) if colours else ())),
        count=200,
        cases=partial(held_out_renders, "encoder", 500_000, modality),
        run=partial(_run_encoder, modality),
        chunk=50,
    )


def held_out_renders(name: str, first: int, modality: Modality, count: int, seed: int) -> list[Case]:
    """Cases that give a fresh render of a held-out scene each; renders are numbered from `first`."""
    rng = random.Random(f"{name}:{modality}:{seed}")
    scenes = [random_scene_of(modality, rng, held_out=True) for _ in range(count)]
    return [
        Case(f"{i:04d}", seed=i, parts=(fresh(scene, first + i),), scene=scene)
        for i, scene in enumerate(scenes)
    ]


def _run_encoder(modality: Modality, parts: Parts, cases: Sequence[Case]) -> list[Outcome]:
    things = [plain_caption(Wish(modality, thing)) for thing in THINGS]
    coloured = modality is not Modality.AUDIO
    colours = [plain_caption(Wish(modality, "something", colour=c)) for c in COLOURS] if coloured else []
    text = _embed_text(parts, [*things, *colours])
    specimens = [specimen for case in cases for specimen in given(case.parts)]
    media = [as_kept(make(specimen)) for specimen in specimens]
    near = F.normalize(parts.encoder.encode_decoded(media), dim=-1) @ text.T
    outcomes = []
    for case, row in zip(cases, near, strict=True):
        said = {"thing": THINGS[int(row[: len(things)].argmax())]}
        if coloured:
            said["colour"] = COLOURS[int(row[len(things) :].argmax())]
        marks = {name: value == getattr(case.scene, name) for name, value in said.items()}
        outcomes.append(Outcome(case.id, marks=marks, facts={"nearest": said}))
    return outcomes


def _embed_text(parts: Parts, texts: Sequence[str]) -> torch.Tensor:
    """(n, d), of length 1, by the tokenizer that mini's encoder was trained with."""
    encoder = parts.encoder
    ids = token_ids(load_tokenizer(), texts, encoder.config)
    with torch.inference_mode():
        return F.normalize(encoder.net({"text": ids})["text"], dim=-1)


def alone_rows() -> tuple[Row, ...]:
    return tuple(
        make_row(modality) for make_row in (judge_row, generator_row, encoder_row) for modality in Modality
    )
