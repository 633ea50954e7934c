"""A job from rows to results: nothing lost, nothing done twice, and what a run may not go on from."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from modaverse.batch import run as run_module
from modaverse.batch.events import Checked, Finished, RowAnswered, RowFailed, RowWrong, SetAside, Started
from modaverse.batch.folder import Folder
from modaverse.batch.journal import Journal
from modaverse.batch.status import read_status
from modaverse.batch.values import Request
from modaverse.errors import DataError, InputError, ModelNotFound, SettingsError, StorageError


def test_every_row_is_answered_once_in_whatever_order(bench, row) -> None:
    bench.write(row(str(n), f"say {n}") for n in range(40))
    events = bench.run(bench.engine_of(in_flight=8))
    assert sorted(bench.engine.answered) == bench.ids() == sorted(str(n) for n in range(40))
    assert bench.engine.answered != sorted(bench.engine.answered, key=int)  # the engine mixes them
    assert [type(event) for event in events[:2]] == [Checked, Started]
    assert sum(isinstance(event, RowAnswered) for event in events) == 40
    assert (events[-1].left, events[-1].progress.done, bench.errors) == (0, 40, [])
    assert bench.engine.answered == [entry["id"] for entry in bench.results]  # each as soon as it is there


def test_a_result_says_what_was_asked_and_made(bench, row, pixel) -> None:
    bench.write([row("a", "draw it", media=[pixel], seed=3)])
    bench.finish()
    (entry,) = bench.results
    given, words = entry["request"]
    (made,) = entry["media"]
    assert (entry["id"], entry["line"], entry["seed"], entry["text"]) == ("a", 1, 3, "ti ward")
    assert words == {"type": "text", "text": "draw it"}
    assert (bench.out / given["path"]).is_file()
    assert (bench.out / made).is_file()
    assert [part["type"] for part in entry["parts"]] == ["text", "meta_response", "media"]
    assert entry["parts"][2]["number"] == 2
    assert sorted(path.name for path in bench.out.iterdir()) == [
        ".lock",
        "errors.jsonl",
        "media",
        "report.html",
        "results.jsonl",
        "run.json",
    ]


def test_openai_rows_come_back_in_their_form(bench, openai_row, row) -> None:
    bench.write([openai_row("a", "hello"), openai_row("b", "fail"), row("c", "own")])
    bench.finish()
    theirs, own = sorted(bench.results, key=lambda entry: "id" in entry and entry["id"] == "c")
    assert own["text"] == "nwo"
    assert (theirs["custom_id"], theirs["error"]) == ("a", None)
    body = theirs["response"]["body"]
    assert theirs["response"]["status_code"] == 200
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "olleh"}
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    (failed,) = bench.errors
    assert (failed["custom_id"], failed["response"]) == ("b", None)
    assert failed["error"]["message"] == "the script says so"
    bench.finish()  # and are known again
    assert bench.ids() == ["a", "c"]
    assert bench.engine.answered == ["b"]


def test_seeds_are_the_rows_own_or_follow_from_their_ids(bench, row) -> None:
    bench.write([row("a", "x", seed=7), row("b", "x"), row("c", "x")])
    bench.finish(seed=1)
    seeds = {entry["id"]: entry["seed"] for entry in bench.results}
    assert seeds["a"] == 7
    assert len(set(seeds.values())) == 3
    bench.finish(seed=1, fresh=True)
    assert {entry["id"]: entry["seed"] for entry in bench.results} == seeds
    bench.finish(seed=2, fresh=True)
    assert {entry["id"]: entry["seed"] for entry in bench.results}["b"] != seeds["b"]


# ------------------------------------------------------------------------------------- going on


def test_the_same_command_goes_on(bench, row) -> None:
    rows = [row(str(n), "fail" if n == 2 else "say") for n in range(6)]
    bench.write([*rows[:4], row("4", "wait"), rows[5]])
    bench.run(stop=lambda: len(bench.results) == 3)
    assert bench.ids() == ["0", "1", "3"]
    bench.write(rows)
    end = bench.finish()
    assert bench.ids() == ["0", "1", "3", "4", "5"]
    assert bench.engine.answered == ["2", "4", "5"]
    assert (end.progress.earlier, end.progress.failed) == (3, 1)


def test_failures_are_tried_again_and_successes_are_not(bench, row) -> None:
    bench.write([row("a", "say"), row("b", "fail"), row("c", "fail")])
    bench.finish()
    kept = bench.results
    assert bench.ids("errors.jsonl") == ["b", "c"]
    bench.write([row("a", "say"), row("b", "now say"), row("c", "fail")])
    end = bench.finish()
    assert bench.engine.answered == ["b", "c"]
    assert (end.progress.answered, end.progress.failed) == (1, 1)
    assert bench.ids() == ["a", "b"]
    assert bench.results[0] == kept[0]
    assert bench.ids("errors.jsonl") == ["c"]
    bench.finish()
    assert bench.ids("errors.jsonl") == ["c"]  # once, however often it fails


def test_a_finished_job_loads_nothing(bench, row) -> None:
    bench.write([row("a", "say")])
    bench.finish()
    before = (bench.out / "results.jsonl").read_bytes()
    assert bench.finish().progress.earlier == 1
    assert bench.engine.loads == 0
    assert (bench.out / "results.jsonl").read_bytes() == before


def test_rows_may_be_added_and_removed(bench, row) -> None:
    bench.write([row("a", "say"), row("b", "say")])
    bench.finish()
    bench.write([row("c", "say"), row("b", "say")])
    bench.finish()
    assert bench.engine.answered == ["c"]
    assert bench.ids() == ["a", "b", "c"]


def test_a_row_that_was_changed_since_is_said(bench, row) -> None:
    bench.write([row("a", "say"), row("b", "say")])
    bench.finish()
    bench.write([row("a", "say"), row("b", "say more")])
    with pytest.raises(DataError, match=r"1 rows were changed .* in line 2 \(id 'b'\)"):
        bench.run()
    bench.finish(allow_mixed=True)
    assert bench.engine.answered == []  # a success is kept
    bench.finish(fresh=True)
    assert sorted(bench.engine.answered) == ["a", "b"]


def test_what_a_kill_left_behind_is_cleared_away(bench, row) -> None:
    bench.write([row(str(n), "draw") for n in range(4)])
    bench.finish()
    results = bench.out / "results.jsonl"
    kept = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(b"".join(kept[:2]) + kept[2][:50])
    (bench.out / "media" / ".image-1.png-12ab").write_bytes(b"half")
    (bench.out / "media" / ".modaverse-x").mkdir()
    (bench.out / "errors.jsonl.part").write_bytes(b"half")
    end = bench.finish()
    assert (end.progress.earlier, end.progress.answered) == (2, 2)
    assert bench.ids() == ["0", "1", "2", "3"]
    assert not list((bench.out / "media").glob(".*"))
    assert not (bench.out / "errors.jsonl.part").exists()


# ------------------------------------------------------------------------------- before any model


def test_wrong_rows_are_found_before_the_engine_loads(bench, row, openai_row, pixel) -> None:
    bench.write(
        [
            row("a", "say"),
            row("a", "again"),
            "{broken",
            row("b", "look", media=["none.png"]),
            row("c", "look", media=["../outside.png"]),
            row("d", "look", media=["https://example.org/a.png"]),
            row("e", "look", media=["data:image/png;base64,!"]),
            openai_row("a", "and again"),
            row("f", "look", media=[pixel]),
        ]
    )
    (bench.folder.parent / "outside.png").write_bytes(b"x")
    events = bench.run()
    wrong = [event for event in events if isinstance(event, RowWrong)]
    assert [event.line for event in wrong] == [2, 3, 4, 5, 6, 7, 8]
    assert all(event.cause.startswith(f"jobs.jsonl:{event.line}") for event in wrong)
    assert all(event.hint for event in wrong)
    checked = next(index for index, event in enumerate(events) if isinstance(event, Checked))
    assert all(isinstance(event, RowWrong) for event in events[:checked])
    assert bench.ids() == ["a", "f"]
    assert len(bench.errors) == 7
    end = bench.finish()
    assert (len(bench.errors), end.progress.wrong) == (7, 7)  # not once more


def test_what_is_mended_is_answered(bench, row) -> None:
    bench.write([row("a", "look", media=["cat.png"])])
    assert bench.finish().progress.wrong == 1
    (bench.folder / "cat.png").write_bytes(b"no picture")
    assert bench.finish().progress.failed == 1  # which only opening it shows
    assert "this is a text file" in bench.errors[0]["cause"]
    Image.new("RGB", (4, 4)).save(bench.folder / "cat.png")
    assert bench.finish().progress.answered == 1
    assert bench.errors == []


def test_a_file_that_cannot_be_read_is_an_error(bench) -> None:
    with pytest.raises(DataError, match=r"cannot read .*jobs\.jsonl"):
        bench.run()
    bench.jobs.write_bytes(b"")
    assert bench.finish().progress.rows == 0


# ------------------------------------------------------------------- what a run may not go on from


def test_another_model_is_refused_with_what_differs(bench, row) -> None:
    bench.write([row("a", "say"), row("b", "fail")])
    bench.finish(bench.engine_of(identity={"llm": "small", "top_p": "1"}))
    other = bench.engine_of(identity={"llm": "large", "top_p": "1"})
    with pytest.raises(SettingsError, match="llm was small and is large") as caught:
        bench.run(other)
    assert "--allow-mixed" in caught.value.hint
    assert "top_p" not in caught.value.message
    assert bench.ids("errors.jsonl") == ["b"]
    assert other.loads == 0
    bench.write([row("a", "say"), row("b", "now say")])
    bench.finish(other, allow_mixed=True)
    assert [entry["identity"] for entry in bench.results] == [0, 1]
    with pytest.raises(SettingsError):
        bench.run(bench.engine_of(identity={"llm": "small", "top_p": "1"}))  # they are mixed now


def test_fresh_moves_results_aside(bench, row) -> None:
    bench.write([row("a", "draw")])
    bench.finish(bench.engine_of(identity={"llm": "small"}))
    before = bench.results
    events = bench.run(bench.engine_of(identity={"llm": "large"}), fresh=True)
    assert isinstance(events[0], SetAside)
    aside = bench.out / "earlier" / "0001"
    assert events[0].folder == aside
    assert [json.loads(line) for line in (aside / "results.jsonl").read_text().splitlines()] == before
    assert (aside / before[0]["media"][0]).is_file()
    assert (bench.out / bench.results[0]["media"][0]).is_file()
    bench.finish(fresh=True)
    assert (bench.out / "earlier" / "0002").is_dir()


def test_one_process_at_a_time(bench, row) -> None:
    bench.write([row("a", "say")])
    with Folder(bench.out).locked(), pytest.raises(InputError, match=f"number {os.getpid()}"):
        bench.run()
    bench.finish()


def test_models_that_are_missing_are_found_before_loading(bench, row) -> None:
    class Missing(type(bench.engine)):
        def identity(self):
            raise ModelNotFound("no weights", hint="Get them.")

    bench.write([row("a", "say")])
    engine = Missing(bench.out)
    with pytest.raises(ModelNotFound):
        bench.run(engine)
    assert engine.loads == 0


# ---------------------------------------------------------------------------- what ends a run early


def test_stopping_drops_what_is_in_flight_and_keeps_the_rest(bench, row) -> None:
    bench.write([*(row(str(n), "say") for n in range(3)), row("3", "wait for ever"), row("4", "say")])
    begin = time.monotonic()
    answered = threading.Event()

    def stop() -> bool:
        if len(bench.results) == 3:
            answered.set()
        return answered.is_set()

    events = bench.run(bench.engine_of(), stop=stop)
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.stopped, end.abandoned, end.left) == (True, False, 2)
    assert bench.ids() == ["0", "1", "2"]
    assert time.monotonic() - begin < 30  # the machine may be busy; a hang is what matters


def test_an_engine_that_does_not_listen_is_left_behind(bench, row, monkeypatch) -> None:
    monkeypatch.setattr(run_module, "GRACE", 0.1)
    gate = threading.Event()
    bench.write([row("a", "say")])
    engine = bench.engine_of(before=lambda row: gate.wait(30))
    stop = itertools.chain([False] * 5, itertools.repeat(True))
    end = bench.run(engine, stop=lambda: next(stop))[-1]
    gate.set()
    assert (end.stopped, end.abandoned, end.left) == (True, True, 1)


def test_a_full_disk_ends_the_run_and_the_next_goes_on(bench, row, monkeypatch) -> None:
    bench.write([row(str(n), "say") for n in range(5)])
    real, count = Journal.append, itertools.count()

    def append(self: Journal, line: bytes) -> None:
        if next(count) == 3:
            raise StorageError("results.jsonl: cannot be written (No space left on device)")
        real(self, line)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", append)
        with pytest.raises(StorageError, match="No space left"):
            bench.run()
    assert len(bench.results) == 3
    assert bench.finish().progress.answered == 2
    assert bench.ids() == ["0", "1", "2", "3", "4"]


def test_what_an_engine_raises_ends_the_run(bench, row) -> None:
    bench.write([row("a", "say"), row("b", "crash"), row("c", "say")])
    with pytest.raises(RuntimeError, match="the script says so"):
        bench.run()
    assert bench.ids() == ["a"]


def test_a_row_that_an_engine_swallows_is_left_to_do(bench, row) -> None:
    class Forgetful(type(bench.engine)):
        def _outcome(self, row: Request):
            return None if row.id == "b" else super()._outcome(row)

    bench.write([row("a", "say"), row("b", "say"), row("c", "say")])
    assert bench.finish(Forgetful(bench.out / "media")).left == 1
    assert bench.finish().left == 0


# ----------------------------------------------------------------------------------------- status


def test_status_says_where_a_job_is(bench, row, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no results"):
        read_status(tmp_path)
    bench.write([row("a", "say"), row("b", "fail"), "{", row("c", "wait")])
    seen = []

    def stop() -> bool:
        if len(bench.results) == len(bench.errors) - 1 == 1:
            seen.append(read_status(bench.out))
        return bool(seen)

    bench.run(stop=stop)
    running, after = seen[0], read_status(bench.out)
    assert (running.rows, running.answered, running.failed, running.wrong, running.left) == (4, 1, 1, 1, 1)
    assert running.running
    assert running.rate is not None
    assert (after.running, after.answered, after.left, after.rate) == (False, 1, 1, None)


def test_failures_are_told_with_their_hints(bench, row) -> None:
    bench.write([row("b", "fail")])
    (event,) = [event for event in bench.run() if isinstance(event, RowFailed)]
    assert (event.id, event.line, event.cause, event.hint) == (
        "b",
        1,
        "the script says so",
        "Change the script.",
    )
