"""Mini's side of a conversation: what it says and calls, and how it waits for what is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modaverse.context import Modality, Role
from modaverse.interfaces import MODELS
from modaverse.toybox.rows.chat import EDITORS, VISUAL, Chat, Seen
from modaverse.toybox.wordings.captions import plain_caption
from modaverse.toybox.wordings.wishes import Wish, wish_for
from modaverse.training.rows import CallPart, FailedPart, RowPart, RowTurn, TextPart

CAUSES: Mapping[str, Sequence[str]] = {
    "time": ("{model} did not finish within {n}0 s", "generator {card} did not finish within {n} s"),
    "memory": (
        "{model} needs {n}.4 GB, and the memory budget is {n}.0 GB",
        "generator {card} ran out of memory: tried to allocate {n}00 MB",
    ),
    "disk": ("cannot write {model}: No space left on device", "No space left on device"),
    "broken": (
        "{model} failed: RuntimeError: expected a tensor of {n} rows",
        "generator {card} failed: ValueError: {n} is no valid size",
        "{model}: the generator's output is not a number in places",
        "generator {card}: the service answers with the status 50{n}",
    ),
    "closed": ("the pool is closed",),
}
"""What notes say, by the kind of failure, as generators and their pool put it."""

_CARDS = ("mini-image", "mini-video", "mini-audio", "sd-turbo", "my-own")
_SPARE = 3  # sentences that mini says at most while it waits


class Answer:
    """Mini's turn: text, calls with what they made, and the truth that evaluation compares with.

    Where the row has a layout, media come where decoding would splice them. Until then mini has not seen
    them: comments wait, and in between it says that they are on their way.
    """

    def __init__(self, chat: Chat, intent: str) -> None:
        self.chat = chat
        self.parts: list[RowPart] = []
        self.truth: dict[str, Any] = {"intent": intent, "calls": []}
        self._layout = None if chat.layout is None else chat.layout.answer()
        self._coming: list[tuple[Seen, RowPart]] = []  # what is being made, in the order of the calls
        self._untold: list[tuple[Seen, bool]] = []  # comments on it, and whether they say everything

    # ---- words

    def say(self, text: str) -> Answer:
        """Add a sentence; a space parts it from what came before."""
        text = f" {text}" if self.parts else text
        if self._layout is None:
            self._write(text)
            return self
        for run, due in self._layout.text(text):
            self._write(run)
            self._arrive(due)
        return self

    def comment(self, seen: Seen, *, whole: bool = False) -> Answer:
        """Say what was really made, as soon as it is there."""
        if self._is_coming(seen):
            self._untold.append((seen, whole))
            return self
        return self._comment(seen, whole)

    def says(self, rule: str, attributes: Mapping[str, str], **slots: str) -> Answer:
        """A sentence whose attributes are the truth of this answer."""
        self.truth["says"] = dict(attributes)
        return self.say(self.chat.tell(rule, attributes, **slots))

    def refuse(self, rule: str, **slots: str) -> Answer:
        self.truth["refuses"] = True
        return self.say(self.chat.tell(rule, **slots))

    def _write(self, text: str) -> None:
        last = self.parts[-1] if self.parts else None
        if isinstance(last, TextPart):
            self.parts[-1] = TextPart(last.text + text)
        else:
            self.parts.append(TextPart(text))

    def _comment(self, seen: Seen, whole: bool) -> Answer:
        chat = self.chat
        if seen.failure is not None:
            self.truth.pop("says", None)
            why = chat.tell(f"failed.{seen.failure}").lower()
            return self.say(chat.tell(f"failed.{seen.modality.value}", why=why))
        if seen.scene is None:
            self.truth.pop("says", None)
            return self.say(chat.tell("missed.unknown"))
        always = ("thing", "colour") if seen.modality in VISUAL else ("thing",)
        attributes = chat.some(wish_for(seen.scene).attributes, 1.0 if whole else 0.6, *always)
        if seen.modality is Modality.VIDEO:
            attributes.pop("size", None)
        if "direction" not in attributes:
            attributes.pop("speed", None)
        rule = "after" if seen.wish is None or seen.wish.fits(seen.scene) else "missed"
        self.truth["says"] = attributes
        return self.say(chat.tell(f"{rule}.{seen.modality.value}", attributes))

    # ---- media

    def call(self, wish: Wish, *, edits: Seen | None = None) -> Seen:
        """A call for `wish`, and what the generator makes of it."""
        chat, model, source = self.chat, MODELS[wish.modality], None
        if edits is not None and chat.editing and (edits.modality, wish.modality) in EDITORS:
            model, source = EDITORS[edits.modality, wish.modality], edits.number
        call = CallPart(model, plain_caption(wish), source=source)
        truth: dict[str, Any] = {"model": model, "wish": wish.attributes, "made": None}
        part: RowPart
        if chat.failing and chat.chance(chat.failing):
            kind = chat.rng.choice(tuple(CAUSES))
            part = FailedPart(self._cause(kind, model))
            seen = Seen(-1 - len(self.truth["calls"]), wish.modality, None, wish, failure=kind)
            truth["failed"] = kind
        else:
            made = chat.made(wish)
            part = chat.add_media(wish.modality, made, wish)
            seen = chat.seen[-1]
            truth["made"] = None if made is None else wish_for(made).attributes
        self.truth["calls"].append(truth)
        self.parts.append(call)
        if self._layout is None:
            self.parts.append(part)
        else:
            self._layout.call(call)
            self._coming.append((seen, part))
        if seen.failure is not None:
            self._untold.append((seen, False))
        return seen

    def look_at(self, *seen: Seen) -> Answer:
        """Wait until these are there: what follows depends on what they show."""
        said = 0
        while self._layout is not None and any(map(self._is_coming, seen)):
            if said == _SPARE or self.chat.chance(0.1):
                self._arrive(self._layout.end())
            else:
                self.say(self.chat.tell("meanwhile.many" if len(self._coming) > 1 else "meanwhile.one"))
                said += 1
        return self

    def done(self) -> None:
        while self._untold:
            seen, whole = self._untold[0]
            self.look_at(seen)
            del self._untold[0]
            self._comment(seen, whole)
        if self._coming and self._layout is not None:
            if self.chat.chance(0.5):
                self.say(self.chat.tell("meanwhile.many" if len(self._coming) > 1 else "meanwhile.one"))
            self._arrive(self._layout.end())
        self.chat.turns.append(RowTurn(Role.ASSISTANT, tuple(self.parts)))
        self.chat.truths.append(self.truth)
        self.chat.answered = len(self.chat.seen)

    def _cause(self, kind: str, model: str) -> str:
        rng = self.chat.rng
        return rng.choice(CAUSES[kind]).format(model=model, card=rng.choice(_CARDS), n=rng.randint(2, 9))

    def _is_coming(self, seen: Seen) -> bool:
        return any(seen is other for other, _ in self._coming)

    def _arrive(self, count: int) -> None:
        self.parts += [part for _, part in self._coming[:count]]
        del self._coming[:count]
