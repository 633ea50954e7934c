"""The transcript as it comes: on a terminal with colours and progress, elsewhere as plain lines.

Text stands as the LLM writes it. Whatever else happens (a meta-response, a medium, a fault) has a line of
its own between it.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from modaverse.context import (
    Choice,
    Done,
    Event,
    GenerationFailed,
    GenerationProgress,
    Malformed,
    MediaReady,
    MetaResponse,
    MetaResponseOpened,
    TextDelta,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Display(Protocol):
    """Shows the events of one answer in order."""

    def show(self, event: Event) -> None: ...

    def saved(self, page: Path) -> None:
        """Say where the page with the whole answer lies."""
        ...

    def close(self) -> None:
        """Leave the terminal in order; may be called at any moment."""
        ...


STYLES: Mapping[str, str] = {
    "call": "bold cyan",
    "medium": "bold green",
    "fault": "bold red",
    "hint": "yellow",
    "note": "dim",
}

_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Plain:
    """Plain lines, for files and pipes."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._at_line_start = True

    def show(self, event: Event) -> None:
        match event:
            case TextDelta(text=text):
                self._text(text)
            case MetaResponseOpened(model=model):
                self._working(f"{model} is being called")
            case MetaResponse():
                self._line(spelled(event), "call")
            case GenerationProgress():
                self._progress(event)
            case MediaReady(number=number, media=media, choice=choice):
                self._line(f"[{number}: {media.modality.value}] {nearby(media.path)}", "medium")
                if choice is not None:
                    self._line(f"({chosen(choice)})", "note")
            case GenerationFailed(cause=cause, hint=hint):
                self._line(f"[failed] {cause}", "fault")
                if hint:
                    self._line(f"         {hint}", "hint")
            case Malformed():
                self._line(f"[malformed: {event.reason}] {event.raw}", "fault")
            case Done():
                usage = event.usage
                tokens = f"{usage.prompt_tokens} + {usage.sampled_tokens + usage.spliced_tokens} tokens"
                self._line(f"({event.finish_reason.value}, seed {event.seed}, {tokens})", "note")

    def saved(self, page: Path) -> None:
        self._line(f"saved: {nearby(page)}", "note")

    def close(self) -> None:
        if not self._at_line_start:
            self._write("\n", "")

    def _text(self, text: str) -> None:
        if self._at_line_start:
            text = text.lstrip(" ")  # what separated it from the medium before it, which has a line now
        if text:
            self._write(text, "")

    def _line(self, text: str, style: str) -> None:
        self.close()
        self._write(" ".join(text.splitlines()) + "\n", style)

    def _write(self, text: str, style: str) -> None:
        self._at_line_start = text.endswith("\n")
        self._put(text, style)

    def _put(self, text: str, style: str) -> None:
        self._out.write(text)
        self._out.flush()

    def _working(self, what: str) -> None:
        pass

    def _progress(self, event: GenerationProgress) -> None:
        pass


class Coloured(Plain):
    """The same on a terminal, with colours and a bar for each generator at work.

    Control characters that a model wrote are shown, not sent: they could move the cursor or worse.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console.file)
        self._console = console
        self._bars: Progress | None = None
        self._tasks: dict[int, TaskID] = {}
        self._models: list[str] = []

    def show(self, event: Event) -> None:
        if isinstance(event, MetaResponse):
            self._models.append(event.model)
        if not isinstance(event, GenerationProgress):
            self._clear_bars()
        super().show(event)

    def close(self) -> None:
        self._clear_bars()
        super().close()

    def _put(self, text: str, style: str) -> None:
        from rich.text import Text

        visible = Text(visible_only(text), style=STYLES.get(style, ""))
        self._console.print(visible, end="", soft_wrap=True, highlight=False)

    def _working(self, what: str) -> None:
        """Shown while the call is still being written, which on a small machine takes a moment."""
        super().close()
        self._start_bars().add_task(what, total=None)

    def _progress(self, event: GenerationProgress) -> None:
        bars = self._bars
        if bars is None:
            super().close()
            bars = self._start_bars()
        if event.call not in self._tasks:
            name = self._models[event.call] if event.call < len(self._models) else f"call {event.call + 1}"
            self._tasks[event.call] = bars.add_task(name, total=event.steps)
        bars.update(self._tasks[event.call], completed=event.step, total=event.steps)

    def _start_bars(self) -> Progress:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("  {task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        self._bars = Progress(*columns, console=self._console, transient=True)
        self._bars.start()
        return self._bars

    def _clear_bars(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks = {}


def display_for(out: IO[str]) -> Display:
    """The display that suits `out`: coloured where it is a terminal."""
    if not out.isatty():
        return Plain(out)
    from rich.console import Console

    return Coloured(Console(file=out, highlight=False))


def spelled(call: MetaResponse) -> str:
    """A meta-response as it stands in the transcript."""
    if call.raw:
        return call.raw
    body = {"Model": call.model, "Input": call.input}
    extra = {"Options": dict(call.options)} if call.options else {}
    source = {"Source": call.source} if call.source is not None else {}
    return f"<meta>{json.dumps({**body, **extra, **source}, ensure_ascii=False)}</meta>"


def chosen(choice: Choice) -> str:
    """How a medium was chosen, in words."""
    said = f"best of {choice.drawn}, agreement {choice.agreement:.2f}"
    if choice.retries:
        said += f", asked again {choice.retries} time{'s' if choice.retries > 1 else ''}"
    return said if choice.content else f"{said}, less than wanted"


def nearby(path: Path) -> str:
    """A path as one would type it here: relative where that is shorter."""
    relative = os.path.relpath(path)
    return min(str(path), relative, key=len)


def visible_only(text: str) -> str:
    """Control characters as pictures of themselves (ESC becomes ␛); line ends and tabs stay.

    Marks that turn the direction of writing count too: they make a line read as what it is not.
    """
    return "".join(_picture(character) if _is_control(character) else character for character in text)


def _is_control(character: str) -> bool:
    return (unicodedata.category(character) == "Cc" and character not in "\n\t") or character in _DIRECTIONS


def _picture(character: str) -> str:
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"
