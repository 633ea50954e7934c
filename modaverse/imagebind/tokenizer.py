"""CLIP's byte-pair encoding, which the published ImageBind's text trunk reads.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020;
byte-level BPE after Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.

The merges file `bpe_simple_vocab_16e6.txt.gz` beside this module is that of OpenAI's CLIP, under the MIT
licence:

    Copyright (c) 2021 OpenAI

    Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
    associated documentation files (the "Software"), to deal in the Software without restriction, including
    without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
    copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the
    following conditions:

    The above copyright notice and this permission notice shall be included in all copies or substantial
    portions of the Software.

    THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
    LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO
    EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER
    IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR
    THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import ftfy
import torch
from torch import Tensor

from modaverse.errors import CheckpointError, ModelNotFound

MERGES = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
CONTEXT_LENGTH = 77

_MERGE_COUNT = 48_894  # of the 262,144 in the file; CLIP's vocabulary has no room for more
_WORD_END = "</w>"
_CONTRACTION = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
# Bytes. The rest of a longer run would not fit into any context in use, and merging takes quadratic time.
_LONGEST_WORD = 4096


class ClipTokenizer:
    """Text to CLIP's token ids. Text that spells a control token (`<|endoftext|>`) stays plain text.

    Args:
        merges: the merges file, gzipped or plain; the one in the package by default.

    Raises:
        ModelNotFound: there is no such file.
        CheckpointError: it is not CLIP's merges file.
    """

    def __init__(self, merges: str | Path | None = None) -> None:
        byte_symbols = _byte_symbols()
        # Ids: 256 bytes, 256 bytes that end a word, one per merge, start, end.
        self._byte_ids = {byte: index for index, byte in enumerate(byte_symbols)}
        symbols = [*byte_symbols.values(), *(symbol + _WORD_END for symbol in byte_symbols.values())]
        ids = {symbol: index for index, symbol in enumerate(symbols)}
        self._merged: dict[tuple[int, int], int] = {}
        path = Path(merges) if merges is not None else MERGES
        for rank, (left, right) in enumerate(_read_merges(path)):
            if left not in ids or right not in ids:
                raise _not_merges(path, f"merge {rank + 1} joins something that no merge before it made")
            ids[left + right] = self._merged[ids[left], ids[right]] = 512 + rank
        self.start_id = 512 + _MERGE_COUNT
        self.end_id = self.start_id + 1

    @property
    def vocab_size(self) -> int:
        return self.end_id + 1

    def __call__(self, texts: str | Sequence[str], context_length: int = CONTEXT_LENGTH) -> Tensor:
        """(n, context_length) int64: start, tokens, end, zeros; a long text is cut so that the end stays."""
        texts = [texts] if isinstance(texts, str) else texts
        out = torch.zeros(len(texts), context_length, dtype=torch.int64)
        for row, text in zip(out, texts, strict=True):
            ids = [self.start_id, *self.encode(text, limit=context_length - 2), self.end_id]
            row[: len(ids)] = torch.tensor(ids)
        return out

    def encode(self, text: str, *, limit: int | None = None) -> list[int]:
        """Token ids without start and end, at most `limit` of them; runs over 4096 bytes are cut there."""
        ids: list[int] = []
        for word in _words(_clean(text)):
            ids += self._merge(word.encode("utf-8", "replace")[:_LONGEST_WORD])
            if limit is not None and len(ids) >= limit:
                return ids[:limit]
        return ids

    def _merge(self, word: bytes) -> list[int]:
        """Join pairs, the earliest learnt first, until none is left that was learnt."""
        ids = [self._byte_ids[byte] for byte in word]
        ids[-1] += 256
        while len(ids) > 1:
            best = min(self._merged.get(pair, self.end_id) for pair in pairwise(ids))
            if best == self.end_id:
                break
            joined: list[int] = []
            position = 0
            while position < len(ids):
                pair = tuple(ids[position : position + 2])
                if len(pair) == 2 and self._merged.get(pair) == best:
                    joined.append(best)
                    position += 2
                else:
                    joined.append(ids[position])
                    position += 1
            ids = joined
        return ids


def tokenize(
    texts: str | Sequence[str], *, merges: str | Path | None = None, context_length: int = CONTEXT_LENGTH
) -> Tensor:
    """CLIP's token ids: (n, context_length) int64. See `ClipTokenizer`, which is kept for the next call."""
    return clip_tokenizer(merges)(texts, context_length)


@lru_cache(maxsize=4)
def clip_tokenizer(merges: str | Path | None = None) -> ClipTokenizer:
    """The tokenizer of a merges file, read once."""
    return ClipTokenizer(merges)


# ------------------------------------------------------------------------------------------- text


def _clean(text: str) -> str:
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", mended).strip().lower()


def _words(text: str) -> Iterator[str]:
    """Contractions, runs of letters, single digits, runs of anything else; white space only divides."""
    kinds = "".join(map(_kind, text))
    position = 0
    while position < len(text):
        contraction = _CONTRACTION.match(text, position)
        run = _RUN.match(kinds, position)
        end = contraction.end() if contraction else run.end() if run else position + 1
        if contraction or run:
            yield text[position:end]
        position = end


_RUN = re.compile("L+|N|P+")


@lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "P"


# -------------------------------------------------------------------------------------- merges file


def _byte_symbols() -> dict[int, str]:
    """The character that stands for each byte in the file, in the order of the bytes' ids.

    Bytes that print as themselves come first; the others are shown as the characters from 256 on.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def _read_merges(path: Path) -> list[tuple[str, str]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ModelNotFound(
            f"the merges file {path} cannot be read: {error.strerror}",
            hint="Leave it out for the built-in one.",
        ) from error
    try:
        lines = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8").split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _not_merges(path, str(error)) from error
    pairs = [tuple(line.split()) for line in lines[1 : 1 + _MERGE_COUNT]]  # the first line is a version
    if len(pairs) < _MERGE_COUNT or any(len(pair) != 2 for pair in pairs):
        raise _not_merges(path, f"expected {_MERGE_COUNT} lines of two symbols after the first")
    return [(pair[0], pair[1]) for pair in pairs]


def _not_merges(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is not CLIP's merges file: {reason}", hint="Leave it out for the built-in one."
    )
