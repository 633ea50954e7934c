"""What a terminal, a file and a program see of a scripted answer."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from modaverse.cli.records import JsonLines, record
from modaverse.cli.transcript import Plain, spelled, visible_only
from modaverse.context import (
    Done,
    Event,
    FinishReason,
    GenerationFailed,
    GenerationProgress,
    Malformed,
    Media,
    MediaReady,
    MetaResponse,
    MetaResponseOpened,
    Modality,
    TextDelta,
    Usage,
)

DOG = MetaResponse("T-to-I", "a brown dog", raw='<meta>{"Model": "T-to-I", "Input": "a brown dog"}</meta>')
PICTURE = Media(Modality.IMAGE, Path("media/image-1.png"), "image/png", "ab" * 32)
ANSWER: list[Event] = [
    TextDelta("Here "),
    TextDelta("it is: "),
    MetaResponseOpened("T-to-I"),
    DOG,
    GenerationProgress(0, 1, 2),
    GenerationProgress(0, 2, 2),
    MediaReady(0, 1, PICTURE),
    TextDelta(" That is a\nbrown dog."),
    MetaResponseOpened("T-to-A"),
    MetaResponse("T-to-A", "a bell", {"seconds": 2}, 1),
    GenerationFailed(1, "T-to-A ran out of memory", "Close other programs."),
    Malformed('<meta>{"Model": 3', "a string was expected"),
    TextDelta("!"),
    Done(FinishReason.STOP, 7, Usage(5, 20, 4)),
]


def shown(events: list[Event]) -> str:
    out = io.StringIO()
    display = Plain(out)
    for event in events:
        display.show(event)
    display.close()
    return out.getvalue()


def test_plain_lines() -> None:
    assert shown(ANSWER) == (
        "Here it is: \n"
        '<meta>{"Model": "T-to-I", "Input": "a brown dog"}</meta>\n'
        "[1: image] media/image-1.png\n"
        "That is a\nbrown dog.\n"
        '<meta>{"Model": "T-to-A", "Input": "a bell", "Options": {"seconds": 2}, "Source": 1}</meta>\n'
        "[failed] T-to-A ran out of memory\n"
        "         Close other programs.\n"
        '[malformed: a string was expected] <meta>{"Model": 3\n'
        "!\n"
        "(stop, seed 7, 5 + 24 tokens)\n"
    )


def test_an_answer_that_ends_in_text_ends_its_line() -> None:
    assert shown([TextDelta("Hello")]) == "Hello\n"
    assert shown([TextDelta("Hello\n")]) == "Hello\n"
    assert shown([]) == ""


def test_text_is_written_as_it_comes() -> None:
    out = io.StringIO()
    display = Plain(out)
    for number, piece in enumerate(["a", "b", " c"], 1):
        display.show(TextDelta(piece))
        assert out.getvalue() == "ab c"[: len("".join(["a", "b", " c"][:number]))]


def test_events_as_json_lines() -> None:
    out = io.StringIO()
    display = JsonLines(out)
    for event in ANSWER:
        display.show(event)
    display.saved(Path("outputs/0001/reply.html"))
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["type"] for row in rows] == [*(type(event).__name__ for event in ANSWER), "Saved"]
    assert rows[0] == {"type": "TextDelta", "text": "Here "}
    assert rows[6] == {
        "type": "MediaReady",
        "call": 0,
        "number": 1,
        "media": {
            "type": "Media",
            "modality": "image",
            "path": "media/image-1.png",
            "mime": "image/png",
            "sha256": "ab" * 32,
        },
        "choice": None,
    }
    assert rows[9]["options"] == {"seconds": 2}
    assert rows[9]["source"] == 1
    assert rows[-2]["usage"]["spliced_tokens"] == 4
    assert rows[-1]["page"] == "outputs/0001/reply.html"


def test_every_kind_of_event_is_a_record() -> None:
    for event in ANSWER:
        assert record(event)["type"] == type(event).__name__


def test_a_call_without_its_text_is_spelled_anew() -> None:
    assert spelled(MetaResponse("T-to-V", "ein Zug, größer")) == (
        '<meta>{"Model": "T-to-V", "Input": "ein Zug, größer"}</meta>'
    )


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[2J\x1b]0;title\x07", "␛[2J␛]0;title␇"),
        ("over\rwritten\x08", "over␍written␈"),
        ("\x9b31m\x7f", "\ufffd31m\ufffd"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("größer 猫 👩‍🚀 ", "größer 猫 👩‍🚀 "),
    ],
)
def test_a_model_cannot_steer_the_terminal(text: str, visible: str) -> None:
    assert visible_only(text) == visible


SCRIPT = """
import sys, time
from pathlib import Path
from modaverse.cli.transcript import display_for
from modaverse.context import *
display = display_for(sys.stdout)
for event in [
    TextDelta("Here it "), TextDelta("is: "), MetaResponseOpened("T-to-I"),
    MetaResponse("T-to-I", "a brown dog"), GenerationProgress(0, 1, 4), GenerationProgress(0, 4, 4),
    MediaReady(0, 1, Media(Modality.IMAGE, Path("media/image-1.png"), "image/png", "ab" * 32)),
    TextDelta(" That \\x1b[2J is a [bold]dog[/bold]."), Done(FinishReason.STOP, 7, Usage(5, 20, 4)),
]:
    display.show(event)
    time.sleep(0.12)
display.close()
"""


def screen(received: str) -> list[str]:
    """The lines that stay on the terminal, of what rich sends: cursor up, erase line, colours."""
    lines, row, column, at = [""], 0, 0, 0
    while at < len(received):
        character = received[at]
        if character == "\x1b":
            end = at + 2
            while not received[end].isalpha():
                end += 1
            number, command = received[at + 2 : end], received[end]
            if command == "A":
                row = max(0, row - int(number or 1))
            elif command == "K":
                lines[row] = ""
            at = end + 1
            continue
        if character == "\n":
            row, column = row + 1, 0
            if row == len(lines):
                lines.append("")
        elif character == "\r":
            column = 0
        else:
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
        at += 1
    return [line.rstrip() for line in lines]


def test_a_terminal_keeps_the_transcript_and_loses_the_bars(on_terminal) -> None:
    received = on_terminal(SCRIPT)
    assert "T-to-I is being called" in received
    assert "━" in received  # the bar
    assert "\x1b[1;36m<meta>" in received  # the call, highlighted
    assert [line for line in screen(received) if line] == [
        "Here it is:",
        '<meta>{"Model": "T-to-I", "Input": "a brown dog"}</meta>',
        "[1: image] media/image-1.png",
        "That ␛[2J is a [bold]dog[/bold].",
        "(stop, seed 7, 5 + 24 tokens)",
    ]
