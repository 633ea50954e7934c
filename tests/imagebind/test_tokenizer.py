from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from torch import Tensor

from modaverse.errors import CheckpointError, ModelNotFound
from modaverse.imagebind import ClipTokenizer, tokenize
from modaverse.imagebind.tokenizer import MERGES, clip_tokenizer

START, END = 49_406, 49_407


def test_tokens_are_the_published_ones(texts: list[str], preprocessing: dict[str, Tensor]) -> None:
    assert torch.equal(tokenize(texts), preprocessing["text_tokens"])
    assert torch.equal(tokenize(texts, merges=MERGES), preprocessing["text_tokens"])


def test_one_text_may_stand_alone() -> None:
    assert torch.equal(tokenize("A dog."), tokenize(["A dog."]))
    assert tokenize([]).shape == (0, 77)


def test_a_plain_merges_file_will_do(tmp_path: Path) -> None:
    plain = tmp_path / "merges.txt"
    plain.write_bytes(gzip.decompress(MERGES.read_bytes()))
    assert torch.equal(tokenize("It's a cat", merges=str(plain)), tokenize("It's a cat"))


def test_spelled_control_tokens_stay_text() -> None:
    row = tokenize("<|endoftext|> <|startoftext|>")[0].tolist()
    assert row.count(START) == 1
    assert row.count(END) == 1
    assert row.index(END) > 5


@pytest.mark.parametrize(
    "text", ["x" * 200_000, "word " * 50_000, "é" * 5000, "日本語" * 3000, "\ud800 half"]
)
def test_the_end_stays_last_however_long_the_text(text: str) -> None:
    row = tokenize(text)[0]
    assert row[0] == START
    assert row[: int(row.argmax()) + 1][-1] == END


def test_same_words_however_they_are_spaced_or_written() -> None:
    assert torch.equal(tokenize(" A\tDOG\n &amp;amp; cat "), tokenize("a dog & cat"))


@pytest.mark.parametrize(
    ("text", "count"), [("2024", 4), ("a1b", 3), ("don't", 2), ("hello!!!", 2), ("½", 1), ("a_b", 3), ("", 0)]
)
def test_words_are_cut_where_clip_cuts_them(text: str, count: int) -> None:
    assert len(clip_tokenizer().encode(text)) == count


def test_context_length_can_be_chosen() -> None:
    assert tokenize("a photo of a dog", context_length=4)[0].tolist() == [
        START,
        *clip_tokenizer().encode("a photo"),
        END,
    ]


def test_faulty_merges_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="nowhere"):
        ClipTokenizer(tmp_path / "nowhere.gz")
    whole = gzip.decompress(MERGES.read_bytes())
    cases = {
        "short.txt": whole[:1000],
        "cut.gz": MERGES.read_bytes()[:5000],
        "odd.txt": whole.replace(b"i n\n", b"qqq n\n", 1),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            ClipTokenizer(tmp_path / name)
