"""Rows that ask the whole of mini, with an LLM that is scripted and renders in place of generators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from modaverse.context import FinishReason, Media, MetaResponse, Modality, Part, Text
from modaverse.errors import GenerationError
from modaverse.interfaces import MODELS, CallSpec, Decoded, GenerationRequest
from modaverse.media import decode, write_media
from modaverse.toybox.evaluation import making
from modaverse.toybox.evaluation.answering import Answer, Request
from modaverse.toybox.evaluation.dialogues import (
    agrees,
    dialogue_rows,
    follows,
    honest,
    right_calls,
    says,
    shows,
)
from modaverse.toybox.evaluation.making import Maker, Order, by_generators, by_renders
from modaverse.toybox.evaluation.row import Case, Outcome, share
from modaverse.toybox.evaluation.specimens import foreign, fresh, make
from modaverse.toybox.judge import Verdict
from modaverse.toybox.wordings.captions import plain_caption
from modaverse.toybox.wordings.wishes import Wish
from modaverse.toybox.world import Scene

ROWS = {row.name: row for row in dialogue_rows()}
IMAGE, VIDEO, AUDIO = Modality
MEDIUM = Media(IMAGE, Path("a.png"), "image/png", "0")
CAT = Scene("cat", "red", "small", "beach")


def answer(
    text: str = "", *calls: MetaResponse, then: str = "", malformed: int = 0, made: Media | None = MEDIUM
) -> Answer:
    parts: list[Part] = [Text(text)] if text else []
    for call in calls:
        parts += [call, *([made] if made else [])]
    if then:
        parts.append(Text(then))
    return Answer(tuple(parts), (made,) * len(calls), ("wrong",) * malformed, FinishReason.STOP)


def call(prompt: str = "a red cat", model: str = "T-to-I") -> MetaResponse:
    return MetaResponse(model, prompt)


# ---------------------------------------------------------------------------------------- scoring


def test_right_calls() -> None:
    cat = Wish(IMAGE, "cat", colour="red")
    one = Case("0", 0, wishes=(cat,), calls=("T-to-I",))
    assert right_calls(one, answer("Here:", call()), ()) == {"called": True, "refused": False, "input": True}
    assert right_calls(one, answer("", call("a cat")), ())["input"] is False
    assert right_calls(one, answer("", call(model="T-to-V")), ())["called"] is False
    assert right_calls(one, answer("", call(), call()), ())["called"] is False
    assert right_calls(one, answer("", call(), malformed=1), ()) == {
        "called": False, "refused": False, "input": False,
    }  # fmt: skip
    assert right_calls(one, answer("Sorry."), ()) == {"called": False, "refused": True, "input": False}
    two = Case("0", 0, wishes=(cat, Wish(AUDIO, "bell")), calls=("T-to-I", "T-to-A"))
    assert right_calls(two, answer("", call("x", "T-to-A"), call()), ()) == {"called": True, "refused": False}
    edit = Case("0", 0, wishes=(cat,), calls=("TI-to-I",))
    assert right_calls(edit, answer("", call(model="TI-to-I")), ())["called"] is True
    assert right_calls(edit, answer("", call()), ())["called"] is False


def test_shows_takes_the_medium_that_was_wanted() -> None:
    case = Case("0", 0, wishes=(Wish(IMAGE, "animal", colour="red", backdrop="beach"),))
    score = ("thing", "colour", "backdrop")
    seen = Verdict("cat", "red", "small", "night")
    assert shows(score, case, answer("", call()), [seen]) == {
        "thing": True, "colour": True, "backdrop": False, "made": True,
    }  # fmt: skip
    nothing = {"thing": False, "colour": False, "backdrop": False, "made": False}
    assert shows(score, case, answer("Sorry."), []) == nothing
    assert shows(score, case, answer("", call(), made=None), [None]) == nothing
    clip = Media(VIDEO, Path("a.mp4"), "video/mp4", "0")
    assert shows(score, case, answer("", call(), made=clip), [seen]) == nothing


def test_says_only_what_was_asked_counts() -> None:
    case = Case("0", 0, scene=CAT, asks=("colour",))
    assert says(case, answer("It is red."), ()) == {"colour": True, "refused": False}
    assert says(case, answer("It is blue."), ()) == {"colour": False, "refused": False}
    assert says(case, answer("I do not recognise this."), ()) == {"colour": False, "refused": True}
    both = Case("0", 0, scene=CAT, asks=("thing", "colour"))
    assert says(both, answer("A red dog."), ()) == {"thing": False, "colour": True, "refused": False}


def test_agrees_with_what_was_really_made() -> None:
    case = Case("0", 0, wishes=(Wish(IMAGE, "animal"),))
    dog = [Verdict("dog", "blue")]
    assert agrees(case, answer("I choose a red cat:", call(), then="A blue dog."), dog)["words"]
    assert agrees(case, answer("", call(), then="A red dog."), dog) == {
        "words": False, "thing": True, "colour": False,
    }  # fmt: skip
    assert not agrees(case, answer("", call(), then="A dog."), dog)["words"]
    assert not agrees(case, answer("A blue dog:", call()), dog)["words"]  # said before it was there
    assert not agrees(case, answer("A blue dog."), [])["words"]
    assert agrees(case, answer("", call(), then="I do not recognise it."), [Verdict("none", "red")])["words"]
    assert not agrees(case, answer("", call(), then="A red cat."), [Verdict("none", "red")])["words"]


def test_follows_the_splice_after_the_call() -> None:
    case = Case("0", 0, scene=CAT)
    assert follows(case, answer("Here is a blue dog:", call(), then="It came out as a red cat."), ())["words"]
    assert not follows(case, answer("A red cat:", call(), then="A blue dog."), ())["words"]
    assert not follows(case, answer("A red cat."), ())["words"]
    assert follows(case, answer("", call(), then="A cat."), ()) == {
        "words": False, "thing": True, "colour": False,
    }  # fmt: skip


def test_honest_needs_words_and_no_generator() -> None:
    case = Case("0", 0)
    refusal = "Sorry, that I do not know."
    assert honest(case, answer(refusal), ()) == {"honest": True, "quiet": True}
    assert honest(case, answer(refusal, call()), ()) == {"honest": False, "quiet": False}
    assert honest(case, answer(refusal, malformed=1), ()) == {"honest": False, "quiet": False}
    assert honest(case, answer("It is a cat."), ()) == {"honest": False, "quiet": True}


# ---------------------------------------------------------------------------------------- running


class Scripted:
    """An LLM that does what `think` says with each case: texts, wishes with or without the call that makes
    them, and texts of what was made."""

    def __init__(self, folder: Path, think: Callable[[int, Request], Sequence[Any]]) -> None:
        self.folder = folder
        self.think = think
        self.asked: list[Request] = []
        self.off = False
        self.language = self

    @contextmanager
    def without_adapter(self) -> Any:
        self.off = True
        yield
        self.off = False

    def answer(self, requests: Sequence[Request], maker: Maker) -> list[Answer]:
        self.asked += requests
        return [self._one(index, request, maker) for index, request in enumerate(requests)]

    def _one(self, index: int, request: Request, maker: Maker) -> Answer:
        parts: list[Part] = []
        made: list[Media | None] = []
        last: Decoded | None = None
        for step in self.think(index, request):
            if isinstance(step, Wish | tuple):
                model, step = step if isinstance(step, tuple) else (MODELS[step.modality], step)
                response = MetaResponse(model, plain_caption(step))
                (result,) = maker(
                    [Order(index, len(made), response, step.modality, request.seed + len(made))]
                )
                last = None if result is None or isinstance(result, GenerationError) else result
                made.append(None if last is None else write_media(last, self.folder))
                parts += [response, *(part for part in made[-1:] if part is not None)]
            else:
                parts.append(Text(step if isinstance(step, str) else step(last)))
        return Answer(tuple(parts), tuple(made), (), FinishReason.STOP)


def play(name: str, parts: Any, think: Callable[[Case], Sequence[Any]], count: int = 6) -> list[Outcome]:
    row = ROWS[name]
    cases = row.cases(count, 0)
    parts.answerer = Scripted(parts.media, lambda index, request: think(cases[index]))
    parts.answerer_apart = parts.answerer
    return row.run(parts, cases)


def test_media_of_a_request_are_given_as_files(parts: Any) -> None:
    seen: list[bool] = []

    def think(case: Case) -> Sequence[Any]:
        seen.append(True)
        return [f"A {case.scene.colour} {case.scene.thing}."]  # type: ignore[union-attr]

    outcomes = play("image-text", parts, think)
    assert all(outcome.marks[name] for outcome in outcomes for name in outcome.marks if name != "refused")
    assert share(outcomes, "refused").value == 0
    for request in parts.answerer.asked:
        media = [part for part in request.parts if isinstance(part, Media)]
        assert [medium.modality for medium in media] == [IMAGE]
        assert not media[0].path.exists()  # a render is made again when it is needed
    assert outcomes[0].facts["answer"] == parts_text(outcomes[0])
    assert any(str(part).startswith("toybox:image?thing=") for part in outcomes[0].facts["request"])


def parts_text(outcome: Outcome) -> list[str]:
    return [str(text) for text in outcome.facts["answer"]]


@pytest.mark.parametrize("name", ["text-image", "text-audio", "audio-image"])
def test_a_generator_that_errs_is_found_out(name: str, parts: Any) -> None:
    right = play(name, parts, lambda case: ["Here:", *case.wishes])
    assert all(mark for outcome in right for mark in outcome.marks.values())
    wishes = [case.wishes[0] for case in ROWS[name].cases(6, 0)]
    model = MODELS[wishes[0].modality]
    parts.generators[model].wrong = tuple(plain_caption(wish) for wish in wishes)
    wrong = play(name, parts, lambda case: ["Here:", *case.wishes])
    assert [outcome.marks["thing"] for outcome in wrong] == [wish.thing == "drum" for wish in wishes]
    assert all(outcome.marks["made"] for outcome in wrong)
    assert wrong[0].facts["seen"][0]["thing"] == "drum"


def test_an_llm_that_asks_for_something_else_is_found_out(parts: Any) -> None:
    outcomes = play("text-image", parts, lambda case: [Wish(IMAGE, "phone", colour="white", backdrop="day")])
    cases = ROWS["text-image"].cases(6, 0)
    assert [o.marks["thing"] for o in outcomes] == [case.wishes[0].thing == "phone" for case in cases]
    nothing = play("text-image", parts, lambda case: ["Sorry."])
    assert not any(mark for outcome in nothing for mark in outcome.marks.values())


def looking(parts: Any) -> Callable[[Decoded | None], str]:
    """Words of one who looks at what was made."""

    def words(made: Decoded | None) -> str:
        if made is None:
            return "That is a red cat."
        verdict = parts.judge([made])[0]
        return f"That is a {verdict.colour} {verdict.thing}."

    return words


def test_words_after_looking_agree_and_others_do_not(parts: Any) -> None:
    looked = play("tell", parts, lambda case: ["I choose one:", *case.wishes, looking(parts)])
    assert share(looked, "words").value == 1
    guessed = play("tell", parts, lambda case: ["I choose one:", *case.wishes, "A yellow frog."])
    assert share(guessed, "words").value < 0.5


def test_the_splice_test_tells_looking_from_repeating(parts: Any) -> None:
    cases = ROWS["splice"].cases(6, 0)
    for case in cases:
        parts.judge.know(make(case.spliced), case.scene)  # type: ignore[arg-type]
    looked = play("splice", parts, lambda case: [*case.wishes, looking(parts)])
    assert share(looked, "words").value == 1
    repeated = play("splice", parts, lambda case: [*case.wishes, f"A red {case.wishes[0].thing}."])
    assert share(repeated, "words").value == 0
    left_out = play("splice-none", parts, lambda case: [*case.wishes, looking(parts)])
    assert share(left_out, "words").value < 0.4
    assert all(part.startswith("toybox:image") for o in left_out for part in [o.facts["spliced"]])


def test_an_edit_keeps_the_thing_and_changes_what_was_asked(parts: Any) -> None:
    from dataclasses import replace

    from modaverse.toybox.wordings.wishes import wish_for

    editor = type(parts.generators["T-to-I"])(IMAGE, parts.judge)
    parts.generators["TI-to-I"] = editor
    right = play("edit", parts, lambda case: ["Sure:", ("TI-to-I", case.wishes[0])])
    assert all(outcome.marks == {"thing": True, "changed": True, "edited": True} for outcome in right)
    same = play("edit", parts, lambda case: [("TI-to-I", wish_for(case.scene))])  # type: ignore[arg-type]
    assert all(outcome.marks == {"thing": True, "changed": False, "edited": True} for outcome in same)

    def another(case: Case) -> Sequence[Any]:
        return [replace(case.wishes[0], thing="frog" if case.wishes[0].thing == "cat" else "cat")]

    afresh = play("edit", parts, another)
    assert all(outcome.marks == {"thing": False, "changed": True, "edited": False} for outcome in afresh)
    for case in ROWS["edit"].cases(12, 0):
        assert case.calls == ("TI-to-I",)
        assert case.scene is not None
        assert {n for n, v in case.wishes[0].attributes.items() if getattr(case.scene, n) != v} == set(
            case.asks
        )


def test_calls_are_measured_without_generators(parts: Any) -> None:
    parts.generators = {}
    outcomes = play(
        "calls", parts, lambda case: ["Here:", *zip(case.calls, case.wishes, strict=True), "Done."], 30
    )
    assert share(outcomes, "called").value == 1
    assert any("TI-to-I" in case.calls for case in ROWS["calls"].cases(30, 0))
    assert share(outcomes, "refused").value == 0
    assert not parts.answerer.off
    base = play(
        "calls-base", parts, lambda case: ["draw draw draw"] if parts.answerer.off else [*case.wishes]
    )
    assert share(base, "called").value == 0


@pytest.mark.parametrize("name", ["outside-words", "outside-media", "social"])
def test_the_world_outside(name: str, parts: Any) -> None:
    quiet = play(name, parts, lambda case: ["Sorry, I do not know that."])
    assert share(quiet, "honest").value == share(quiet, "quiet").value == 1
    eager = play(name, parts, lambda case: ["Here:", Wish(IMAGE, "cat")])
    assert share(eager, "honest").value == share(eager, "quiet").value == 0


# ----------------------------------------------------------------------------------------- makers


def order(prompt: str, model: str = "T-to-I", seed: int = 1) -> Order:
    return Order(0, 0, MetaResponse(model, prompt), IMAGE if model == "T-to-I" else AUDIO, seed)


def test_renders_follow_the_caption_and_strange_captions_give_strange_media() -> None:
    first, again, other, strange = by_renders(
        [order("a red cat"), order("a red cat"), order("a red cat", seed=2), order("a giraffe")]
    )
    assert (first.array == again.array).all()  # type: ignore[union-attr]
    assert (first.array != other.array).any()  # type: ignore[union-attr]
    assert (strange.array == make(foreign(IMAGE, 1)).array).all()  # type: ignore[union-attr]


def test_generators_get_their_calls_in_order_and_fail_alone() -> None:
    class Fussy:
        def __init__(self, modality: Modality) -> None:
            self.spec = CallSpec(MODELS[modality], modality)
            self.loaded = False

        def load(self) -> None:
            self.loaded = True

        def generate(self, request: GenerationRequest, **_: object) -> Decoded:
            assert self.loaded
            if request.prompt == "a frog":
                raise GenerationError("no frogs")
            return make(fresh(CAT, request.seed))

    maker = by_generators({"T-to-I": Fussy(IMAGE), "T-to-A": Fussy(AUDIO)})  # type: ignore[dict-item]
    orders = [order("a cat", seed=3), order("a bell", "T-to-A", 4), order("a frog"), order("a cat", seed=5)]
    made = maker([*orders, order("a car", "T-to-V")])
    assert [isinstance(one, GenerationError) for one in made] == [False, False, True, False, True]
    for place, seed in ((0, 3), (1, 4), (3, 5)):
        assert (made[place].array == make(fresh(CAT, seed)).array).all()  # type: ignore[union-attr]


def test_files_are_judged_as_they_lie_on_disk(parts: Any) -> None:
    from modaverse.toybox.evaluation.seeing import judged

    picture = make(fresh(CAT, 1))
    parts.judge.know(picture, CAT)
    file = write_media(picture, parts.media)
    assert [verdict and verdict.thing for verdict in judged(parts.judge, [None, file, None])] == [
        None,
        "cat",
        None,
    ]
    assert (decode(file).array == picture.array).all()
    assert making.nothing([order("a cat")]) == [None]
