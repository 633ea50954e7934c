"""Rows that put requests to the whole of mini: what it calls, makes, sees and says.

No row uses the token mask: what is measured is what the LLM learnt, which is the harder condition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modaverse.context import Media, Modality, Text
from modaverse.toybox.evaluation import making
from modaverse.toybox.evaluation.alone import BARS_OF
from modaverse.toybox.evaluation.answering import Answer, Request
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.evaluation.requests import (
    animal_and_words,
    asked_about,
    calling,
    cases_of,
    changed_picture,
    made_from_medium,
    made_from_words,
    outside_in_words,
    outside_medium,
    picture_and_words,
    without_media,
)
from modaverse.toybox.evaluation.row import Bar, Case, Outcome, Row
from modaverse.toybox.evaluation.seeing import judged, shown
from modaverse.toybox.evaluation.specimens import Specimen, written
from modaverse.toybox.evaluation.words import claims, is_honest, wish_of
from modaverse.toybox.judge import NONE, Verdict

MakerOf = Callable[[Parts, Sequence[Case]], making.Maker]
Seen = Sequence[Verdict | None]
Score = Callable[[Case, Answer, Seen], dict[str, bool]]
"""(case, answer, what the judge sees in what each call made) → marks."""

WITHOUT_MEDIA, WITH_MEDIA = 500, 200
"""Requests of a row: where mini's generators make nothing, and where they do."""

_LANGUAGE = ("language", "encoder")


# ------------------------------------------------------------------------------ who answers calls


def by_generators(parts: Parts, cases: Sequence[Case]) -> making.Maker:
    return parts.maker


def by_renders(parts: Parts, cases: Sequence[Case]) -> making.Maker:
    return making.by_renders


def by_other_renders(parts: Parts, cases: Sequence[Case]) -> making.Maker:
    return making.by_specimens([case.spliced for case in cases if case.spliced is not None])


def by_nothing(parts: Parts, cases: Sequence[Case]) -> making.Maker:
    return making.nothing


# ---------------------------------------------------------------------------------------- running


def run(maker_of: MakerOf, score: Score, adapter: bool, parts: Parts, cases: Sequence[Case]) -> list[Outcome]:
    """Ask, look at what was made, and score."""
    answerer = parts.answerer if adapter else parts.answerer_apart
    off = nullcontext() if adapter else answerer.language.without_adapter()
    with TemporaryDirectory(prefix="modaverse-") as folder, off:
        requests = [_request(case, Path(folder)) for case in cases]
        answers = answerer.answer(requests, maker_of(parts, cases))
    looked_at = maker_of is by_generators
    outcomes = []
    for case, answer in zip(cases, answers, strict=True):
        seen = judged(parts.judge, answer.made) if looked_at else [None] * len(answer.made)
        outcomes.append(Outcome(case.id, score(case, answer, seen), facts=_facts(case, answer, seen)))
    return outcomes


def _request(case: Case, folder: Path) -> Request:
    parts: list[Text | Media] = [
        written(part, folder) if isinstance(part, Specimen) else Text(part) for part in case.parts
    ]
    return Request(tuple(parts), case.seed)


def _facts(case: Case, answer: Answer, seen: Seen) -> dict[str, Any]:
    """What people want to see of a case that went wrong."""
    facts: dict[str, Any] = {
        "request": [part.uri if isinstance(part, Specimen) else part for part in case.parts],
        "answer": [_fact(part) for part in answer.parts],
    }
    if answer.malformed:
        facts["malformed"] = list(answer.malformed)
    if any(seen):
        facts["seen"] = [shown(verdict) for verdict in seen]
    if case.spliced is not None:
        facts["spliced"] = case.spliced.uri
    return facts


def _fact(part: object) -> str:
    match part:
        case Text(text=text):
            return text
        case Media(path=path):
            return f"[{path.name}]"
        case _:
            return str(getattr(part, "raw", part))


# ---------------------------------------------------------------------------------------- scoring


def right_calls(case: Case, answer: Answer, seen: Seen) -> dict[str, bool]:
    """`called`: every call that was wanted, none besides, nothing malformed. `input` (of calls whose wish is
    known beforehand): the captions ask for just what was asked."""
    called = sorted(case.calls) == sorted(call.model for call in answer.calls) and not answer.malformed
    marks = {"called": called, "refused": not answer.calls and not answer.malformed}
    if len(case.wishes) == 1:
        wish = case.wishes[0]
        marks["input"] = called and wish_of(answer.calls[0].input, wish.modality) == wish
    return marks


def shows(
    names: Sequence[str], case: Case, answer: Answer, seen: Sequence[Verdict | None]
) -> dict[str, bool]:
    """Whether the one medium that was wanted shows what was asked for."""
    wish = case.wishes[0]
    there = [
        verdict
        for medium, verdict in zip(answer.made, seen, strict=True)
        if medium is not None and medium.modality is wish.modality
    ]
    verdict = there[0] if there else None
    marks = {name: verdict is not None and getattr(verdict, name) == getattr(wish, name) for name in names}
    if "thing" in names:
        marks["thing"] = verdict is not None and verdict.thing in wish.things
    return {**marks, "made": bool(there)}


def changes(case: Case, answer: Answer, seen: Sequence[Verdict | None]) -> dict[str, bool]:
    """Whether the picture shows what was to change and still the thing, and came of an edit."""
    marks = shows(("thing", *case.asks), case, answer, seen)
    return {
        "thing": marks["thing"],
        "changed": all(marks[name] for name in case.asks),
        "edited": [call.model for call in answer.calls] == list(case.calls),
    }


def says(case: Case, answer: Answer, seen: Seen) -> dict[str, bool]:
    """Whether the words say of the given medium what was asked, and nothing else of that kind."""
    claimed = claims(answer.text)
    marks = {name: claimed.says(**{name: getattr(case.scene, name)}) for name in case.asks}
    return {**marks, "refused": is_honest(answer.text)}


def agrees(case: Case, answer: Answer, seen: Seen) -> dict[str, bool]:
    """Whether the words after the call agree with the picture that was really made."""
    verdict = seen[0] if seen else None
    if verdict is None:
        return {"words": False, "thing": False, "colour": False}
    if verdict.thing == NONE:
        return {"words": is_honest(answer.last_words)}
    claimed = claims(answer.last_words)
    marks = {"thing": claimed.says(verdict.thing), "colour": claimed.says(colour=verdict.colour)}
    return {"words": all(marks.values()), **marks}


def follows(case: Case, answer: Answer, seen: Seen) -> dict[str, bool]:
    """Whether the words after the call say the thing and the colour of what the test has for a picture."""
    claimed = claims(answer.last_words) if answer.calls else claims("")
    marks = {name: claimed.says(**{name: getattr(case.scene, name)}) for name in ("thing", "colour")}
    return {"words": all(marks.values()), **marks}


def honest(case: Case, answer: Answer, seen: Seen) -> dict[str, bool]:
    quiet = not answer.calls and not answer.malformed
    return {"honest": quiet and is_honest(answer.text), "quiet": quiet}


# ------------------------------------------------------------------------------------------- rows


def _row(
    name: str,
    title: str,
    cases: Callable[[int, int], list[Case]],
    score: Score,
    bars: tuple[Bar, ...],
    *,
    maker: MakerOf = by_renders,
    needs: tuple[str, ...] = (),
    count: int = WITHOUT_MEDIA,
    adapter: bool = True,
) -> Row:
    return Row(
        name=name,
        title=title,
        needs=(*_LANGUAGE, *needs),
        bars=bars,
        count=count,
        cases=cases,
        run=partial(run, maker, score, adapter),
    )


def calls_rows() -> list[Row]:
    mixture = {"make": 26.0, "tell": 8.0, "chain": 4.0, "many": 8.0, "from": 16.0}
    cases = cases_of(mixture, calling)
    title = "right generators called, valid meta-response, no token mask"
    bars = (
        Bar("called", "right calls", at_least=0.98),
        Bar("refused", "in-world requests refused", at_most=0.02),
        Bar("input", "the caption says just what was asked"),
    )
    off = (Bar("called", "right calls", at_most=0.10),)
    return [
        _row("calls", title, cases, right_calls, bars),
        _row("calls-base", "the same with the adapter off", cases, right_calls, off, adapter=False),
    ]


def from_words_row(modality: Modality) -> Row:
    names = BARS_OF[modality]
    return _row(
        f"text-{modality}",
        f"text → {modality}",
        cases_of({"make": 1.0}, partial(made_from_words, modality, tuple(names))),
        partial(shows, tuple(names)),
        (*(Bar(name, name, at_least=bar) for name, bar in names.items()), Bar("made", "anything made")),
        maker=by_generators,
        needs=(modality, f"judge-{modality}"),
        count=WITH_MEDIA,
    )


def from_medium_row(source: Modality, target: Modality) -> Row:
    return _row(
        f"{source}-{target}",
        f"{source} → {target}",
        cases_of({"from": 1.0}, partial(made_from_medium, source, target)),
        partial(shows, ("thing",)),
        (Bar("thing", "the same thing", at_least=0.90), Bar("made", "anything made")),
        maker=by_generators,
        needs=(target, f"judge-{target}"),
        count=WITH_MEDIA,
    )


def edit_row() -> Row:
    return _row(
        "edit",
        "“make it blue”, with a picture",
        cases_of({"from": 1.0}, changed_picture),
        changes,
        (
            Bar("thing", "the thing is kept", at_least=0.90),
            Bar("changed", "what was asked for is changed", at_least=0.90),
            Bar("edited", "asked for as an edit of it"),
        ),
        maker=by_generators,
        needs=("image", "judge-image"),
        count=WITH_MEDIA,
    )


def to_words_row(modality: Modality) -> Row:
    colour = () if modality is Modality.AUDIO else (Bar("colour", "colour", at_least=0.95),)
    return _row(
        f"{modality}-text",
        f"{modality} → text",
        cases_of({"ask": 1.0}, partial(asked_about, modality)),
        says,
        (Bar("thing", "thing", at_least=0.95), *colour, Bar("refused", "refused")),
    )


def words_rows() -> list[Row]:
    """Words about what was made: the splice is what they look at."""
    tell = {"tell": 1.0}
    parts = (Bar("thing", "the thing alone"), Bar("colour", "the colour alone"))
    return [
        _row(
            "tell",
            "“draw any animal, then tell me what it is and its colour”",
            cases_of(tell, animal_and_words),
            agrees,
            (Bar("words", "the words agree with the picture made", at_least=0.90), *parts),
            maker=by_generators,
            needs=("image", "judge-image"),
            count=WITH_MEDIA,
        ),
        _row(
            "splice",
            "a render of another thing and colour is spliced",
            cases_of(tell, picture_and_words),
            follows,
            (Bar("words", "the words follow the picture", at_least=0.90), *parts),
            maker=by_other_renders,
        ),
        _row(
            "splice-none",
            "the same with the splice left out",
            cases_of(tell, picture_and_words),
            follows,
            (Bar("words", "the words follow the picture", at_most=0.40), *parts),
            maker=by_nothing,
        ),
    ]


def outside_rows() -> list[Row]:
    bar = Bar("honest", "answered honestly, without a generator", at_least=0.95)
    quiet = Bar("quiet", "without a generator")
    return [
        _row(
            "outside-words",
            "out-of-world requests in words",
            cases_of({"outside": 1.0}, outside_in_words),
            honest,
            (bar, quiet),
        ),
        _row(
            "outside-media",
            "out-of-world media",
            _outside_media,
            honest,
            (Bar(bar.measure, bar.title, at_least=0.90), quiet),
            count=300,
        ),
        _row(
            "social",
            "greetings and questions",
            cases_of({"social": 1.0, "mini": 1.0}, without_media),
            honest,
            (Bar("quiet", "without a generator", at_least=0.95),),
        ),
    ]


def _outside_media(count: int, seed: int) -> list[Case]:
    """As many of each modality, in turn, whatever the count."""
    mixture = {"ask": 2.0, "from": 1.0}
    share = -(-count // len(Modality))
    drawn = [cases_of(mixture, partial(outside_medium, modality))(share, seed) for modality in Modality]
    return [case for group in zip(*drawn, strict=True) for case in group][:count]


def dialogue_rows() -> tuple[Row, ...]:
    pairs = (
        (Modality.AUDIO, Modality.IMAGE),
        (Modality.IMAGE, Modality.AUDIO),
        (Modality.IMAGE, Modality.VIDEO),
        (Modality.VIDEO, Modality.AUDIO),
        (Modality.AUDIO, Modality.VIDEO),
    )
    return (
        *calls_rows(),
        *(from_words_row(modality) for modality in Modality),
        *(from_medium_row(source, target) for source, target in pairs),
        edit_row(),
        *(to_words_row(modality) for modality in Modality),
        *words_rows(),
        *outside_rows(),
    )
