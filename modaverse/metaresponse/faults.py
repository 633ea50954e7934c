"""Everything that can be wrong with a call: what is said, what is advised, and examples.

This table is the documentation and the test: each example, between `<meta>` and `</meta>`, gives exactly its
message, with the catalogue and the medium (number 1, an image) of tests/metaresponse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """A message and a hint, to be filled in, and calls that are met with them."""

    reason: str
    hint: str
    examples: tuple[str, ...]


class Refused(Exception):
    """Within the parser: the call was read, but is not allowed."""

    def __init__(self, fault: Fault, **values: Any) -> None:
        super().__init__(fault.reason.format(**values))
        self.hint = fault.hint.format(**values)


def brief(text: str, most: int = 60) -> str:
    """What an LLM wrote, as a message quotes it: on one line, and no longer than a person reads."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[:most])
    return shown if len(text) <= most else f"{shown}…"


# ------------------------------------------------------------------------------------ the syntax

UNEXPECTED = Fault(
    "{found} cannot stand here in a call",
    "What can stand there: {expected}.",
    ("", "hello", '{"Model" "T-to-I"}', '{"Model": "T-to-I",}', "{'Model': 'T-to-I'}", '{"Model": "a\nb"}'),
)
UNFINISHED = Fault("the answer ended inside a call", "Allow more tokens, or shorter prompts.", ())
TOO_LONG = Fault(
    "a call is longer than {limit} characters", "Write a shorter Input, or raise max_call_chars.", ()
)

# ----------------------------------------------------------------------------- what is not allowed

TOO_MANY = Fault("an answer has more than {limit} calls", "Ask for fewer media, or raise max_calls.", ())
REPEATED_KEY = Fault(
    "the key {key} stands twice",
    "Give each key once.",
    (
        '{"Model": "T-to-I", "Model": "T-to-I", "Input": "a cat"}',
        '{"Model": "T-to-I", "Input": "a cat", "Options": {"seed": 1, "seed": 1}}',
    ),
)
UNKNOWN_KEY = Fault(
    "the key {key} means nothing in a call",
    "A call has the keys {keys}.",
    ('{"Model": "T-to-I", "Input": "a cat", "Size": "large"}',),
)
MISSING = Fault(
    "{field} is missing",
    "A call needs {needed}.",
    ("{}", '{"Model": "T-to-I"}', '{"Input": "a cat"}'),
)
WRONG_TYPE = Fault(
    "{field} is {found}, not {wanted}",
    "Write {field} as {wanted}.",
    (
        '{"Model": 1, "Input": "a cat"}',
        '{"Model": "T-to-I", "Input": ["a cat"]}',
        '{"Model": "T-to-I", "Input": "a cat", "Options": "fast"}',
        '{"Model": "TI-to-I", "Input": "bluer", "Source": "1"}',
        '{"Model": "TI-to-I", "Input": "bluer", "Source": true}',
    ),
)
UNKNOWN_MODEL = Fault(
    "no generator is called {model!r}",
    "Those that can be called: {models}.",
    ('{"Model": "T-to-X", "Input": "a cat"}', '{"Model": "", "Input": "a cat"}'),
)
EMPTY_INPUT = Fault(
    "{field} is empty",
    "Describe in words what is to be made.",
    ('{"Model": "T-to-I", "Input": ""}', '{"Model": "T-to-I", "Input": " \\n"}'),
)
LONG_INPUT = Fault(
    "{field} has {length} characters, more than {limit}",
    "Describe it in at most {limit} characters.",
    ('{"Model": "T-to-A", "Input": "%s"}' % ("la " * 20),),
)
UNUSABLE_NUMBER = Fault(
    "the number {number} is beyond all use",
    "Write a number that a double can hold.",
    ('{"Model": "T-to-I", "Input": "a cat", "Options": {"seed": 1e999}}',),
)
TOO_DEEP = Fault(
    "{field} are nested deeper than {limit}",
    "Write flat options.",
    ('{"Model": "T-to-I", "Input": "a cat", "Options": {"a": %s}}' % ("[" * 30 + "]" * 30),),
)
WRONG_OPTIONS = Fault(
    "the options do not fit {model}: {faults}",
    "See `modaverse generators` for what {model} admits.",
    (
        '{"Model": "T-to-I", "Input": "a cat", "Options": {"steps": 0}}',
        '{"Model": "T-to-I", "Input": "a cat", "Options": {"colour": "red"}}',
    ),
)
MISSING_SOURCE = Fault(
    "{model} needs a {field}",
    "Name the number of {article} {modality} in the conversation: {numbers}.",
    ('{"Model": "TI-to-I", "Input": "bluer"}',),
)
NEEDLESS_SOURCE = Fault(
    "{model} takes no {field}",
    "Leave {field} out, or call a generator that edits.",
    ('{"Model": "T-to-I", "Input": "a cat", "Source": 1}',),
)
UNKNOWN_SOURCE = Fault(
    "there is no medium {number}",
    "Those that it can be: {numbers}.",
    (
        '{"Model": "TI-to-I", "Input": "bluer", "Source": 7}',
        '{"Model": "TI-to-I", "Input": "x", "Source": 0}',
    ),
)
WRONG_SOURCE = Fault(
    "medium {number} is {other} {found}, and {model} takes {article} {modality}",
    "Name the number of {article} {modality}: {numbers}.",
    ('{"Model": "TA-to-A", "Input": "slower", "Source": 1}',),
)

TABLE: tuple[Fault, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Fault))
