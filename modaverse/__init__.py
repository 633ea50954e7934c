"""ModaVerse: an agent-style any-to-any multimodal system.

    from modaverse import ModaVerse

    reply = ModaVerse.from_profile("mini").run("Draw what you hear.", media=["bell.wav"])

Names are imported when they are first asked for: this import costs nothing, and brings no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modaverse.context import Done as Done
    from modaverse.context import FinishReason as FinishReason
    from modaverse.context import GenerationFailed as GenerationFailed
    from modaverse.context import GenerationProgress as GenerationProgress
    from modaverse.context import Malformed as Malformed
    from modaverse.context import Media as Media
    from modaverse.context import MediaReady as MediaReady
    from modaverse.context import MetaResponse as MetaResponse
    from modaverse.context import MetaResponseOpened as MetaResponseOpened
    from modaverse.context import Modality as Modality
    from modaverse.context import Text as Text
    from modaverse.context import TextDelta as TextDelta
    from modaverse.context import Usage as Usage
    from modaverse.errors import ModaVerseError as ModaVerseError
    from modaverse.interfaces import Frames as Frames
    from modaverse.interfaces import Pixels as Pixels
    from modaverse.interfaces import Waveform as Waveform
    from modaverse.pipeline import AnswerStream as AnswerStream
    from modaverse.pipeline import Chat as Chat
    from modaverse.pipeline import ModaVerse as ModaVerse
    from modaverse.reply import Reply as Reply
    from modaverse.settings import Profile as Profile

_HOMES = {
    "context": (
        "Done", "FinishReason", "GenerationFailed", "GenerationProgress", "Malformed", "Media", "MediaReady",
        "MetaResponse", "MetaResponseOpened", "Modality", "Text", "TextDelta", "Usage",
    ),
    "errors": ("ModaVerseError",),
    "interfaces": ("Frames", "Pixels", "Waveform"),
    "pipeline": ("AnswerStream", "Chat", "ModaVerse"),
    "reply": ("Reply",),
    "settings": ("Profile",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
