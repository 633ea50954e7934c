"""Toybox's language: the documents that mini's LLM learns before it meets media or calls.

They hold what the adapter can then build upon: requests and what they mean, however they are typed;
attributes bound to things in a context; numbers; changes; conversations. Media are described in words
("1: a small red cat on a beach"), and where mini would call a generator, it says the caption. No document
contains a meta-response or one of its tokens.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from modaverse.context import Modality, Role
from modaverse.toybox.rows import MIXTURE, sample_row
from modaverse.toybox.rows.chat import MEDIA, NOUNS, Chat, other_value, requests
from modaverse.toybox.rows.followups import ask_last, recall
from modaverse.toybox.rows.making import draw_wish, request
from modaverse.toybox.tokenizer import ASSISTANT, EOS, USER
from modaverse.toybox.uris import modality_of, scene_of
from modaverse.toybox.wordings.captions import caption_of, plain_caption
from modaverse.toybox.wordings.grammar import Grammar, Split, sentence_case
from modaverse.toybox.wordings.typos import typed
from modaverse.toybox.wordings.vocabulary import english
from modaverse.toybox.wordings.wishes import ATTRIBUTES_OF, AnyScene, Wish, wish_for
from modaverse.training.rows import CallPart, MediaPart, Row, TextPart

ASKING = {name: MIXTURE[name] for name in ("ask", "which", "same", "compare", "count")}
TALKING = {name: MIXTURE[name] for name in ("social", "mini", "outside", "nothing")}


@cache
def tasks() -> Grammar:
    return Grammar.load("plain.toml", "tasks.toml")


def chat_text(*turns: str) -> str:
    """A conversation with its turn tokens: user, assistant, user, …"""
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return "".join(f"{USER}{user}{ASSISTANT}{answer}{EOS}" for user, answer in pairs)


def _say(rng: random.Random, rule: str, **slots: str) -> str:
    return tasks().say(rule, rng, None, slots)


# ------------------------------------------------------------------------------------- documents


def rewriting(rng: random.Random, split: Split) -> str:
    """A request, and the kind of medium and the caption that it means; "none" outside of Toybox."""
    chat = Chat(rng, split)
    if rng.random() < 0.15:
        row = sample_row(rng, split=split, mixture={"outside": 1}, turns=(1,))
        text, caption = _words(row, 0), _say(rng, "rewrite.none").removeprefix("Caption: ")
    else:
        wish = draw_wish(chat, rng.choice(MEDIA), open_thing=0.06)
        text = typed(request(chat, wish), rng)
        caption = f"{NOUNS[wish.modality]}: {plain_caption(wish)}"
    if rng.random() < 0.4:
        return _say(rng, "rewrite.plain", r=text, c=caption)
    question = _say(rng, "rewrite.ask", r=text)
    return chat_text(question, _say(rng, "rewrite.answer", c=caption))


def _words(row: Row, turn: int) -> str:
    return "".join(part.text for part in row.turns[turn].parts if isinstance(part, TextPart))


def conversation(rng: random.Random, split: Split) -> str:
    """A whole row in words."""
    return in_words(sample_row(rng, split=split), rng)


def questions(rng: random.Random, split: Split) -> str:
    """Descriptions, and questions about them."""
    steps = ((ask_last, 16), (recall, 12))
    row = sample_row(rng, split=split, mixture=ASKING, turns=(0.3, 0.3, 0.2, 0.2), followups=steps)
    return in_words(row, rng)


def talking(rng: random.Random, split: Split) -> str:
    return in_words(
        sample_row(rng, split=split, mixture=TALKING, turns=(0.7, 0.2, 0.1), followups=((ask_last, 1),)), rng
    )


def in_words(row: Row, rng: random.Random) -> str:
    """`row` as a conversation without media and calls."""
    style = rng.choice(("{n}: {d}", "[{n}: {d}]", "({m} {n}: {d})", "{m} {n}: {d}.", "{n}: {m}: {d};"))
    between = rng.choice((" ", "\n"))
    turns: list[str] = []
    number = 0
    for turn in row.turns:
        pieces: list[str] = []
        for part in turn.parts:
            match part:
                case TextPart():
                    pieces.append(part.text.strip())
                case MediaPart():
                    number += 1
                    noun = NOUNS[modality_of(part.uri)]
                    pieces.append(style.format(n=number, m=noun, d=described(part.uri, rng)))
                case CallPart():
                    pieces.append(f"{_KIND[part.model]}: {part.input}.")
        turns.append((between if turn.role is Role.USER else " ").join(pieces))
    return chat_text(*turns)


_KIND = {"T-to-I": "Picture", "T-to-V": "Clip", "T-to-A": "Sound"}


def described(uri: str, rng: random.Random) -> str:
    """A medium in words, mostly whole."""
    scene = scene_of(uri)
    if scene is None:
        return rng.choice(("something unknown", "nothing known", "noise", "a strange thing"))
    return caption_of(wish_for(scene), rng, plain=0.6)


def changing(rng: random.Random, split: Split) -> str:
    """A caption, a change, and the caption that comes of it."""
    chat = Chat(rng, split)
    modality = rng.choice(MEDIA)
    for _ in range(20):
        wish = draw_wish(chat, modality, open_thing=0.0, detail=rng.choice((1.0, 0.6)))
        name = rng.choice((*ATTRIBUTES_OF[modality], "thing"))
        old = getattr(wish, name) or getattr(chat.scene(modality), name)
        value = other_value(rng, name, old)
        changed = Wish(modality, **{**wish.attributes, name: value})
        kind = "image" if name in ("colour", "size", "backdrop") else modality.value
        rule = "edit.thing" if name == "thing" else f"edit.{kind}"
        if chat.allowed(changed) and requests().eligible(rule, {name}, split):
            change = typed(chat.ask(rule, {name: value}), rng)
            before, after = plain_caption(wish), plain_caption(changed)
            if rng.random() < 0.4:
                return _say(rng, "edit.plain", c=before, r=change, d=after)
            return chat_text(f"Caption: {before}", "Good.", change, f"Caption: {after}")
    return rewriting(rng, split)


def attributes(rng: random.Random, split: Split) -> str:
    """A caption beside a list of what it says, or beside another caption of the same."""
    chat = Chat(rng, split)
    wish = draw_wish(chat, rng.choice(MEDIA), open_thing=0.04)
    if rng.random() < 0.5:
        said = wish.attributes
        names = rng.sample(list(said), len(said))
        text = rng.choice(("; ", ", ", "\n")).join(f"{name}: {said[name]}" for name in names)
    else:
        text = caption_of(wish, rng, plain=0.1)
    return _say(rng, "attributes.plain", c=caption_of(wish, rng), t=text)


def spelling(rng: random.Random, split: Split) -> str:
    """A misspelt request, and what was meant."""
    chat = Chat(rng, split)
    right = sentence_case(request(chat, draw_wish(chat, rng.choice(MEDIA))))
    wrong = typed(right, rng, hurry=1.5)
    if rng.random() < 0.6:
        return _say(rng, "spelling.plain", r=wrong, t=right)
    return chat_text(_say(rng, "spelling.ask", r=wrong), right)


def repeating(rng: random.Random, split: Split) -> str:
    """Words of any kind, copied."""
    chat = Chat(rng, split)
    words = [
        requests().say(rng.choice(("outside.animal.one", "outside.thing.one", "outside.sound.one")), rng)
        if rng.random() < 0.5
        else chat.pseudo()
        for _ in range(rng.randint(1, 4))
    ]
    text = ", ".join(words)
    return chat_text(_say(rng, "repeat.ask", r=text), text)


def story(rng: random.Random, split: Split) -> str:
    """Several things in prose, then questions that bind attributes to them."""
    chat = Chat(rng, split)
    scenes: list[AnyScene] = []
    count = rng.choice((2, 2, 3, 4))
    while len(scenes) < count:
        scene = chat.scene(Modality.IMAGE)
        if all(scene.thing != other.thing for other in scenes):
            scenes.append(scene)
    sentences = [
        _say(rng, "story.next" if index else "story.first", c=caption_of(wish_for(scene), rng, plain=0.6))
        for index, scene in enumerate(scenes)
    ]
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(scenes))
        said = wish_for(scenes[place]).attributes
        thing = {"thing": said["thing"]}
        topic = rng.choice(("colour", "colour", "backdrop", "size", "which", "thing_at"))
        slots = {"x": said.get(topic, said["colour"]), "n": str(place + 1)}
        if topic == "backdrop":
            slots["x"] = tasks().say(f"backdrop.{said['backdrop']}", rng)
        if topic == "which" and sum(wish_for(s).attributes["colour"] == said["colour"] for s in scenes) > 1:
            continue
        sentences.append(sentence_case(tasks().say(f"story.{topic}", rng, thing, slots)))
    return rng.choice((" ", "\n")).join(sentences)


def general(rng: random.Random, split: Split) -> str:
    """A few plain English sentences."""
    lines = [line for line in english() if line[:1].isupper() and "{" not in line]
    return " ".join(rng.sample(rng.choice(lines).split(". "), 1))


KINDS = {
    rewriting: 28,
    conversation: 24,
    questions: 16,
    talking: 8,
    changing: 8,
    attributes: 4,
    spelling: 4,
    repeating: 2,
    story: 5,
    general: 1,
}
"""The kinds of documents, with weights."""


def sample_document(rng: random.Random, split: Split = "train") -> str:
    """One document, its turn tokens spelled out; it ends with `<|end|>`."""
    make = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
    text = make(rng, split)
    return text if text.endswith(EOS) else text + EOS


def corpus(seed: int, split: Split = "train") -> Iterator[str]:
    """Documents without end, the same for the same arguments."""
    rng = random.Random(f"corpus:{split}:{seed}")
    while True:
        yield sample_document(rng, split)
