"""Requests about media that the user sends: make something from them, describe them, compare them."""

from __future__ import annotations

from modaverse.context import Modality
from modaverse.toybox.rows.answer import Answer
from modaverse.toybox.rows.chat import MEDIA, NOUNS, VISUAL, Chat, Seen, look_of, other_value
from modaverse.toybox.rows.making import asking_again, brief
from modaverse.toybox.wordings.wishes import Wish, wish_for
from modaverse.toybox.world import THINGS

UNKNOWN = 0.07
"""How often a medium is one that mini does not know."""

NUMBERS = ("no", "one", "two", "three", "four", "five")
PAIRS = tuple((a, b) for a in MEDIA for b in MEDIA if not a is b is Modality.AUDIO)
_BEFORE = {
    (Modality.AUDIO, Modality.IMAGE): "before.heard_image",
    (Modality.AUDIO, Modality.VIDEO): "before.heard_video",
}


def remake_wish(seen: Seen, modality: Modality) -> Wish:
    """The wish for the thing of `seen` as `modality`: with its looks where both can be seen."""
    scene = seen.scene
    if scene is None:
        raise ValueError("nothing is known of what was not recognised")
    if modality is Modality.AUDIO or seen.modality is Modality.AUDIO:
        return Wish(modality, scene.thing)
    if modality is seen.modality:
        return wish_for(scene)
    return Wish(modality, scene.thing, **look_of(scene))


def announce_seen(chat: Chat, answer: Answer, seen: Seen, wish: Wish) -> None:
    """ "I hear a bell. Here is a picture of one:" """
    if chat.chance(0.2):
        answer.say(chat.tell("before.any"))
        return
    rule = _BEFORE.get((seen.modality, wish.modality), f"before.seen_{wish.modality.value}")
    said = {"thing": wish.thing}
    if rule.startswith("before.seen") and wish.modality in VISUAL and wish.colour and chat.chance(0.6):
        said["colour"] = look_of(seen.scene)["colour"] if seen.scene else wish.colour
    answer.say(chat.tell(rule, said))


def unknown_answer(chat: Chat, answer: Answer, modality: Modality) -> None:
    answer.refuse(f"unknown.{modality.value}").done()


def make_from(chat: Chat) -> None:
    """ "Draw what you hear." """
    source, target = chat.rng.choice(PAIRS)
    if source is target and chat.chance(0.5):
        change_given(chat, source)
        return
    if chat.chance(0.12):
        make_from_one_of_two(chat)
        return
    known = not chat.chance(UNKNOWN)
    scene = chat.scene(source) if known else None
    text = asking_again(chat, source, target)
    change: dict[str, str] = {}
    if known and target in VISUAL and source is Modality.AUDIO and chat.chance(0.2):
        change = _change(chat, target)
        text = f"{text.rstrip('.?! ')}{chat.bit('extra.visual', change)}"
    elif known and source is Modality.IMAGE and target is Modality.VIDEO and chat.chance(0.3):
        wanted = wish_for(chat.scene(Modality.VIDEO)).attributes
        change = {"direction": wanted["direction"]} | chat.some({"speed": wanted["speed"]}, 0.3)
        text = chat.ask("then.video_to", change)
    chat.user(text, scene, kinds=(source,))
    answer = Answer(chat, f"from.{source.value}.{target.value}")
    seen = chat.seen[-1]
    if not known:
        unknown_answer(chat, answer, source)
        return
    plain = remake_wish(seen, target)
    wish = Wish(target, plain.thing, **{n: v for n, v in (plain.attributes | change).items() if n != "thing"})
    if not chat.allowed(wish):
        chat.forget()
        make_from(chat)
        return
    answer.truth["given"] = [wish_for(scene).attributes if scene else None]
    announce_seen(chat, answer, seen, wish)
    made = answer.call(wish, edits=seen if source is target or target is Modality.VIDEO else None)
    if chat.chance(0.8):
        answer.comment(made)
    answer.done()


def change_given(chat: Chat, modality: Modality) -> None:
    """ "Make it blue", with a picture or a clip."""
    scene = chat.scene(modality)
    name = chat.rng.choice(("colour", "colour", "backdrop", "size"))
    value = other_value(chat.rng, name, getattr(scene, name))
    wish = Wish(modality, **(wish_for(scene).attributes | {name: value}))
    if not chat.allowed(wish):
        change_given(chat, modality)
        return
    chat.user(chat.ask("edit.image", {name: value}), scene)
    answer = Answer(chat, f"edit.{modality.value}")
    answer.truth |= {"given": [wish_for(scene).attributes], "changes": {name: value}}
    if chat.chance(0.85):
        answer.say(chat.tell("before.change"))
    made = answer.call(wish, edits=chat.seen[-1])
    if chat.chance(0.8):
        answer.comment(made)
    answer.done()


def make_from_one_of_two(chat: Chat) -> None:
    """ "Animate the second one.", or a question about one of two."""
    source = chat.rng.choice(MEDIA)
    pair = [chat.scene(source), chat.scene(source)]
    place = chat.rng.randrange(2)
    which = chat.bit(f"recall.which.{('first', 'second')[place]}")
    targets = [kind for kind in MEDIA if kind is not source]
    target = chat.rng.choice(targets)
    if chat.chance(0.35):
        topic = chat.rng.choice(("thing", "colour") if source in VISUAL else ("thing", "pitch"))
        medium = NOUNS[source]
        chat.user(
            chat.ask(f"recall.{topic}", which=which, medium=medium, n=str(len(chat.seen) + place + 1)), *pair
        )
        reply(chat, Answer(chat, f"ask.{topic}.{source.value}"), chat.seen[place - 2], topic)
        return
    chat.user(chat.ask(f"pick.{target.value}", which=which), *pair)
    seen = chat.seen[place - 2]
    answer = Answer(chat, f"from.{source.value}.{target.value}")
    answer.truth["given"] = [wish_for(scene).attributes for scene in pair]
    wish = remake_wish(seen, target)
    announce_seen(chat, answer, seen, wish)
    made = answer.call(wish, edits=seen if target is Modality.VIDEO else None)
    if chat.chance(0.8):
        answer.comment(made)
    answer.done()


def _change(chat: Chat, modality: Modality) -> dict[str, str]:
    look = look_of(chat.scene(modality))
    name = chat.rng.choice(("colour", "colour", "backdrop", "size"))
    return {name: look[name]} | chat.some({n: v for n, v in look.items() if n != name}, 0.15)


# ------------------------------------------------------------------------------------- questions

_QUESTIONS = {
    Modality.IMAGE: (
        "describe", "describe", "thing", "thing", "colour", "colour", "backdrop", "size", "is", "looks",
    ),
    Modality.VIDEO: (
        "describe", "describe", "thing", "thing", "colour", "colour", "backdrop", "direction", "direction",
        "speed", "is", "looks",
    ),
    Modality.AUDIO: ("describe", "describe", "thing", "thing", "pitch", "pace", "is"),
}  # fmt: skip


def question(chat: Chat, modality: Modality, topic: str, scene_thing: str | None) -> str:
    """The wording of a question about a medium."""
    kind = modality.value
    medium = NOUNS[modality]
    if topic in ("describe", "thing"):
        return chat.ask(f"about.{topic}.{kind}")
    if topic in ("colour", "backdrop") and scene_thing and chat.chance(0.35):
        return chat.ask(f"about.{topic}.named", {"thing": scene_thing})
    if topic in ("pitch", "pace"):
        return chat.ask(f"about.{topic}.audio")
    return chat.ask(f"about.{topic}.visual", medium=medium)


def ask_about(chat: Chat, seen: Seen | None = None) -> None:
    """A question about one medium: a new one, or one of the conversation (which then is known)."""
    modality = seen.modality if seen else chat.rng.choice(MEDIA)
    topic = chat.rng.choice(_QUESTIONS[modality])
    scene = seen.scene if seen else (None if chat.chance(UNKNOWN) else chat.scene(modality))
    if topic in ("is", "looks"):
        _ask_whether(chat, topic, modality, seen, scene)
        return
    text = question(chat, modality, topic, scene.thing if scene else None)
    if seen:
        chat.user(text.replace("@ ", "").replace("@", "").strip() or "what is it?")
    elif topic == "describe" and chat.chance(0.06):
        chat.user("", scene, kinds=(modality,))
    else:
        chat.user(text, scene, kinds=(modality,))
    reply(chat, Answer(chat, f"ask.{topic}.{modality.value}"), chat.seen[-1] if seen is None else seen, topic)


def reply(chat: Chat, answer: Answer, seen: Seen, topic: str) -> None:
    """The true answer to a question about `seen`."""
    if seen.scene is None:
        unknown_answer(chat, answer, seen.modality)
        return
    said = wish_for(seen.scene).attributes
    answer.truth["given"] = [said]
    if topic == "describe":
        if seen.modality is Modality.VIDEO:
            said.pop("size")
        answer.says(f"describe.{seen.modality.value}", said)
    elif topic == "thing":
        audio = seen.modality is Modality.AUDIO
        answer.says("answer.thing_audio" if audio else "answer.thing", {"thing": said["thing"]})
    else:
        attributes = {topic: said[topic]}
        named = topic in ("colour", "size", "direction") and chat.chance(0.3)
        answer.says(f"answer.{topic}", attributes | ({"thing": said["thing"]} if named else {}))
    answer.done()


def _ask_whether(chat: Chat, topic: str, modality: Modality, seen: Seen | None, scene: object) -> None:
    """ "Is it a dog?" "Is it blue?" """
    known = wish_for(scene).attributes if scene is not None else {}  # type: ignore[arg-type]
    name = "thing" if topic == "is" else "colour"
    right = chat.chance(0.5)
    true_value = known.get(name) or chat.rng.choice(THINGS if name == "thing" else ("red", "blue"))
    value = true_value if right else other_value(chat.rng, name, true_value)
    if name == "thing":
        guess = chat.bit("a_thing", {"thing": value})
        text = chat.ask(f"about.is.{modality.value}", guess=guess)
    else:
        text = chat.ask("about.looks", {"colour": value})
    if seen:
        chat.user(text.replace("@ ", ""))
    else:
        chat.user(text, scene, kinds=(modality,))  # type: ignore[arg-type]
    answer = Answer(chat, f"ask.{topic}.{modality.value}")
    if scene is None:
        unknown_answer(chat, answer, modality)
        return
    verdict = "yes" if right else "no"
    answer.truth["given"] = [known]
    answer.truth["yes"] = right
    answer.says(
        f"answer.{verdict}" if name == "thing" else f"answer.{verdict}_colour", {name: known[name]}
    ).done()


# -------------------------------------------------------------------------------- several media


def count_media(chat: Chat) -> None:
    """ "How many pictures did I send?" """
    kinds = [chat.rng.choice(MEDIA)] * chat.rng.choice((1, 2, 2, 3, 3, 4))
    if chat.chance(0.4):
        kinds = [chat.rng.choice(MEDIA) for _ in kinds]
    asked = chat.rng.choice(kinds)
    mixed = len(set(kinds)) > 1 and chat.chance(0.5)
    rule = "any" if mixed else asked.value
    chat.user(chat.ask(f"count.{rule}"), *[chat.scene(kind) for kind in kinds])
    count = len(kinds) if mixed else kinds.count(asked)
    medium = ("file" if mixed else NOUNS[asked]) + ("s" if count != 1 else "")
    answer = Answer(chat, "count")
    answer.truth["count"] = count
    answer.say(
        chat.tell("answer.count", n=NUMBERS[count], medium=medium, are="are" if count != 1 else "is")
    ).done()


_DIFFERENCES = {
    Modality.IMAGE: ("thing", "thing", "colour", "colour", "size", "backdrop"),
    Modality.VIDEO: ("thing", "thing", "colour", "colour", "direction", "speed"),
    Modality.AUDIO: ("thing", "thing", "pitch", "pace"),
}


def which_of_two(chat: Chat) -> None:
    """ "Which one is red?" """
    modality = chat.rng.choice((*MEDIA, Modality.IMAGE))
    name = chat.rng.choice(_DIFFERENCES[modality])
    pair = [chat.scene(modality), chat.scene(modality)]
    values = [getattr(scene, name) for scene in pair]
    value = values[chat.rng.randrange(2)]
    if values[0] == values[1] and not chat.chance(0.25):
        which_of_two(chat)
        return
    if name in ("thing", "colour", "backdrop", "direction") and chat.chance(0.1):
        value = other_value(chat.rng, name, value)
    words = {"pace": value} if name == "speed" else {}
    attributes = {name: value} | words
    rule = f"which.{name}"
    fitting = [set(attributes), {name}, set(words)]
    choice = next(names for names in _shuffled(chat, fitting) if names and _can(chat, rule, names))
    chat.user(chat.ask(rule, {n: attributes[n] for n in choice}), *pair)
    answer = Answer(chat, f"which.{name}")
    verdict = ("neither", "first", "second", "both")[(values[0] == value) + 2 * (values[1] == value)]
    answer.truth |= {"given": [wish_for(s).attributes for s in pair], "verdict": verdict}
    answer.say(chat.tell(f"answer.{verdict}")).done()


def _shuffled(chat: Chat, items: list[set[str]]) -> list[set[str]]:
    return chat.rng.sample(items, len(items))


def _can(chat: Chat, rule: str, names: set[str]) -> bool:
    from modaverse.toybox.rows.chat import requests

    return bool(requests().eligible(rule, names, chat.split))


def same_or_not(chat: Chat) -> None:
    """ "Are they the same thing?" """
    kinds = [chat.rng.choice(MEDIA), chat.rng.choice(MEDIA)]
    first = chat.scene(kinds[0])
    second = chat.scene(kinds[1])
    colours = set(kinds) <= set(VISUAL) and chat.chance(0.3)
    name = "colour" if colours else "thing"
    wanted = chat.chance(0.45)
    while (getattr(second, name) == getattr(first, name)) is not wanted:
        second = chat.scene(kinds[1])
    chat.user(chat.ask(f"same.{name}"), first, second)
    answer = Answer(chat, f"same.{name}")
    one, two = getattr(first, name), getattr(second, name)
    answer.truth |= {"given": [wish_for(s).attributes for s in (first, second)], "yes": one == two}
    if one == two:
        answer.say(chat.tell("answer.same_colour" if colours else "answer.same", {name: one}))
    else:
        answer.say(chat.tell("answer.different_colour" if colours else "answer.different", one=one, two=two))
    answer.done()


def compare_two(chat: Chat) -> None:
    """ "What is the difference?" """
    kinds = [chat.rng.choice(MEDIA), chat.rng.choice(MEDIA)]
    if chat.chance(0.5):
        kinds[1] = kinds[0]
    pair = [None if chat.chance(0.04) else chat.scene(kind) for kind in kinds]
    chat.user(chat.ask("compare.any"), *pair, kinds=kinds)
    answer = Answer(chat, "compare")
    one, two = (brief(chat, seen) for seen in chat.seen[-2:])
    answer.truth["given"] = [wish_for(scene).attributes if scene else None for scene in pair]
    answer.say(chat.tell("answer.compare", one=one, two=two)).done()
