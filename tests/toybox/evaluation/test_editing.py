"""Rows for editing, with editors that keep the place, move the thing, or change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modaverse.context import Modality
from modaverse.errors import GenerationError, SettingsError
from modaverse.interfaces import CallSpec, Decoded, GenerationRequest, Pixels
from modaverse.media import decode
from modaverse.toybox.evaluation.editing import edit_cases, editing_rows, look_at_edits
from modaverse.toybox.evaluation.row import Case, Row
from modaverse.toybox.evaluation.specimens import FIRST_SEED, given, make
from modaverse.toybox.pictures import render_picture
from modaverse.toybox.wordings.captions import plain_caption
from modaverse.toybox.wordings.wishes import wish_for
from modaverse.toybox.world import Scene, is_held_out

ROWS = {row.name: row for row in editing_rows()}


def scenes(case: Case) -> tuple[Scene, Scene]:
    before, after = given(case.parts)[0].scene, case.scene
    assert isinstance(before, Scene)
    assert isinstance(after, Scene)
    return before, after


class Editor:
    """Renders the scene after; every second picture is moved to the right, every third is left as it was."""

    spec = CallSpec("TI-to-I", Modality.IMAGE, source=Modality.IMAGE)

    def __init__(self, judge, cases: list[Case]) -> None:  # type: ignore[no-untyped-def]
        self.judge = judge
        self.cases = {case.seed: case for case in cases}
        self.asked: list[GenerationRequest] = []

    def load(self) -> None: ...

    def generate(self, request: GenerationRequest, **_: object) -> Decoded:
        self.asked.append(request)
        case = self.cases[request.seed]
        number = int(case.id)
        before, after = scenes(case)
        assert request.source is not None
        given_picture = decode(request.source)
        assert np.array_equal(given_picture.array, render_picture(before, FIRST_SEED + case.seed).array)
        array = render_picture(after, FIRST_SEED + case.seed).array
        made = Pixels(np.ascontiguousarray(np.roll(array, 8, axis=1)) if number % 2 else array)
        if number % 3 == 0:
            made = Pixels(given_picture.array)
        self.judge.know(made, before if number % 3 == 0 else after)
        return made


@pytest.mark.parametrize("name", ["colour", "backdrop"])
def test_what_is_kept_changed_and_moved(name: str, parts) -> None:  # type: ignore[no-untyped-def]
    row = ROWS[f"editing-{name}"]
    cases = row.cases(6, 0)
    editor = Editor(parts.judge, cases)
    parts.generators["TI-to-I"] = editor
    outcomes = row.run(parts, cases)
    assert [outcome.marks[name] for outcome in outcomes] == [False, True, True] * 2
    assert all(outcome.marks["thing"] for outcome in outcomes)
    assert [outcome.marks["all"] for outcome in outcomes] == [False, True, True] * 2
    still = [outcome.numbers["moved"][0] for outcome in outcomes if int(outcome.case) in (0, 2, 4)]
    assert max(still) < 0.03
    moved = [outcome.numbers["moved"][0] for outcome in outcomes if int(outcome.case) in (1, 5)]
    assert np.median(moved) == pytest.approx(8 / 64, abs=0.03)
    estimate = row.summarise(outcomes, "moved")
    assert estimate.value == pytest.approx(np.mean([o.numbers["moved"][0] for o in outcomes]))
    assert estimate.low <= estimate.value <= estimate.high
    assert row.summarise(outcomes, name).value == pytest.approx(2 / 3)
    for request, case in zip(editor.asked, cases, strict=True):
        assert request.prompt == plain_caption(wish_for(scenes(case)[1]))
    assert all((parts.media / outcome.facts["file"]).is_file() for outcome in outcomes)


def test_cases_end_in_held_out_scenes_and_change_one_thing() -> None:
    for name in ("colour", "backdrop", "size"):
        cases = edit_cases(name, 30, 0)
        assert edit_cases(name, 10, 0) == cases[:10]
        assert edit_cases(name, 10, 1) != cases[:10]
        for case in cases:
            before, after = scenes(case)
            assert is_held_out(after)
            assert before != after
            assert replace(before, **{name: getattr(after, name)}) == after
            picture = make(given(case.parts)[0])
            assert np.array_equal(picture.array, render_picture(before, FIRST_SEED + case.seed).array)


def test_bars_are_those_of_the_specification() -> None:
    def bars(row: Row) -> dict[str, float]:
        both = {bar.measure: (bar.at_least, bar.at_most) for bar in row.bars}
        return {name: least or most for name, (least, most) in both.items() if least or most}

    assert bars(ROWS["editing-colour"]) == {"thing": 0.9, "colour": 0.9, "moved": 0.1}
    assert bars(ROWS["editing-backdrop"]) == {"thing": 0.9, "backdrop": 0.9, "moved": 0.1}
    assert all(row.count >= 200 for row in ROWS.values())


def test_options_reach_the_editor_and_its_failure_is_an_error(parts, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    cases = edit_cases("colour", 1, 0)
    editor = Editor(parts.judge, cases)
    look_at_edits(editor, parts.judge, cases, tmp_path, options={"strength": 0.5})
    assert editor.asked[0].options == {"strength": 0.5}

    class Broken(Editor):
        def generate(self, request: GenerationRequest, **_: object) -> Decoded:
            raise GenerationError("out of paint")

    with pytest.raises(GenerationError, match="out of paint"):
        look_at_edits(Broken(parts.judge, cases), parts.judge, cases, tmp_path)


def test_a_profile_without_an_editor_is_told_so(parts) -> None:  # type: ignore[no-untyped-def]
    row = ROWS["editing-colour"]
    with pytest.raises(SettingsError, match="answers TI-to-I"):
        row.run(parts, row.cases(1, 0))
