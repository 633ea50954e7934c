"""Tunes in ABC notation as a generator of ModaVerse: `open_generators` is what the entry point names."""

from __future__ import annotations

import numpy as np

from modaverse.context import Modality
from modaverse.errors import GenerationCancelled, GenerationError
from modaverse.interfaces import CallSpec, Cancelled, Decoded, GenerationRequest, Place, Progress, Waveform
from modaverse_abc.notation import MAX_SECONDS, AbcError, read
from modaverse_abc.strings import INSTRUMENTS, RATE, play

__version__ = "0.1.0"

SPEC = CallSpec(
    model="ABC-to-A",
    makes=Modality.AUDIO,
    options_schema={
        "type": "object",
        "properties": {
            "instrument": {"enum": list(INSTRUMENTS)},
            "tempo": {"type": "integer", "minimum": 30, "maximum": 300},
        },
        "additionalProperties": False,
    },
    max_input_chars=2000,
)


def open_generators(place: Place) -> list[TuneGenerator]:
    """What the entry point names: called when a profile lists `abc-tunes`."""
    return [TuneGenerator()]


class TuneGenerator:
    """Plays the tune that stands in `Input`; see `modaverse.interfaces.Generator`.

    The notes decide all, so the seed changes nothing. There are no weights: nothing is loaded, and it takes
    none of the memory that a pool shares out.
    """

    spec = SPEC
    fingerprint = f"modaverse-abc {__version__}, numpy {np.__version__}"

    def load(self) -> None:
        pass

    def generate(self, request: GenerationRequest, *, progress: Progress, cancelled: Cancelled) -> Decoded:
        """Mono sound at 24 kHz, as long as the tune and at most a minute.

        Raises:
            GenerationError: the notation cannot be read; the message names the character.
            GenerationCancelled: `cancelled()` was true before a note.
        """
        try:
            notes = read(request.prompt, beats_per_minute=request.options.get("tempo"))
        except AbcError as error:
            raise GenerationError(
                f"ABC-to-A: {error}", hint=f"Write one voice in ABC notation, at most {MAX_SECONDS} s of it."
            ) from error

        def told(done: int) -> None:
            if cancelled():
                raise GenerationCancelled("the tune was stopped", hint="Ask again if it is wanted.")
            progress(done, len(notes))

        samples = play(notes, request.options.get("instrument", INSTRUMENTS[0]), told)
        return Waveform(samples[:, None], RATE)
