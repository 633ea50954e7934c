"""What the layers ask of each other: protocols, and the values that cross them.

The loop (`modaverse.orchestrator`) knows nothing but this page, `context` and `metaresponse`. For each
protocol `modaverse.testing` ships a scripted fake, which the tests use instead of patching.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from modaverse.context import Media, Modality
from modaverse.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    import torch


# ------------------------------------------------------------------------------ decoded media


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """A decoded picture: `array` is (height, width, 3), uint8, RGB."""

    array: np.ndarray

    @property
    def modality(self) -> Modality:
        return Modality.IMAGE


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """A decoded clip: `array` is (frames, height, width, 3), uint8, RGB; `fps` is in frames per second."""

    array: np.ndarray
    fps: float

    @property
    def modality(self) -> Modality:
        return Modality.VIDEO


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """Decoded sound: `array` is (samples, channels), float32 in [-1, 1]; `sample_rate` is in Hz."""

    array: np.ndarray
    sample_rate: int

    @property
    def modality(self) -> Modality:
        return Modality.AUDIO


Decoded = Pixels | Frames | Waveform


# ----------------------------------------------------------------------------------- generators


@dataclass(frozen=True, slots=True)
class CallSpec:
    """What may be called: one entry for each `Model` that a meta-response can name.

    `source` is the modality that `Source` must have, or None where a call takes no source.
    `options_schema` is a JSON Schema (draft 2020-12) of the `Options` object.
    """

    model: str
    makes: Modality
    source: Modality | None = None
    options_schema: Mapping[str, Any] = field(
        default_factory=lambda: {"type": "object", "additionalProperties": False}, hash=False
    )
    max_input_chars: int = 1000


MODELS: Mapping[Modality, str] = {
    Modality.IMAGE: "T-to-I",
    Modality.VIDEO: "T-to-V",
    Modality.AUDIO: "T-to-A",
}
"""What makes each modality from words."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One call, complete: everything that decides the bytes of what is made."""

    model: str
    prompt: str
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    source: Media | None = None


Progress = Callable[[int, int], None]
"""Called with (step, steps) after each step of a generator."""

Cancelled = Callable[[], bool]
"""Asked between steps; True means that nobody wants the result any more."""


class Generator(Protocol):
    """Makes one medium from one request.

    `load` is explicit, may take minutes and may be called again; `generate` may assume it.

    Raises (`generate`):
        GenerationError: with a cause and a hint; GenerationCancelled soon after `cancelled()` is True.
    """

    @property
    def spec(self) -> CallSpec: ...

    def load(self) -> None: ...

    def generate(
        self, request: GenerationRequest, *, progress: Progress, cancelled: Cancelled
    ) -> Decoded: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where generators run, as a profile says it; what opens them gets one.

    `device` is a torch device by name, `root` the profile's folder of weights where it has one, `precision`
    that of weights in memory (None for each generator's own).
    """

    device: str = "cpu"
    root: Path | None = None
    precision: str | None = None


# -------------------------------------------------------------------------------------- encoder


class Encoder(Protocol):
    """Turns media into embeddings, all of one width `dim`."""

    @property
    def dim(self) -> int: ...

    def encode(self, media: Sequence[Media]) -> torch.Tensor:
        """Embeddings of `media`, in order: (len(media), dim), float32, as the network gives them
        (their norm differs by modality; projectors normalise).

        Raises:
            MediaError: a file cannot be decoded.
        """
        ...

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of `texts`, in order, in the space of the media: (len(texts), dim), float32.

        Raises:
            InputError: this encoder reads no text.
        """
        ...


# --------------------------------------------------------------------------------- language model


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 is greedy.

    Raises:
        SettingsError: a number makes no sense.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < math.inf and 0 < self.top_p <= 1 and self.max_new_tokens >= 1):
            raise SettingsError(
                f"a temperature of {self.temperature}, a top_p of {self.top_p} and {self.max_new_tokens} new "
                "tokens make no sense",
                hint="Give a temperature of 0 or more, a top_p above 0, at most 1, and 1 new token or more.",
            )


class Transcript(Protocol):
    """The one list of tokens and embeddings that only ever grows, with its KV cache.

    Every `add_*` puts *given* positions at the end (never sampled, never part of the loss);
    `next_token` samples one and appends it.

    Raises (every `add_*`, `next_token`):
        ContextOverflow: the positions would not fit, and none was added.
    """

    def set_sampling(self, *, seed: int, sampling: Sampling) -> None:
        """Set seed and sampling for the tokens that follow."""
        ...

    def add_user_start(self) -> None:
        """Open a user's turn; an answer that was cut short is closed first."""
        ...

    def add_user_end(self) -> None:
        """Close the user's turn and open the assistant's."""
        ...

    def add_text(self, text: str) -> None:
        """Text from outside: it never becomes a control token of any kind."""
        ...

    def add_media(self, number: int, modality: Modality, embedding: torch.Tensor) -> None:
        """`<media>N: ▪▪▪▪</media>`; `embedding` is (dim,), as the encoder gave it."""
        ...

    def add_note(self, cause: str) -> None:
        """What stands in the place of a medium that could not be made, as text from outside."""
        ...

    def next_token(self, allow: Callable[[torch.Tensor], torch.Tensor] | None = None) -> int:
        """Sample, append and return one token; `allow` maps logits (vocabulary,) to masked logits."""
        ...

    def is_end(self, token: int) -> bool: ...

    def __len__(self) -> int:
        """Positions so far."""
        ...

    def mark(self) -> int: ...

    def rewind(self, mark: int) -> None:
        """Forget everything after `mark`."""
        ...

    def forget_turn(self) -> int:
        """Forget the oldest request with its answer; how many positions that frees."""
        ...

    def dump(self) -> dict[str, Any]:
        """The transcript as plain JSON values, without embeddings."""
        ...

    def restore(self, record: Mapping[str, Any], features: Mapping[int, torch.Tensor]) -> None:
        """Put what `dump` gave into this empty transcript; `features` are the media's embeddings.

        Raises:
            InputError: no transcript of this LLM gave it.
        """
        ...


class LanguageModel(Protocol):
    """Makes empty transcripts; one model serves any number of them, one at a time."""

    def transcript(self, *, seed: int, sampling: Sampling) -> Transcript: ...

    @property
    def context_length(self) -> int: ...


@runtime_checkable
class BatchLanguageModel(LanguageModel, Protocol):
    """A language model whose transcripts are read together, many at a time."""

    def step(self, wanted: Sequence[TokenNeeded]) -> Sequence[TokenNeeded]:
        """Read on in the transcripts of `wanted`, all together, and draw their next tokens. Which of them
        have theirs: `next_token` will not compute any more. Others need further steps.
        """
        ...

    def release(self, transcript: Transcript) -> None:
        """Nobody goes on with it for now: forget what was read of it. It stays as it is."""
        ...


# --------------------------------------------------------------------------------------- the pool


class PendingCall(Protocol):
    """A call that a pool has taken. Any number of threads may look at it."""

    @property
    def done(self) -> bool:
        """Whether `result` has its answer."""
        ...

    def events(self) -> Iterator[tuple[int, int]]:
        """(step, steps) as they come, until the call is finished."""
        ...

    def result(self) -> Media:
        """What was made; waits for it.

        Raises:
            ModaVerseError: why nothing was made.
        """
        ...

    def when_done(self, call: Callable[[], object]) -> None:
        """Call `call` once, in some thread, as soon as there is a result; at once where there is one."""
        ...

    def cancel(self) -> None:
        """Nobody wants it any more; returns at once."""
        ...


class Pool(Protocol):
    """Runs generators beside the LLM."""

    @property
    def catalogue(self) -> Mapping[str, CallSpec]: ...

    def preload(self, model: str) -> None:
        """Begin to load a generator; returns at once."""
        ...

    def submit(self, request: GenerationRequest) -> PendingCall:
        """Start a call; returns at once.

        Raises:
            GenerationError: it cannot even be started.
        """
        ...


# ----------------------------------------------------------------------------------------- the mask


class Matcher(Protocol):
    """Follows one segment of an answer and says which tokens may come next."""

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (vocabulary,) with -inf for every token that may not come next."""
        ...

    def accept(self, token: int) -> None:
        """`token` was sampled."""
        ...


class Mask(Protocol):
    """A compiled grammar; `modaverse.metaresponse.TokenMask` is one."""

    def start(self, sources: Mapping[int, Modality], tokens_left: int, *, calls_left: int) -> Matcher:
        """A matcher for a segment that begins in free text, with these media to refer to."""
        ...

    def allow(self, matchers: Sequence[Any], logits: torch.Tensor) -> torch.Tensor:
        """`Matcher.allow` for many segments at once: `logits` (b, vocabulary), and for each row one of this
        mask's matchers, or None where all may come next.
        """
        ...


# -------------------------------------------------------------------------------- what an answer needs


@dataclass(frozen=True, slots=True)
class TokenNeeded:
    """An answer goes on with the next token of its transcript, under its mask."""

    transcript: Transcript
    matcher: Matcher | None


@dataclass(frozen=True, slots=True)
class EmbeddingsNeeded:
    """An answer goes on with the embeddings of these media."""

    media: Sequence[Media]


@dataclass(frozen=True, slots=True)
class MediumNeeded:
    """An answer goes on once this call is finished."""

    pending: PendingCall


Need = TokenNeeded | EmbeddingsNeeded | MediumNeeded
"""What an answer says before it does something that takes time. Whoever drives many answers can see to it for
all of them together, before they go on; an answer that goes on at once does it by itself.
"""
