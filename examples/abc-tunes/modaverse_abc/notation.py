"""Reading ABC notation (the standard 2.1, https://abcnotation.com): text to notes with times.

Times are exact fractions of a whole note until the very end, so that a long tune does not drift.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction

MAX_SECONDS = 60
MAX_NOTES = 2000

_FIELD = re.compile(r"[A-Za-z]:")
_LENGTH = r"(\d*)(/*)(\d*)"
_NOTE = re.compile(rf"(\^\^|\^|__|_|=)?([A-Ga-g])([,']*){_LENGTH}")
_REST = re.compile(rf"[zx]{_LENGTH}")
_CHORD_END = re.compile(rf"\]{_LENGTH}")
_TUPLET = re.compile(r"\((\d)(?::(\d?))?(?::(\d?))?")
_BAR = re.compile(r":?\|+[\]:]?|::|\[\|")
_SILENT = re.compile(r'"[^"]*"|![^!]*!|\+[^+]*\+|\{[^}]*\}|[()\s~.\\`y]|%[^\n]*')
_KEY = re.compile(r"([A-G])([#b]?)\s*(m(?!aj|ix)|min|maj|ion|mix|dor|phr|lyd|loc|aeo)?", re.IGNORECASE)

_SEMITONES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
_SHARPS = "fcgdaeb"  # in the order in which keys take them; flats in the other
_FIFTHS = {"f": -1, "c": 0, "g": 1, "d": 2, "a": 3, "e": 4, "b": 5}
_MODES = {
    "lyd": 1,
    "ion": 0,
    "maj": 0,
    "mix": -1,
    "dor": -2,
    "aeo": -3,
    "min": -3,
    "m": -3,
    "phr": -4,
    "loc": -5,
}


class AbcError(ValueError):
    """The text cannot be read as a tune; the message says what and where."""


@dataclass(frozen=True, slots=True)
class Note:
    """`pitch` in semitones, 69 for the A of 440 Hz; `start` and `seconds` in seconds."""

    pitch: int
    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class _Timed:
    """A note in whole notes; `tied` where it goes on in the next of its pitch."""

    pitch: int
    start: Fraction
    length: Fraction
    tied: bool = False


@dataclass(slots=True)
class _Tune:
    unit: Fraction = Fraction(1, 8)
    beat: Fraction = Fraction(1, 4)
    per_minute: int = 120
    key: dict[str, int] = field(default_factory=dict)
    bar: dict[str, int] = field(default_factory=dict)  # accidentals hold to the end of a bar
    now: Fraction = Fraction(0)
    notes: list[_Timed] = field(default_factory=list)
    repeat_from: tuple[int, Fraction] = (0, Fraction(0))
    stretch: list[Fraction] = field(default_factory=list)  # of the notes to come, for tuplets and dots


def read(text: str, *, beats_per_minute: int | None = None) -> list[Note]:
    """The notes of a tune, in order of their start; `beats_per_minute` goes before the tune's own tempo.

    Raises:
        AbcError: it is no tune, or too long.
    """
    tune = _Tune()
    for line in text.splitlines():
        if _FIELD.match(line):
            _read_field(tune, line[0].upper(), line[2:].partition("%")[0].strip())
        else:
            _read_music(tune, line)
    if not tune.notes:
        raise AbcError("there is no note in it")
    seconds = 60 / ((beats_per_minute or tune.per_minute) * tune.beat)  # of a whole note
    if tune.now * seconds > MAX_SECONDS:
        raise AbcError(f"the tune takes {float(tune.now * seconds):.0f} s, and {MAX_SECONDS} s are the most")
    return [Note(n.pitch, float(n.start * seconds), float(n.length * seconds)) for n in _joined(tune.notes)]


def _read_field(tune: _Tune, name: str, value: str) -> None:
    match name:
        case "L":
            tune.unit = _fraction(value)
        case "M" if "/" in value:
            tune.unit = Fraction(1, 16) if _fraction(value) < Fraction(3, 4) else Fraction(1, 8)
        case "Q":
            beat, _, number = value.rpartition("=")
            if not number.strip().isdigit() or not 0 < int(number) <= 1000:
                raise AbcError(f"the tempo {value!r} is none")
            tune.per_minute = int(number)
            tune.beat = _fraction(beat) if beat else tune.beat
        case "K":
            tune.key = _signature(value)
        case "V":
            raise AbcError("there are several voices, and one is read")


def _fraction(text: str) -> Fraction:
    found = re.fullmatch(r"\s*(\d{1,3})/(\d{1,3})\s*", text)
    if found is None or 0 in (int(found[1]), int(found[2])):
        raise AbcError(f"{text!r} is no length like 1/8")
    return Fraction(int(found[1]), int(found[2]))


def _signature(value: str) -> dict[str, int]:
    """Sharps and flats of a key: by fifths from C, as many down as its mode lies below the major one."""
    if value.lower() in ("", "none", "hp"):
        return {}
    found = _KEY.match(value)
    if found is None:
        raise AbcError(f"the key {value!r} is none")
    tonic, accidental, mode = found[1].lower(), found[2], (found[3] or "maj").lower()
    fifths = _FIFTHS[tonic] + {"#": 7, "b": -7, "": 0}[accidental] + _MODES[mode]
    if not -7 <= fifths <= 7:
        raise AbcError(f"the key {value!r} has more than seven signs")
    return dict.fromkeys(_SHARPS[:fifths], 1) if fifths > 0 else dict.fromkeys(_SHARPS[7 + fifths :], -1)


def _read_music(tune: _Tune, line: str) -> None:
    at = 0
    while at < len(line):
        if found := _TUPLET.match(line, at):
            _begin_tuplet(tune, found)
        elif found := _SILENT.match(line, at):
            pass
        elif found := _BAR.match(line, at):
            _bar(tune, found[0])
        elif found := _NOTE.match(line, at):
            length = _next_length(tune, *found.groups()[3:])
            _sound(tune, [_pitch(tune, *found.groups()[:3])], length)
        elif found := _REST.match(line, at):
            tune.now += _next_length(tune, *found.groups())
        elif line[at] == "[" and _NOTE.match(line, at + 1):
            at = _chord(tune, line, at + 1)
            continue
        elif line[at] in "<>" and tune.notes:
            _break_rhythm(tune, line[at])
            at += 1
            continue
        elif line[at] == "-" and tune.notes:
            last = tune.notes[-1]
            tune.notes = [replace(n, tied=True) if n.start == last.start else n for n in tune.notes]
            at += 1
            continue
        elif re.match(r"\[?[1-9]", line[at:]):
            raise AbcError("first and second endings are not read; write them out")
        else:
            raise AbcError(f"{line[at]!r} at place {at + 1} of {line[:40]!r} is no music")
        at = found.end()


def _pitch(tune: _Tune, accidental: str | None, letter: str, octaves: str) -> int:
    """A capital letter is the octave from middle C (60), a small one that above it."""
    name = letter.lower()
    octave = (12 if letter.islower() else 0) + 12 * (octaves.count("'") - octaves.count(","))
    if accidental is not None:
        tune.bar[name + octaves + letter] = _ACCIDENTALS[accidental]
    return 60 + octave + _SEMITONES[name] + tune.bar.get(name + octaves + letter, tune.key.get(name, 0))


def _next_length(tune: _Tune, over: str, slashes: str, under: str) -> Fraction:
    """Of a note that is written `3/2`, `2`, `/4`, `//` or with nothing, in whole notes."""
    if len(over) > 3 or len(slashes) > 6 or len(under) > 3 or (under and int(under) == 0):
        raise AbcError(f"{over}{slashes}{under} is no length")
    below = int(under) if under else 2 ** len(slashes)
    length = tune.unit * Fraction(int(over) if over else 1, below)
    return length * tune.stretch.pop(0) if tune.stretch else length


def _sound(tune: _Tune, pitches: list[int], length: Fraction) -> None:
    tune.notes += [_Timed(pitch, tune.now, length) for pitch in dict.fromkeys(pitches)]
    tune.now += length
    if len(tune.notes) > MAX_NOTES:
        raise AbcError(f"there are more than {MAX_NOTES} notes")


def _chord(tune: _Tune, line: str, at: int) -> int:
    """Notes that sound together; the length of the first counts, times that behind the bracket."""
    pitches: list[int] = []
    inner = Fraction(1)
    while found := _NOTE.match(line, at):
        if not pitches:
            inner = _length_alone(found.groups()[3:])
        pitches.append(_pitch(tune, *found.groups()[:3]))
        at = found.end()
    end = _CHORD_END.match(line, at)
    if end is None:
        raise AbcError(f"a chord is not closed in {line[:40]!r}")
    _sound(tune, pitches, inner * _next_length(tune, *end.groups()))
    return end.end()


def _length_alone(written: tuple[str, ...]) -> Fraction:
    return _next_length(_Tune(unit=Fraction(1)), *written)


def _begin_tuplet(tune: _Tune, found: re.Match[str]) -> None:
    """`(p:q:r`: the next r notes take q/p of their length."""
    p = int(found[1])
    if not 2 <= p <= 9:
        raise AbcError(f"{found[0]!r} is no tuplet")
    q = int(found[2]) if found[2] else {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}.get(p, 2)
    tune.stretch = [Fraction(q, p)] * (int(found[3]) if found[3] else p)


def _break_rhythm(tune: _Tune, sign: str) -> None:
    """`a>b` is a dotted and b halved; `a<b` the other way."""
    change = Fraction(1, 2) if sign == ">" else Fraction(-1, 2)
    last = tune.notes[-1]
    added = last.length * change
    tune.notes = [replace(n, length=n.length + added) if n.start == last.start else n for n in tune.notes]
    tune.now += added
    tune.stretch = [1 - change, *tune.stretch[1:]]


def _bar(tune: _Tune, sign: str) -> None:
    tune.bar = {}
    if sign.startswith(":"):
        first, start = tune.repeat_from
        again = tune.notes[first:]
        if len(tune.notes) + len(again) > MAX_NOTES:
            raise AbcError(f"there are more than {MAX_NOTES} notes")
        shift = tune.now - start
        tune.notes += [replace(note, start=note.start + shift) for note in again]
        tune.now += shift
    if sign.endswith(":") or sign.startswith(":"):
        tune.repeat_from = (len(tune.notes), tune.now)


def _joined(notes: list[_Timed]) -> list[_Timed]:
    """A note that is tied to one of its pitch which follows at once is one note."""
    joined: list[_Timed] = []
    open_ties: dict[tuple[int, Fraction], int] = {}
    for note in notes:
        at = open_ties.pop((note.pitch, note.start), None)
        if at is None:
            at = len(joined)
            joined.append(note)
        else:
            joined[at] = replace(joined[at], length=joined[at].length + note.length)
        if note.tied:
            open_ties[note.pitch, note.start + note.length] = at
    return joined
