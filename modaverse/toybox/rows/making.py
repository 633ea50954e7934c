"""Requests that are made in words alone: one medium, several, or one and a word about it."""

from __future__ import annotations

from modaverse.context import Modality
from modaverse.toybox.rows.answer import Answer
from modaverse.toybox.rows.chat import MEDIA, NOUNS, VISUAL, Chat, Seen, look_of, other_value
from modaverse.toybox.wordings.wishes import OPEN_THINGS, Wish, partial_wish, wish_for

FRAMED = 0.4
"""Share of the requests of training that are put together from parts."""

KINDS = (Modality.IMAGE, Modality.IMAGE, Modality.VIDEO, Modality.AUDIO)


def draw_wish(
    chat: Chat, modality: Modality, *, open_thing: float = 0.06, detail: float | None = None
) -> Wish:
    """A wish that this row may have."""
    if detail is None:
        detail = chat.rng.choice((1.0, 0.7, 0.4, 0.0))
    wish = partial_wish(chat.scene(modality), chat.rng, detail=detail, open_thing=open_thing)
    return wish if wish.thing != "something" or len(wish.attributes) < 3 else draw_wish(chat, modality)


def subject(chat: Chat, wish: Wish) -> str:
    """A noun phrase that says `wish`."""
    attributes = wish.attributes
    if wish.thing in OPEN_THINGS:
        if len(attributes) == 1:
            return chat.bit(f"open.{wish.thing}")
        if wish.thing == "something" and set(attributes) == {"thing", "colour"}:
            return chat.bit("open.coloured", {"colour": attributes["colour"]})
    return chat.bit(f"subject.{wish.modality.value}", attributes)


def request(chat: Chat, wish: Wish) -> str:
    """A request for `wish` alone."""
    kind = wish.modality.value
    whole = f"ask.whole.{kind}"
    if wish.thing not in OPEN_THINGS and chat.chance(0.12) and chat.can(whole, wish.attributes):
        return chat.ask(whole, wish.attributes)
    if wish.thing in OPEN_THINGS or chat.chance(0.72):
        return asking(chat, wish.modality, subject(chat, wish))
    keywords = chat.bit(f"loose.{kind}", wish.attributes)
    if _framed(chat):
        return chat.ask("loose.cued", l=keywords, cue=chat.bit(f"cue.{kind}"))
    return chat.ask(f"ask.loose.{kind}", l=keywords)


def asking(chat: Chat, modality: Modality, subject: str) -> str:
    """A request for a medium that shows or sounds like `subject`."""
    kind = modality.value
    if not _framed(chat):
        return chat.ask(f"ask.{kind}", s=subject)
    if modality is Modality.IMAGE and chat.chance(0.3):
        return chat.ask("frame.plain", s=subject)
    frame = "cued" if chat.chance(0.65) else kind
    return chat.ask(f"frame.{frame}", s=subject, cue=chat.bit(f"cue.{kind}"))


def asking_again(chat: Chat, given: Modality, wanted: Modality) -> str:
    """A request for a medium of what a given one shows."""
    if not _framed(chat):
        return chat.ask(f"from.{given.value}.{wanted.value}")
    return chat.ask("frame.cued", s=chat.bit(f"given.{given.value}"), cue=chat.bit(f"cue.{wanted.value}"))


def _framed(chat: Chat) -> bool:
    """Whether a request is put together from parts: only in training (see `frames.toml`)."""
    return chat.split == "train" and chat.chance(FRAMED)


def announce(chat: Chat, answer: Answer, wish: Wish, *, following: bool = False) -> None:
    """What mini says before a call; sometimes nothing."""
    kind = wish.modality.value
    roll = chat.rng.random()
    if wish.thing in OPEN_THINGS:
        answer.say(chat.tell("before.next_open" if following else "before.open"))
    elif following:
        answer.say(chat.tell(f"before.next_{kind}", {"thing": wish.thing}))
    elif roll < 0.75:
        said = chat.some({n: v for n, v in wish.attributes.items() if n == "colour"}, 0.7)
        answer.say(chat.tell(f"before.{kind}", {"thing": wish.thing, **said}))
    elif roll < 0.95:
        answer.say(chat.tell("before.any"))


def make_one(chat: Chat) -> None:
    """ "Draw a small red cat at night." """
    wish = draw_wish(chat, chat.rng.choice(KINDS))
    if chat.chance(0.03) and wish.modality is Modality.IMAGE and (wish.backdrop or wish.colour):
        make_first_of_two(chat, wish)
        return
    chat.user(request(chat, wish))
    answer = Answer(chat, f"make.{wish.modality.value}")
    announce(chat, answer, wish)
    made = answer.call(wish)
    if chat.chance(0.88):
        answer.comment(made)
    answer.done()


def make_first_of_two(chat: Chat, wish: Wish) -> None:
    """ "A cat on the beach at night": two places or two colours, of which one can be shown."""
    colours = wish.colour is not None and (wish.backdrop is None or chat.chance(0.4))
    kept = {n: v for n, v in wish.attributes.items() if n != ("backdrop" if colours else "")}
    name = "colour" if colours else "backdrop"
    second = other_value(chat.rng, name, kept[name])
    phrase = chat.bit(
        "both_colours" if colours else "look", kept if colours else without(kept, "backdrop"), x=second
    )
    if not colours:
        phrase += (
            f" {chat.bit('place', {'backdrop': kept['backdrop']})} {chat.bit('place', {'backdrop': second})}"
        )
    chat.user(chat.ask("ask.image", s=phrase))
    answer = Answer(chat, "make.first_of_two").say(
        chat.tell("before.one_colour" if colours else "before.one_place")
    )
    thing = kept.pop("thing")
    answer.comment(answer.call(Wish(wish.modality, thing, **kept))).done()


def without(attributes: dict[str, str], name: str) -> dict[str, str]:
    return {n: v for n, v in attributes.items() if n != name}


def make_and_tell(chat: Chat) -> None:
    """ "Draw any animal, then tell me what it is and its colour." """
    modality = chat.rng.choice(KINDS)
    open_thing = 0.6 if chat.chance(0.8) else 0.0
    wish = draw_wish(chat, modality, open_thing=open_thing, detail=0.0 if chat.chance(0.6) else 0.4)
    w = chat.bit(f"tell.w.{modality.value}", s=subject(chat, wish))
    chat.user(chat.ask("tell.request" if modality in VISUAL else "tell.request_audio", w=w))
    answer = Answer(chat, f"tell.{modality.value}")
    announce(chat, answer, wish)
    answer.comment(answer.call(wish), whole=modality is Modality.AUDIO)
    answer.done()


def _follower(chat: Chat, first: Seen, modality: Modality) -> Wish | None:
    """The wish for the same thing in another modality, as the first medium shows it."""
    if first.scene is None:
        return None
    if modality is Modality.AUDIO or first.modality is Modality.AUDIO:
        return Wish(modality, first.scene.thing)
    return Wish(modality, first.scene.thing, **look_of(first.scene))


def make_two_of_one(chat: Chat) -> None:
    """ "Draw any animal and then make its sound." The second call must look at what the first one made."""
    first_kind = chat.rng.choice(MEDIA)
    second_kind = chat.rng.choice([kind for kind in MEDIA if kind is not first_kind])
    wish = draw_wish(chat, first_kind, open_thing=0.5)
    a = chat.bit(f"many.wish.{first_kind.value}", s=subject(chat, wish))
    chat.user(chat.ask("many.two", a=a, b=chat.bit(f"many.its.{second_kind.value}")))
    answer = Answer(chat, "make.chain")
    announce(chat, answer, wish)
    first = answer.call(wish)
    answer.look_at(first)
    second = _follower(chat, first, second_kind)
    if second is None:
        answer.comment(first).done()
        return
    if first.wish is not None and (not first.wish.fits(first.scene) or chat.chance(0.5)):  # type: ignore[arg-type]
        answer.comment(first)
    announce(chat, answer, second, following=True)
    made = answer.call(second)
    if chat.chance(0.7):
        answer.comment(made)
    answer.done()


def make_many(chat: Chat) -> None:
    """ "A picture of a cat, a clip of a red car, and the sound of a bell." """
    count = 3 if chat.chance(0.35) else 2
    kinds = [chat.rng.choice(KINDS) for _ in range(count)]
    if chat.chance(0.3):
        kinds = [kinds[0]] * count
    wishes = [draw_wish(chat, kind, open_thing=0.03) for kind in kinds]
    number = "three" if count == 3 else "two"
    subjects = [subject(chat, wish) for wish in wishes]
    if len(set(kinds)) == 1 and chat.chance(0.6):
        rule, words = f"group.{number}.{kinds[0].value}", subjects
    else:
        rule = f"many.{number}"
        words = [
            chat.bit(f"many.wish.{w.modality.value}", s=s) for w, s in zip(wishes, subjects, strict=True)
        ]
    chat.user(chat.ask(rule, **dict(zip("abc", words, strict=False))))
    answer = Answer(chat, "make.many")
    roll = chat.rng.random()
    made = []
    for index, wish in enumerate(wishes):
        announce(chat, answer, wish, following=index > 0)
        made.append(answer.call(wish))
        if roll < 0.5:
            answer.comment(made[-1])
    if 0.5 <= roll < 0.7 and all(seen.scene for seen in made) and len({s.modality for s in made}) == 1:
        answer.look_at(*made)
        names = {str(i): brief(chat, seen) for i, seen in enumerate(made)}
        if count == 2:
            answer.say(chat.tell("answer.compare", one=names["0"], two=names["1"]))
    answer.done()


def make_copies(chat: Chat) -> None:
    """ "Three pictures of a cat." Equal captions; each call makes another one."""
    number = chat.rng.choice(("two", "two", "three"))
    wish = draw_wish(chat, chat.rng.choice(KINDS), open_thing=0.05, detail=chat.rng.choice((0.0, 0.4)))
    words = {"number": chat.bit(f"copies.number.{number}"), "times": chat.bit(f"copies.times.{number}")}
    chat.user(chat.ask(f"copies.{wish.modality.value}", s=subject(chat, wish), **words))
    answer = Answer(chat, "make.copies")
    announce(chat, answer, wish)
    for index in range(3 if number == "three" else 2):
        if index:
            answer.say(chat.tell("before.next_again"))
        made = answer.call(wish)
        if chat.chance(0.5):
            answer.comment(made)
    answer.done()


def make_and_change(chat: Chat) -> None:
    """ "Draw a cat, then the same in blue." The second caption keeps what the first picture shows."""
    modality = chat.rng.choice((Modality.IMAGE, Modality.IMAGE, Modality.VIDEO))
    wish = draw_wish(chat, modality, open_thing=0.1, detail=chat.rng.choice((0.0, 0.4)))
    look = look_of(chat.scene(modality))
    name = chat.rng.choice(("colour", "colour", "backdrop", "size"))
    value = look[name]
    if getattr(wish, name) == value:
        value = other_value(chat.rng, name, value)
    w = chat.bit(f"tell.w.{modality.value}", s=subject(chat, wish))
    text = chat.ask("changed.two", w=w, change=chat.bit("changed.change", {name: value}))
    chat.user(text)
    answer = Answer(chat, "make.change")
    announce(chat, answer, wish)
    first = answer.call(wish)
    if first.scene is None:
        answer.comment(first).done()
        return
    answer.look_at(first)
    kept = wish_for(first.scene).attributes
    thing = kept.pop("thing")
    second = Wish(modality, thing, **(kept | {name: value}))
    if not chat.allowed(second):
        chat.forget()
        make_and_change(chat)
        return
    answer.say(chat.tell("before.next_change"))
    answer.comment(answer.call(second, edits=first)).done()


def brief(chat: Chat, seen: Seen) -> str:
    """A medium in a few words: "a red cat", "a low bell"."""
    scene = seen.scene
    if scene is None:
        return chat.tell("unknown.one").rstrip(".").lower()
    attributes = {"thing": scene.thing}
    if seen.modality in VISUAL:
        attributes |= {"colour": look_of(scene)["colour"]}
    else:
        attributes |= {"pitch": scene.pitch}  # type: ignore[union-attr]
    return chat.tell("answer.brief", attributes).lower()


def noun(chat: Chat, seen: Seen) -> str:
    """What a medium of this kind is called."""
    return NOUNS[seen.modality]
