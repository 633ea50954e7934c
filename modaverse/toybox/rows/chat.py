"""A conversation in the making: both sides' words, the media in it, and the truth about them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from modaverse.context import Modality, Role
from modaverse.toybox.uris import unknown_uri, uri_of
from modaverse.toybox.wordings.grammar import Grammar, Split, sentence_case
from modaverse.toybox.wordings.pseudo import pseudo_word
from modaverse.toybox.wordings.typos import typed
from modaverse.toybox.wordings.wishes import (
    ATTRIBUTES_OF,
    MODALITY_OF,
    SCENE_OF,
    VALUES,
    AnyScene,
    Wish,
    complete,
)
from modaverse.toybox.world import (
    THINGS,
    ClipScene,
    Scene,
    is_held_out,
    random_clip_scene,
    random_scene,
    random_sound_scene,
)
from modaverse.training.layout import Layout
from modaverse.training.rows import MediaPart, Row, RowPart, RowTurn, TextPart

EDITORS = {(Modality.IMAGE, Modality.IMAGE): "TI-to-I", (Modality.IMAGE, Modality.VIDEO): "I-to-V"}
"""What mini calls to go on from a medium, by the kinds of both. Changed clips and sounds are made afresh: of
those its generators have learnt no changes."""
NOUNS = {Modality.IMAGE: "picture", Modality.VIDEO: "clip", Modality.AUDIO: "sound"}
VISUAL = (Modality.IMAGE, Modality.VIDEO)
MEDIA = (Modality.IMAGE, Modality.VIDEO, Modality.AUDIO)
MARK = "@"

# Different renders of one scene, and of what is unknown. Rendering and encoding cost more than training on a
# row does, so rows share some 20,000 pictures, 13,000 clips and 8,000 sounds, however many rows there are.
RENDERS = {Modality.IMAGE: 24, Modality.VIDEO: 2, Modality.AUDIO: 200}
RENDERS_UNKNOWN = 1500


@cache
def requests() -> Grammar:
    """What users say."""
    return Grammar.load(
        "lexicon.toml",
        "subjects.toml",
        "draw.toml",
        "frames.toml",
        "given.toml",
        "several.toml",
        "chat.toml",
        "outside.toml",
        "refusals.toml",
    )


@cache
def answers() -> Grammar:
    """What mini says."""
    return Grammar.load("plain.toml", "answers.toml")


@dataclass(frozen=True, slots=True)
class Seen:
    """A medium of the conversation. `scene` is None for what mini does not know; a call's has its `wish`."""

    number: int
    modality: Modality
    scene: AnyScene | None
    wish: Wish | None = None
    failure: str | None = None  # the kind of failure of a call that made nothing, and so has no number


@dataclass
class Chat:
    """Builds one row; `split` decides which wordings and combinations of attributes may occur.

    `missed` is how often a generator makes something else than it was asked for: then the answer's words
    follow the medium, and that is how mini learns to look at what was really made. `failing` is how often it
    makes nothing. With a `layout` mini writes on while media are made, and without one it waits for each.
    """

    rng: random.Random
    split: Split = "train"
    missed: float = 0.2
    failing: float = 0.0
    layout: Layout | None = None
    hurry: float = 1.0
    editing: bool = False
    turns: list[RowTurn] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    truths: list[dict[str, Any]] = field(default_factory=list)
    answered: int = 0

    # ---- words

    def ask(self, rule: str, attributes: Mapping[str, str] | None = None, /, **slots: str) -> str:
        """A user's wording, of this row's split."""
        return requests().say(rule, self.rng, attributes, slots, split=self.split)

    def bit(self, rule: str, attributes: Mapping[str, str] | None = None, /, **slots: str) -> str:
        """A part of a user's wording: in held-out rows held out or not."""
        split: Split = "train" if self.split == "train" else "any"
        return requests().say(rule, self.rng, attributes, slots, split=split)

    def tell(self, rule: str, attributes: Mapping[str, str] | None = None, /, **slots: str) -> str:
        """Mini's words."""
        return sentence_case(answers().say(rule, self.rng, attributes, slots))

    def can(self, rule: str, attributes: Iterable[str]) -> bool:
        """True when `ask` can say just these attributes."""
        return bool(requests().eligible(rule, attributes, self.split))

    def pseudo(self) -> str:
        return pseudo_word(self.rng, held_out=self.split != "train")

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def some(self, attributes: Mapping[str, str], probability: float, *always: str) -> dict[str, str]:
        """A random part of `attributes`."""
        return {n: v for n, v in attributes.items() if n in always or self.rng.random() < probability}

    # ---- media

    def scene(self, modality: Modality) -> AnyScene:
        """A scene that this row may show; in held-out rows every second one is a held-out combination."""
        held_out = self.split != "train" and self.chance(0.5)
        match modality:
            case Modality.IMAGE:
                return random_scene(self.rng, held_out=held_out)
            case Modality.VIDEO:
                return random_clip_scene(self.rng, held_out=held_out)
            case Modality.AUDIO:
                return random_sound_scene(self.rng, held_out=held_out)

    def allowed(self, wish: Wish) -> bool:
        """Training never asks for a held-out combination."""
        if self.split != "train":
            return True
        names = ATTRIBUTES_OF[wish.modality]
        if any(getattr(wish, name) is None for name in names) or wish.thing not in THINGS:
            return self._can_be_completed(wish)
        return not is_held_out(SCENE_OF[wish.modality](wish.thing, *(getattr(wish, n) for n in names)))

    def _can_be_completed(self, wish: Wish) -> bool:
        return not is_held_out(complete(wish, self.rng))

    def made(self, wish: Wish) -> AnyScene | None:
        """What the generator makes of `wish`: mostly what it was asked for."""
        scene = complete(wish, self.rng, held_out=False if self.split == "train" else None)
        if not self.chance(self.missed):
            return scene
        roll = self.rng.random()
        if roll < 0.06:
            return None
        other = complete(Wish(wish.modality, "something"), self.rng)
        if roll < 0.5:
            return other
        name = "thing" if roll < 0.75 or wish.modality is Modality.AUDIO else "colour"
        scene = replace(scene, **{name: getattr(other, name)})
        return other if is_held_out(scene) else scene

    def add_media(self, modality: Modality, scene: AnyScene | None, wish: Wish | None) -> MediaPart:
        """A medium that shows `scene`, with the next number."""
        self.seen.append(Seen(len(self.seen) + 1, modality, scene, wish))
        if scene is not None:
            return MediaPart(uri_of(scene, self.rng.randrange(RENDERS[modality])))
        seed = self.rng.randrange(RENDERS_UNKNOWN)
        kind = "spoilt" if self.chance(0.4) else "foreign" if self.split == "train" else "held_out"
        return MediaPart(unknown_uri(modality, kind, seed))  # type: ignore[arg-type]

    # ---- turns

    def user(self, text: str, *given: AnyScene | None, kinds: Sequence[Modality] = ()) -> None:
        """The user's turn. Media stand where `text` has marks, else before or after it.

        Where there are more media than marks, the first mark stands for several. `kinds` names the modalities
        of what is given, and is needed only where it is unknown (None).
        """
        modalities = kinds or [MODALITY_OF[type(scene)] for scene in given if scene is not None]
        media = [self.add_media(kind, scene, None) for kind, scene in zip(modalities, given, strict=True)]
        if media and MARK not in text:
            before = (
                sum(self.chance(0.5) for _ in media[1:])
                if self.chance(0.1)
                else self.rng.choice((0, len(media)))
            )
            text = MARK * before + text + MARK * (len(media) - before)
        left_over = len(media) - text.count(MARK)
        if left_over > 0:
            text = text.replace(MARK, MARK * (1 + left_over), 1)
        pieces = [piece.strip(" ") for piece in typed(text, self.rng, hurry=self.hurry).split(MARK)]
        parts: list[RowPart] = []
        for index, piece in enumerate(pieces):
            if index:
                parts.append(media[index - 1])
            if piece and not (index and piece.strip(".!") == ""):
                parts.append(TextPart(piece))
        # Who is in a hurry leaves out the question mark, also where it is all there was.
        self.turns.append(RowTurn(Role.USER, tuple(parts or [TextPart(text)])))

    def forget(self) -> None:
        """Take back a user's turn that is not answered yet, and the media since the last answer."""
        self.turns.pop()
        del self.seen[self.answered :]

    def row(self) -> Row:
        return Row(tuple(self.turns), {"split": self.split, "turns": self.truths})

    # ---- what can be talked about

    @property
    def last(self) -> Seen | None:
        return self.seen[-1] if self.seen else None


def look_of(scene: AnyScene) -> dict[str, str]:
    """Colour, size and backdrop of a picture or clip."""
    if not isinstance(scene, Scene | ClipScene):
        return {}
    return {"colour": scene.colour, "size": scene.size, "backdrop": scene.backdrop}


def other_value(rng: random.Random, name: str, value: str) -> str:
    """Another value of an attribute."""
    values = THINGS if name == "thing" else VALUES[name]
    return rng.choice([v for v in values if v != value])
