"""The page of a reply: everything in order, nothing that a model or a user wrote becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import pytest

from modaverse.page import reply_page


def medium(number: int, modality: str, path: str) -> dict[str, Any]:
    return {"type": "media", "modality": modality, "path": path, "number": number, "mime": "", "sha256": ""}


REPLY: dict[str, Any] = {
    "request": [{"type": "text", "text": "Draw what you hear."}, medium(1, "audio", "media/a.wav")],
    "parts": [
        {"type": "text", "text": "Here it is: "},
        {"type": "meta_response", "model": "T-to-I", "input": "a bell", "options": {}, "source": None},
        medium(2, "image", "media/b c#1.png"),
        {"type": "text", "text": " And it moves: "},
        {"type": "meta_response", "model": "I-to-V", "input": "left", "options": {"steps": 4}, "source": 2},
        medium(3, "video", "media/d.mp4"),
        {"type": "failed", "cause": "no memory", "hint": "Free some."},
        {"type": "malformed", "raw": "<meta>{3", "reason": "a key was expected"},
    ],
    "seed": 7,
    "profile": "mini",
    "finish_reason": "length",
    "usage": {"prompt_tokens": 5, "sampled_tokens": 20, "spliced_tokens": 4},
}


class Reader(HTMLParser):
    """Tags with their attributes, and the text, in order; complains about tags that do not match."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self._open:
            self.words.append(" ".join(data.split()))


def test_parts_stand_in_their_order() -> None:
    reader = Reader(reply_page(REPLY))
    sources = [(tag, unquote(row["src"] or "")) for tag, row in reader.tags if "src" in row]
    assert sources == [("audio", "media/a.wav"), ("img", "media/b c#1.png"), ("video", "media/d.mp4")]
    text = " | ".join(reader.words)
    places = [
        text.index(piece)
        for piece in (
            "Draw what you hear.",
            "Here it is:",
            '{"Model": "T-to-I", "Input": "a bell"}',
            "And it moves:",
            '{"Model": "I-to-V", "Input": "left", "Options": {"steps": 4}, "Source": 2}',
            "no memory",
            "Free some.",
            "a key was expected",
            "<meta>{3",
            "profile mini · seed 7 · cut off: length · 5 tokens given, 20 written, 4 spliced",
        )
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("field", ["text", "input", "raw", "cause", "path"])
def test_nothing_becomes_markup(field: str) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    parts = [{**part, field: evil} if field in part else part for part in REPLY["parts"]]
    reader = Reader(reply_page({**REPLY, "parts": parts}))
    assert "script" not in [tag for tag, _ in reader.tags]
    assert not any("onerror" in row for _, row in reader.tags)
    assert len([tag for tag, _ in reader.tags if tag == "img"]) == 1


def test_an_address_cannot_leave_the_page() -> None:
    parts = [medium(1, "image", "javascript:alert(1)")]
    reader = Reader(reply_page({"request": [], "parts": parts}))
    addresses = [row.get("src") or row.get("href") for tag, row in reader.tags if tag in ("img", "a")]
    assert addresses == ["javascript%3Aalert%281%29"] * 2  # a file of that name, no scheme


def test_an_empty_answer_says_so() -> None:
    assert "(an empty answer)" in reply_page({"request": [], "parts": [{"type": "text", "text": "  "}]})


def test_the_page_needs_no_network_and_no_script() -> None:
    page = reply_page(REPLY)
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
    assert "default-src 'none'" in page
