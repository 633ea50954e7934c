"""The page of a job: every row in it once, nothing that a row says becomes markup or script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

from modaverse.batch.folder import Folder
from modaverse.batch.report import MAX_CHARS, write_report


class Page(HTMLParser):
    """Elements by name with their attributes, and what stands in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.inside = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data

    @property
    def rows(self) -> list[dict[str, Any]]:
        return json.loads(self.scripts[0])


def page_of(bench: Any) -> Page:
    return Page((bench.out / "report.html").read_text())


def test_it_has_every_row_and_what_became_of_it(bench, row, pixel) -> None:
    bench.write(
        [
            row("a", "draw it", media=[pixel], seed=4),
            row("b", "fail"),
            "{",
            row("c", "say"),
        ]
    )
    bench.finish()
    rows = {entry.get("id"): entry for entry in page_of(bench).rows}
    assert set(rows) == {"a", "b", "c", None}
    (given, words), parts = rows["a"]["ask"], rows["a"]["parts"]
    assert (given[0], words) == ("image", ["text", "draw it"])
    assert [kind for kind, _ in parts] == ["text", "call", "image"]
    for path in (given[1], parts[2][1]):
        assert (bench.out / path).is_file()
    assert (rows["a"]["seed"], rows["a"]["line"], rows["a"]["seconds"]) == (4, 1, 0.001)
    assert rows["b"]["cause"] == "the script says so"
    assert rows["b"]["ask"] == [["text", "fail"]]
    assert rows[None]["line"] == 3
    assert rows[None]["seconds"] == 0.0
    assert "cause" not in rows["c"]


def test_rows_are_data_and_never_markup(bench, row) -> None:
    evil = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> \u2028 ]]>"
    bench.jobs = bench.folder / "<b>&jobs.jsonl"
    bench.write([row(f"id{evil}", evil)])
    bench.finish()
    page = page_of(bench)
    assert page.rows[0]["ask"] == [["text", evil]]
    assert page.rows[0]["parts"] == [["text", evil[::-1]]]
    assert len(page.scripts) == 2
    assert "img" not in [name for name, _ in page.elements]
    assert "b" not in [name for name, _ in page.elements]


def test_only_its_own_script_may_run_and_nothing_is_fetched(bench, row) -> None:
    bench.write([row("a", "say")])
    bench.finish()
    page = page_of(bench)
    policy = next(found["content"] for _, found in page.elements if found.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:", (bench.out / "report.html").read_text())
    assert "innerHTML" not in page.scripts[1]


def test_long_texts_are_shortened(bench, row) -> None:
    bench.write([row("a", "x" * (MAX_CHARS + 1))])
    bench.finish()
    assert len(page_of(bench).rows[0]["ask"][0][1]) == MAX_CHARS + 1
    assert len(bench.results[0]["text"]) == MAX_CHARS + 1


def test_a_failure_that_was_answered_since_is_not_shown(bench, row) -> None:
    bench.write([row("a", "fail"), row("b", "wait")])
    bench.run(stop=lambda: len(bench.errors) == 1)
    bench.write([row("a", "say"), row("b", "wait")])
    bench.run(stop=lambda: len(bench.results) == 1)
    assert bench.ids("errors.jsonl") == ["a"]  # only the end of a run drops it
    page = Page(write_report(Folder(bench.out)).read_text())
    assert [(entry["id"], "cause" in entry) for entry in page.rows] == [("a", False)]
    assert not list(bench.out.glob(".report-*"))
