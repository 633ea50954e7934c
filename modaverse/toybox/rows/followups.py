"""What is said next: changes, repetitions, the same in another form, and questions about what came before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modaverse.context import Modality
from modaverse.toybox.rows.answer import Answer
from modaverse.toybox.rows.chat import MEDIA, NOUNS, VISUAL, Chat, Seen, look_of, other_value, requests
from modaverse.toybox.rows.given import ask_about, remake_wish
from modaverse.toybox.rows.talk import beyond_edit
from modaverse.toybox.wordings.wishes import ATTRIBUTES_OF, Wish, wish_for

_ORDINALS = ("first", "second", "third", "fourth")


def _wish_with(seen: Seen, changes: dict[str, str]) -> Wish:
    """All that is known of `seen`, with `changes`."""
    scene = seen.scene
    if scene is None:
        raise ValueError("nothing is known of what was not recognised")
    attributes = wish_for(scene).attributes | changes
    thing = attributes.pop("thing")
    return Wish(seen.modality, thing, **attributes)


def _answer(chat: Chat, intent: str, before: str, wish: Wish, seen: Seen | None) -> None:
    answer = Answer(chat, intent)
    if chat.chance(0.85):
        answer.say(chat.tell(before))
    made = answer.call(wish, edits=seen)
    if chat.chance(0.8):
        answer.comment(made)
    answer.done()


def edit(chat: Chat, last: Seen) -> bool:
    """ "Make it blue." "Now at night." """
    scene = last.scene
    if scene is None:
        return False
    names = list(ATTRIBUTES_OF[last.modality])
    weights = {"colour": 4, "size": 2, "backdrop": 3, "direction": 4, "speed": 2, "pitch": 1, "pace": 1}
    chosen = {chat.rng.choices(names, [weights[n] for n in names])[0]}
    if chat.chance(0.15):
        chosen.add(chat.rng.choice(names))
    rule = "edit.image" if chosen <= {"colour", "size", "backdrop"} else f"edit.{last.modality.value}"
    changes = {name: other_value(chat.rng, name, getattr(scene, name)) for name in names if name in chosen}
    wish = _wish_with(last, changes)
    said, words = dict(changes), dict(changes)
    if rule == "edit.video" and changes.keys() == {"speed"} and chat.chance(0.5):
        words = {"pace": changes["speed"]}  # "faster" is said of both
    if not chat.allowed(wish) or not requests().eligible(rule, words, chat.split):
        return False
    chat.user(chat.ask(rule, words))
    _answer(chat, f"edit.{last.modality.value}", "before.change", wish, last)
    chat.truths[-1]["changes"] = said
    return True


def edit_thing(chat: Chat, last: Seen) -> bool:
    """ "The same with a dog." """
    if last.scene is None:
        return False
    thing = other_value(chat.rng, "thing", last.scene.thing)
    wish = _wish_with(last, {"thing": thing})
    if not chat.allowed(wish):
        return False
    chat.user(chat.ask("edit.thing", {"thing": thing}))
    _answer(chat, f"edit.thing.{last.modality.value}", "before.change", wish, last)
    chat.truths[-1]["changes"] = {"thing": thing}
    return True


def again(chat: Chat, last: Seen) -> bool:
    """ "Another one." "That's wrong, try again." """
    wish = last.wish
    if wish is None or not chat.allowed(wish):
        return False
    missed = last.scene is None or not wish.fits(last.scene)
    if missed or chat.chance(0.15):
        text, before = chat.ask("again.wrong", x=chat.bit("noun", {"thing": wish.thing})), "before.again"
    else:
        text, before = chat.ask(f"again.{last.modality.value}"), "before.any"
    chat.user(text)
    _answer(chat, f"again.{last.modality.value}", before, wish, None)
    return True


def then(chat: Chat, last: Seen) -> bool:
    """ "Now its sound." "Animate it." """
    if last.scene is None:
        return False
    target = chat.rng.choice([kind for kind in MEDIA if kind is not last.modality])
    wish = remake_wish(last, target)
    if target is Modality.VIDEO and last.modality is Modality.IMAGE and chat.chance(0.4):
        wanted = wish_for(chat.scene(Modality.VIDEO)).attributes
        change = {"direction": wanted["direction"]} | chat.some({"speed": wanted["speed"]}, 0.3)
        wish = Wish(target, wish.thing, **look_of(last.scene), **change)
        text = chat.ask("then.video_to", change)
    else:
        text = chat.ask(f"then.{target.value}")
    if not chat.allowed(wish):
        return False
    chat.user(text)
    _answer(
        chat,
        f"then.{last.modality.value}.{target.value}",
        "before.any",
        wish,
        last if target is Modality.VIDEO else None,
    )
    return True


def ask_last(chat: Chat, last: Seen) -> bool:
    """A question about the last medium."""
    ask_about(chat, last)
    return True


def recall(chat: Chat, last: Seen) -> bool:
    """ "What colour was the first one?" """
    if len(chat.seen) < 2:
        return False
    seen = chat.rng.choice(chat.seen)
    scene = seen.scene
    kin = [other for other in chat.seen if other.modality is seen.modality]
    if scene is None or (len(kin) < len(chat.seen) and len(kin) < 2):
        return False
    place = kin.index(seen)
    ordinal = "last" if seen is kin[-1] and chat.chance(0.5) else _ORDINALS[min(place, 3)]
    if place > 3 and ordinal != "last":
        return False
    medium = NOUNS[seen.modality]
    topics = ["thing", "colour", "backdrop"] if seen.modality in VISUAL else ["thing", "pitch"]
    if seen.modality is Modality.VIDEO:
        topics.append("direction")
    topic = chat.rng.choice(topics)
    which = chat.bit(f"recall.which.{ordinal}")
    mixed = len(kin) < len(chat.seen)
    for _ in range(20):
        text = chat.ask(f"recall.{topic}", which=which, medium=medium, n=str(seen.number))
        # Among media of several kinds only "the first picture" says which one is meant.
        if not mixed or medium in text or f"number {seen.number}" in text:
            break
    else:
        return False
    chat.user(text)
    attributes = {topic: getattr(scene, topic)}
    rule = f"answer.was_{topic}" if topic in ("thing", "colour") else f"answer.{topic}"
    answer = Answer(chat, f"recall.{topic}")
    answer.truth["given"] = [wish_for(scene).attributes]
    answer.says(rule, attributes).done()
    return True


def edit_beyond(chat: Chat, last: Seen) -> bool:
    """ "Make it pink." """
    beyond_edit(chat)
    return True


Followups = Sequence[tuple[Callable[[Chat, Seen], bool], int]]

FOLLOWUPS: Followups = (
    (edit, 30),
    (edit_thing, 10),
    (again, 10),
    (then, 20),
    (ask_last, 16),
    (recall, 12),
    (edit_beyond, 3),
)
"""What may come next about the last medium, with weights. Each returns False where it does not apply."""


def nothing_yet(chat: Chat) -> None:
    """A follow-up where there is nothing to follow."""
    kind = chat.rng.choice(("edit", "again", "then"))
    if kind == "edit":
        text = chat.ask("edit.image", {"colour": chat.scene(Modality.IMAGE).colour})  # type: ignore[union-attr]
    else:
        text = chat.ask(f"{kind}.{chat.rng.choice(MEDIA).value}")
    chat.user(text)
    Answer(chat, "social.nothing").say(chat.tell("answer.nothing_yet")).done()
