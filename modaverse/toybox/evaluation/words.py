"""What a text says about a medium, read with Toybox's lexicon.

`claims` reads what is asserted and leaves out what is only mentioned:

    "No, it is a dog."                          a dog
    "It came out as a blue cat, not a red one." a blue cat
    "I know cats, dogs and birds."              nothing: what mini knows
    "Shall I draw a boat?"                      nothing: a question
    "Try: draw a small red cat."                nothing: a suggestion
    "A cat under a blue sky."                   a cat; the blue is the sky's

The longest phrase of the lexicon wins wherever it begins, so that "sky blue" is one colour.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from modaverse.context import Modality
from modaverse.toybox.wordings.grammar import Grammar
from modaverse.toybox.wordings.wishes import ATTRIBUTES_OF, Wish
from modaverse.toybox.world import THINGS

_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_SENTENCE = re.compile(r"[^.!?;\n]+[.!?;\n]*")
_CLAUSE = re.compile(r"[,:()]| - |\bbut\b|\bthough\b|\balthough\b|\bhowever\b")

_SCENERY = frozenset(
    (
        "sky", "skies", "grass", "lawn", "field", "fields", "snow", "sea", "water", "waves", "ocean", "sand",
        "beach", "meadow", "background", "backdrop", "sun", "moon", "stars", "clouds", "light", "ground",
        "shadow",
    )
)  # fmt: skip

_NEGATION = re.compile(
    r"\b(?:no(?! doubt\b)|not(?! (?:only|just)\b)|never|neither|nor|without|cannot|nothing|none|nobody|hardly"
    r"|instead of|rather than|other than|unlike|[a-z]+n't)\b"
)
_SUGGESTION = re.compile(
    r"^\W*(?:try|for example|e\.g|how about|what about|ask (?:me )?for|just say|say|tell me|shall|would)\b"
)
# "I know cats" and "I can draw a cat" are about mini; "I can see a cat" is about the medium.
_ABILITY = re.compile(
    r"\bknow(?:s|n)?\b(?! (?:that|this|what it is)\b)"
    r"|\b(?:i|we|mini|you) (?:only |just |also |mostly |could |could only |can only )?"
    r"(?:can(?! (?:also )?(?:see|hear|tell|recogni[sz]e|make out)\b)|could|draw|paint|make|film|play|animate"
    r"|have(?! (?:made|drawn|painted|filmed)\b)|am able|learnt|learned)\b"
    r"|\bmy (?:\w+ )?(?:colou?rs|things|sounds|pictures|clips|places|animals|vehicles|objects|world)\b"
    r"|\bthe (?:\w+ )?(?:colou?rs|things|places|animals|vehicles|objects|sounds)\b[^.]*\bare\b"
)
_STATEMENT = re.compile(
    r"\s*(?:(?:perhaps|maybe|and|so) )?(?:it|this|that|there|i (?:see|hear))\b(?! (?:i|we) know\b)"
)
_LIMIT = re.compile(
    r"\b(?:do not|don't|does not|doesn't|did not|didn't|cannot|can't|can not|could not|couldn't|unable"
    r"|not able|no idea|not sure|never|outside|beyond|unknown|unfamiliar|nothing|sorry|afraid|apologi[sz]e"
    r"|i only|i can only|can only|only ever|one thing at a time|only (?:one|small|make|know|draw)"
    r"|what do you mean|not for me|no real)\b"
)


@dataclass(frozen=True, slots=True)
class Mention:
    """A phrase of the lexicon in a text: what it may stand for, as (attribute, value), and whether it is
    asserted of a medium. `plural` is set for things in the plural."""

    meanings: tuple[tuple[str, str], ...]
    phrase: str
    asserted: bool
    plural: bool = False

    def value(self, attribute: str) -> str | None:
        return next((value for name, value in self.meanings if name == attribute), None)


@dataclass(frozen=True, slots=True)
class Claims:
    """The things and colours that a text asserts."""

    things: frozenset[str]
    colours: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.things or self.colours)

    def says(self, thing: str | None = None, colour: str | None = None) -> bool:
        """Whether the text says this thing and this colour, and no other; None may be any."""
        return (thing is None or self.things == {thing}) and (colour is None or self.colours == {colour})


def claims(text: str) -> Claims:
    """What `text` asserts of a medium."""
    asserted = [mention for mention in mentions(text) if mention.asserted]
    things = (mention.value("thing") for mention in asserted)
    colours = (mention.value("colour") for mention in asserted)
    return Claims(
        frozenset(thing for thing in things if thing in THINGS),
        frozenset(colour for colour in colours if colour is not None),
    )


def is_honest(text: str) -> bool:
    """True for a text that claims nothing and says what mini cannot do, or what it knows."""
    lower = text.lower()
    return not claims(text) and bool(_LIMIT.search(lower) or _ABILITY.search(lower))


def wish_of(caption: str, modality: Modality) -> Wish | None:
    """What a caption for a generator asks for; None where it names no thing or contradicts itself."""
    said: dict[str, str] = {}
    for mention in mentions(caption):
        for attribute in ("thing", *ATTRIBUTES_OF[modality]):
            value = mention.value(attribute)
            if value is not None and said.setdefault(attribute, value) != value:
                return None
    return Wish(modality, **said) if "thing" in said else None


def mentions(text: str) -> Iterator[Mention]:
    """Every phrase of the lexicon in `text`, in order."""
    for sentence in _SENTENCE.findall(text.lower().replace("’", "'")):
        only_asked = "?" in sentence[-2:] or _SUGGESTION.search(sentence) is not None
        about_mini = False
        for clause in _CLAUSE.split(sentence):
            if _ABILITY.search(clause):
                about_mini = True  # and so is the list that follows, until something else is said
            elif _STATEMENT.match(clause):
                about_mini = False
            yield from _mentions_of(clause, not (only_asked or about_mini))


def _mentions_of(clause: str, about_medium: bool) -> Iterator[Mention]:
    negation = _NEGATION.search(clause)
    negated_from = len(clause) if negation is None else negation.start()
    words = list(_WORD.finditer(clause))
    spelled = [match.group() for match in words]
    place = 0
    while place < len(words):
        meanings, length = _longest(spelled[place : place + _lexicon().longest])
        if not length:
            place += 1
            continue
        first, last = words[place], words[place + length - 1]
        of_scenery = _is_scenery(spelled, place, length) and any(name == "colour" for name, _, _ in meanings)
        yield Mention(
            tuple((name, value) for name, value, _ in meanings),
            clause[first.start() : last.end()],
            asserted=about_medium and first.start() < negated_from and not of_scenery,
            plural=any(form == "plural" for _, _, form in meanings),
        )
        place += length


def _is_scenery(words: list[str], place: int, length: int) -> bool:
    """True where what stands at `place` describes the surroundings: "blue sky", "the sky is blue"."""
    after = words[place + length : place + length + 1]
    before = words[max(0, place - 2) : place]
    predicate = len(before) == 2 and before[0] in _SCENERY and before[1] in ("is", "are", "looks", "was")
    return predicate or (bool(after) and after[0] in _SCENERY)


# ------------------------------------------------------------------------------------- the lexicon

_Meaning = tuple[str, str, str]  # attribute, value, form


@dataclass(frozen=True, slots=True)
class _Lexicon:
    phrases: Mapping[tuple[str, ...], tuple[_Meaning, ...]]
    longest: int


@cache
def _lexicon() -> _Lexicon:
    """Every phrase that stands for a value of an attribute, as words."""
    phrases: dict[tuple[str, ...], list[_Meaning]] = {}
    for name, alternatives in Grammar.load("lexicon.toml").rules.items():
        attribute, *form, value = name.split(".")
        if attribute == "thing" and form == ["going"]:
            continue  # "running" names no thing
        for alternative in alternatives:
            spelled = "".join(part for part in alternative.body if isinstance(part, str))
            words = tuple(match.group() for match in _WORD.finditer(spelled.lower()))
            meaning = (attribute, value, form[0] if form else "")
            if meaning not in phrases.setdefault(words, []):
                phrases[words].append(meaning)
    return _Lexicon({words: tuple(found) for words, found in phrases.items()}, max(map(len, phrases)))


def _longest(words: list[str]) -> tuple[tuple[_Meaning, ...], int]:
    """What the longest phrase at the beginning of `words` stands for, and its number of words."""
    for length in range(len(words), 0, -1):
        found = _lexicon().phrases.get(tuple(words[:length]))
        if found is not None:
            return found, length
    return (), 0
