"""Scripted stand-ins for each protocol, and tiny real models, for tests of this package and of plug-ins.

A fake does what its script says and records what it was asked, so that a test needs no patching. The tiny
models are real ones with random weights, small enough to be made in a moment.
"""

from __future__ import annotations

import re
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modaverse.context import Media, Modality
from modaverse.errors import ContextOverflow, GenerationCancelled, InputError
from modaverse.interfaces import (
    CallSpec,
    Cancelled,
    Decoded,
    GenerationRequest,
    Progress,
    Sampling,
    TokenNeeded,
    Transcript,
)
from modaverse.metaresponse import Vocabulary

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

# ----------------------------------------------------------------------------- scripted language model

_MARKERS = ("<meta>", "</meta>", "<end>")

VOCABULARY = Vocabulary(
    tokens=(*(bytes([byte]) for byte in range(256)), *(marker.encode() for marker in _MARKERS)),
    added={marker: 256 + index for index, marker in enumerate(_MARKERS)},
    special=frozenset({258}),
    ends=(258,),
)
"""Tokens of `ScriptedLanguageModel`: one for each byte, the two markers of a call, and the end."""


def script_ids(text: str) -> list[int]:
    """Tokens of a scripted answer, in which markers are spelled; `<end>` is put at the end."""
    pieces = re.split(f"({'|'.join(map(re.escape, _MARKERS))})", text)
    return [
        token
        for piece in (*pieces, "<end>")
        for token in ([VOCABULARY.added[piece]] if piece in VOCABULARY.added else piece.encode())
    ]


class ScriptedTranscript:
    """Writes what its model's script says, and keeps what it was given.

    `log` has one entry for each thing added: ("user",), ("answer",), ("text", "…"), ("media", number,
    modality, embedding), ("note", "…"), ("token", id). A token, a medium and a note take one position,
    text one for each character.
    """

    def __init__(self, model: ScriptedLanguageModel) -> None:
        self._model = model
        self.log: list[tuple[Any, ...]] = []
        self.sampling: tuple[int, Sampling] | None = None

    def set_sampling(self, *, seed: int, sampling: Sampling) -> None:
        self.sampling = seed, sampling

    def add_user_start(self) -> None:
        self._add("user")

    def add_user_end(self) -> None:
        self._add("answer")

    def add_text(self, text: str) -> None:
        self._add("text", text)

    def add_note(self, cause: str) -> None:
        self._add("note", cause)

    def add_media(self, number: int, modality: Modality, embedding: torch.Tensor) -> None:
        self._add("media", number, modality, embedding)

    def next_token(self, allow: Callable[[torch.Tensor], torch.Tensor] | None = None) -> int:
        """The next token of the script; where a mask is given, the likeliest that it allows."""
        token = self._model.next_token()
        if allow is not None:
            import torch

            logits = torch.linspace(-1, 0, len(VOCABULARY))
            logits[token] = 1.0
            token = int(allow(logits).argmax())
        self._add("token", token)
        return token

    def is_end(self, token: int) -> bool:
        return token in VOCABULARY.ends

    def __len__(self) -> int:
        return _positions(self.log)

    def mark(self) -> int:
        return len(self)

    def rewind(self, mark: int) -> None:
        while len(self) > mark:
            self.log.pop()

    def forget_turn(self) -> int:
        before = len(self)
        turns = [index for index, entry in enumerate(self.log) if entry[0] == "user"]
        del self.log[: turns[1] if len(turns) > 1 else None]
        return before - len(self)

    def dump(self) -> dict[str, Any]:
        return {"entries": [[str(value) for value in entry[:3]] for entry in self.log]}

    def restore(self, record: Mapping[str, Any], features: Mapping[int, torch.Tensor]) -> None:
        for kind, *values in record["entries"]:
            if kind == "media":
                number = int(values[0])
                self._add(kind, number, Modality(values[1]), features[number])
            else:
                self._add(kind, *(int(value) if kind == "token" else value for value in values))

    def _add(self, *entry: Any) -> None:
        if _positions([*self.log, entry]) > self._model.context_length:
            raise ContextOverflow("The script's context is full", hint="Give the fake a longer context.")
        self.log.append(entry)


def _positions(log: Iterable[tuple[Any, ...]]) -> int:
    return sum(len(entry[1]) if entry[0] == "text" else 1 for entry in log)


class ScriptedLanguageModel:
    """Answers with `answers`, one after the other, in the tokens of `VOCABULARY`.

    An answer is text with spelled markers, or a list of token ids that need not end.
    """

    def __init__(self, *answers: str | Sequence[int], context_length: int = 10_000) -> None:
        self.context_length = context_length
        self.transcripts: list[ScriptedTranscript] = []
        self._tokens = iter(
            [
                token
                for answer in answers
                for token in (script_ids(answer) if isinstance(answer, str) else answer)
            ]
        )

    def transcript(self, *, seed: int, sampling: Sampling) -> ScriptedTranscript:
        transcript = ScriptedTranscript(self)
        transcript.set_sampling(seed=seed, sampling=sampling)
        self.transcripts.append(transcript)
        return transcript

    def next_token(self) -> int:
        try:
            return next(self._tokens)
        except StopIteration:
            raise RuntimeError("The script has no more tokens") from None


class EchoTranscript(ScriptedTranscript):
    """Writes the text that it was last given, as a script."""

    def add_text(self, text: str) -> None:
        super().add_text(text)
        self._model = ScriptedLanguageModel(text, context_length=self._model.context_length)


class EchoLanguageModel:
    """Answers each request with its own text, in which markers are spelled, for tests of many at once.

    `steps` has the number of rows in each step, `released` the transcripts that nobody goes on with.
    """

    def __init__(self, *, context_length: int = 10_000) -> None:
        self.context_length = context_length
        self.steps: list[int] = []
        self.released: list[Transcript] = []

    def transcript(self, *, seed: int, sampling: Sampling) -> EchoTranscript:
        transcript = EchoTranscript(ScriptedLanguageModel(context_length=self.context_length))
        transcript.set_sampling(seed=seed, sampling=sampling)
        return transcript

    def step(self, wanted: Sequence[TokenNeeded]) -> Sequence[TokenNeeded]:
        self.steps.append(len(wanted))
        return wanted

    def release(self, transcript: Transcript) -> None:
        self.released.append(transcript)


# ------------------------------------------------------------------------ scripted encoder, generator


class ScriptedEncoder:
    """Embeddings that are told apart by the medium's hash, or by the text; `log` has each call's media.

    Without `reads_text` it is one that was loaded without its text side.
    """

    def __init__(self, dim: int = 8, *, reads_text: bool = True) -> None:
        self.dim = dim
        self.log: list[list[Media]] = []
        self.failure: Exception | None = None
        self._reads_text = reads_text

    def encode(self, media: Sequence[Media]) -> torch.Tensor:
        import torch

        self.log.append(list(media))
        if self.failure is not None:
            raise self.failure
        return torch.stack([self._random(int(medium.sha256[:12] or "0", 16)) for medium in media])

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        import torch

        if not self._reads_text:
            raise InputError("The scripted encoder reads no text", hint="Make one that does.")
        return torch.stack([self._random(zlib.crc32(text.encode())) for text in texts])

    def _random(self, seed: int) -> torch.Tensor:
        import torch

        return torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))


class ScriptedGenerator:
    """Answers calls of `model` with `results` in order: a value is made, an exception is raised, and a
    function, which answers all calls from there on, is given the request.

    It reports `steps` steps, and takes `seconds` for them; with a `gate` it waits before them until the gate
    is set or the call cancelled. `requests` has what was asked, `cancelled` counts the calls given up.
    """

    def __init__(
        self,
        model: str,
        makes: Modality,
        *results: Decoded | Exception | Callable[[GenerationRequest], Decoded],
        source: Modality | None = None,
        steps: int = 2,
        seconds: float | Callable[[], float] = 0.0,
        gate: threading.Event | None = None,
        options_schema: Mapping[str, Any] | None = None,
    ) -> None:
        nothing = {"type": "object", "additionalProperties": False}
        self._spec = CallSpec(model, makes, source, options_schema or nothing)
        self._results = list(results)
        self._steps = steps
        self._seconds = seconds if callable(seconds) else lambda: seconds
        self._gate = gate
        self.requests: list[GenerationRequest] = []
        self.loads = 0
        self.cancelled = 0
        self.started = threading.Event()

    @property
    def spec(self) -> CallSpec:
        return self._spec

    def load(self) -> None:
        self.loads += 1

    def generate(self, request: GenerationRequest, *, progress: Progress, cancelled: Cancelled) -> Decoded:
        self.requests.append(request)
        self.started.set()
        while self._gate is not None and not self._gate.wait(0.005):
            if cancelled():
                self.cancelled += 1
                raise GenerationCancelled("The scripted call was given up")
        pause = self._seconds() / max(1, self._steps)
        for step in range(1, self._steps + 1):
            time.sleep(pause)
            if cancelled():
                self.cancelled += 1
                raise GenerationCancelled("The scripted call was given up")
            progress(step, self._steps)
        result = self._results[0] if callable(self._results[0]) else self._results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result(request) if callable(result) else result


# ------------------------------------------------------------------------------- tiny real models

CONTROL_TOKENS = ("<|pad|>", "<|user|>", "<|assistant|>", "<|end|>")
"""Control tokens of the tiny tokenizer, those of `TranscriptSettings`' defaults."""

_CORPUS = (
    "Draw what you hear. Here it is: a brown dog on a beach, and a small red cat at night.",
    '{"Model": "T-to-I", "Input": "a brown dog"} {"Model": "T-to-V", "Input": "a large car"}',
    "1: 2: 3: 4: 5: failed: the generator ran out of memory. <meta></meta><media></media></s>",
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of a few hundred tokens that encodes any text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        clean_up_tokenization_spaces=False,
    )


def save_tiny_llm(
    folder: Path, *, tied: bool = True, padding: int = 0, seed: int = 0, **changes: Any
) -> Path:
    """Write a random Llama of some 30,000 parameters with its tokenizer to `folder`.

    `padding` gives its tables more rows than there are tokens; `changes` go into its configuration.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer) + padding,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tied,
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        llm = LlamaForCausalLM(LlamaConfig(**settings | changes))
    llm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
