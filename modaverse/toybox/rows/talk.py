"""Requests that end in words alone: greetings, questions about mini, and what is outside of its world."""

from __future__ import annotations

from modaverse.context import Modality
from modaverse.toybox.rows.answer import Answer
from modaverse.toybox.rows.chat import Chat, requests
from modaverse.toybox.rows.making import announce, asking, draw_wish, subject
from modaverse.toybox.wordings.wishes import wish_for
from modaverse.toybox.world import THINGS

SOCIAL = (
    "greeting",
    "greeting",
    "greeting",
    "thanks",
    "thanks",
    "ack",
    "insult",
    "bye",
    "never",
    "lonely",
    "lonely",
)
MINI = {
    "who": 4, "can": 6, "things": 4, "colours": 2, "places": 2, "know": 5, "example": 2, "length": 1,
    "pixels": 1, "languages": 1, "directions": 1, "sizes": 1, "two": 1, "all": 1,
}  # fmt: skip
OUTSIDE = {
    "thing": 30, "colour": 10, "backdrop": 8, "doing": 8, "many": 8, "real": 3, "style": 4, "sound": 12,
    "clip": 7, "task": 16, "form": 6, "nonsense": 6, "partly": 4, "foreign": 4,
}  # fmt: skip
"""Weights of the kinds of requests that mini cannot fulfil."""

_FORMS = {"sound": Modality.AUDIO, "clip": Modality.VIDEO}
_SOMETIMES_CLIPS = ("thing", "colour", "backdrop", "doing")


def social(chat: Chat) -> None:
    """ "Hello!" """
    topic = chat.rng.choice(SOCIAL)
    chat.user(chat.ask(f"social.{topic}"))
    Answer(chat, f"social.{topic}").say(chat.tell(f"social.{topic}")).done()


def about_mini(chat: Chat) -> None:
    """ "What can you do?" """
    topic = chat.rng.choices(tuple(MINI), tuple(MINI.values()))[0]
    answer = Answer(chat, f"mini.{topic}")
    if topic != "know":
        chat.user(chat.ask(f"mini.{topic}"))
        answer.say(chat.tell(f"mini.{topic}")).done()
        return
    if chat.chance(0.5):
        thing = chat.rng.choice(THINGS)
        chat.user(chat.ask("mini.know", x=chat.bit("plural", {"thing": thing})))
        plural = chat.tell("plural", {"thing": thing}).lower()
        answer.say(chat.tell("mini.know_yes", x=plural))
    else:
        animal = chat.bit(chat.rng.choice(("outside.animal.one", "outside.thing.one")))
        chat.user(chat.ask("mini.know", x=_plural(animal)))
        answer.refuse("mini.know_no")
    answer.done()


def _plural(noun: str) -> str:
    if noun.startswith("the "):
        return noun
    if noun[-1] == "y" and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}{'es' if noun[-1] in 'sxh' else 's'}"


def outside(chat: Chat) -> None:
    """ "Draw a giraffe." """
    topic = chat.rng.choices(tuple(OUTSIDE), tuple(OUTSIDE.values()))[0]
    if topic == "partly":
        _partly(chat)
        return
    if topic == "foreign":
        text = chat.ask("foreign.any")
    elif topic in ("task", "form", "nonsense"):
        attributes = {"thing": chat.rng.choice(THINGS)}
        names = (
            attributes
            if topic == "form" and _can(chat, "beyond.form", attributes) and chat.chance(0.3)
            else {}
        )
        text = chat.ask(
            f"beyond.{topic}", names, **({"pseudo": chat.pseudo()} if topic == "nonsense" else {})
        )
    else:
        modality = _FORMS.get(topic, Modality.IMAGE)
        if topic in _SOMETIMES_CLIPS and chat.chance(0.2):
            modality = Modality.VIDEO
        if topic == "thing" and chat.chance(0.12):
            modality = Modality.AUDIO
        text = asking(chat, modality, _beyond(chat, topic))
    chat.user(text)
    Answer(chat, f"outside.{topic}").refuse(f"refuse.{topic}").done()


def _beyond(chat: Chat, topic: str) -> str:
    """A subject that mini does not know, with attributes that it may know."""
    rule = f"beyond.{topic}"
    slots = {"pseudo": chat.pseudo()} if topic in ("thing", "sound", "clip") else {}
    scene = wish_for(chat.scene(Modality.VIDEO)).attributes
    for _ in range(50):
        attributes = chat.some(scene, 0.25)
        if topic not in ("thing", "sound", "clip"):
            attributes |= {"thing": scene["thing"]}
        if _can(chat, rule, attributes):
            return chat.bit(rule, attributes, **slots)
    return chat.bit("beyond.thing", pseudo=chat.pseudo())


def _can(chat: Chat, rule: str, attributes: dict[str, str]) -> bool:
    return bool(requests().eligible(rule, attributes, "train" if chat.split == "train" else "any"))


def _partly(chat: Chat) -> None:
    """ "Draw a cat and a giraffe": what is known is made, and the rest named as unknown."""
    wish = draw_wish(chat, chat.rng.choice((Modality.IMAGE, Modality.IMAGE, Modality.VIDEO)), open_thing=0.0)
    known = chat.bit(f"many.wish.{wish.modality.value}", s=subject(chat, wish))
    strange = chat.bit("many.wish.image", s=_beyond(chat, "thing"))
    a, b = (known, strange) if chat.chance(0.6) else (strange, known)
    chat.user(chat.ask("many.two", a=a, b=b))
    answer = Answer(chat, "outside.partly")
    announce(chat, answer, wish)
    made = answer.call(wish)
    if chat.chance(0.5):
        answer.comment(made)
    answer.refuse("refuse.partly").done()


def beyond_edit(chat: Chat) -> None:
    """ "Make it pink", of something in the conversation."""
    chat.user(chat.ask("cannot.edit"))
    Answer(chat, "outside.edit").refuse("refuse.edit").done()
