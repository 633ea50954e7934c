"""What the tokens of an LLM stand for, in bytes: the base of reading ids and of masking them."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modaverse.errors import ModelError


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The bytes of every token, and which tokens are more than their bytes.

    `tokens[i]` is what token `i` adds to the text, in UTF-8; a character may be spread over several tokens.
    `added` maps the text of each added token (control tokens and the markers of calls among them) to its id;
    `special` are the added tokens that never are text; `ends` are those that end an answer.
    """

    tokens: Sequence[bytes]
    added: Mapping[str, int]
    special: frozenset[int]
    ends: tuple[int, ...]
    _singles: Mapping[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        added = set(self.added.values())
        singles = {data[0]: token for token, data in enumerate(self.tokens)
                   if len(data) == 1 and token not in added}  # fmt: skip
        object.__setattr__(self, "_singles", singles)

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, *, ends: Iterable[int] = ()) -> Vocabulary:
        """The vocabulary of a fast tokenizer of transformers; `ends` are further ids that end an answer.

        Raises:
            ModelError: the tokenizer is a slow one, or of a kind whose tokens have no bytes of their own.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError(
                f"{type(tokenizer).__name__} is not backed by the tokenizers library",
                hint="Load the fast tokenizer of this model, or save it with a tokenizer.json.",
            )
        state = json.loads(backend.to_str())
        to_bytes = _decoder(state.get("decoder"), type(tokenizer).__name__)
        added = {entry["content"]: int(entry["id"]) for entry in state["added_tokens"]}
        pieces = {index: to_bytes(piece) for piece, index in backend.get_vocab(False).items()}
        pieces.update({index: content.encode() for content, index in added.items()})
        tokens = tuple(pieces.get(index, b"") for index in range(max(pieces) + 1))
        special = frozenset(int(entry["id"]) for entry in state["added_tokens"] if entry["special"])
        own = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        return cls(tokens, added, special, tuple(dict.fromkeys([*own, *ends])))

    def __len__(self) -> int:
        return len(self.tokens)

    def text(self, ids: Iterable[int]) -> str:
        """What `ids` spell, markers included; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self.bytes, ids)).decode("utf-8", "replace")

    def bytes(self, token: int) -> bytes:
        """What `token` spells; nothing for the ids that pad a model's table."""
        return self.tokens[token] if 0 <= token < len(self.tokens) else b""

    def single(self, byte: int) -> int:
        """The token that is just this byte, or -1."""
        return self._singles.get(byte, -1)


class IdReader:
    """Turns ids into text and markers, however the bytes of a character are spread over tokens.

    `markers` are the ids that are signs of their own.
    """

    def __init__(self, vocabulary: Vocabulary, markers: Iterable[int]) -> None:
        self._vocabulary, self._markers = vocabulary, frozenset(markers)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, ids: Iterable[int]) -> Iterator[str | int]:
        """Text that is complete so far, and the ids of markers, in order."""
        run: list[bytes] = []
        for token in ids:
            if token in self._markers:
                yield self._decoder.decode(b"".join(run), True)
                yield token
                run = []
            else:
                run.append(self._vocabulary.bytes(token))
        yield self._decoder.decode(b"".join(run))

    @property
    def settled(self) -> bool:
        """Whether no character is incomplete."""
        return not self._decoder.getstate()[0]

    def close(self) -> str:
        """What is left: U+FFFD where a character was not completed."""
        return self._decoder.decode(b"", True)


def _decoder(decoder: Any, name: str) -> Any:
    """The function from a piece of the vocabulary to its bytes, after the decoder that the tokenizer has."""
    kinds = {part["type"]: part for part in _flatten(decoder)}
    if "ByteLevel" in kinds:
        table = _byte_level_table()
        return lambda piece: _spelled(piece, table)
    if "ByteFallback" in kinds or "Metaspace" in kinds:
        return _sentencepiece_bytes
    raise ModelError(
        f"the tokens of {name} have no bytes of their own (its decoder has {', '.join(kinds) or 'no steps'})",
        hint="Use an LLM with a byte-level BPE or a SentencePiece tokenizer.",
    )


def _spelled(piece: str, table: Mapping[str, int]) -> bytes:
    """Control tokens stand in some vocabularies as they are, with letters that stand for no byte."""
    try:
        return bytes([table[char] for char in piece])
    except KeyError:
        return piece.encode()


def _flatten(decoder: Any) -> list[Any]:
    if not decoder:
        return []
    if decoder["type"] == "Sequence":
        return [part for inner in decoder["decoders"] for part in _flatten(inner)]
    return [decoder]


def _byte_level_table() -> dict[str, int]:
    """The letters that stand for bytes in byte-level BPE (Radford et al. 2019, GPT-2).

    Printable bytes of Latin-1 stand for themselves, the others for the letters from U+0100 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + rank): byte for rank, byte in enumerate(others)
    }


_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _sentencepiece_bytes(piece: str) -> bytes:
    byte = _BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("\u2581", " ").encode()
