from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from modaverse.context import GenerationFailed
from modaverse.errors import DataError, MediaError
from modaverse.language.batch import IGNORED
from modaverse.language.model import MultimodalLM
from modaverse.language.plain import encode_plain, plain_tokenizer
from modaverse.language.prompt import Slot, Tokens
from modaverse.training.dataset import Transcripts, conversation, read_rows
from modaverse.training.run import build_model
from modaverse.training.sources import SourceReader


@pytest.fixture(scope="module")
def lm(llm_folder: Path, encoder_folder: Path) -> MultimodalLM:
    from modaverse.settings import ProjectorSettings
    from modaverse.training.settings import TrainSettings

    settings = TrainSettings(
        data=(Path("rows.jsonl"),),
        llm=str(llm_folder),
        encoder=encoder_folder,
        projector=ProjectorSettings(k=2),
    )
    return build_model(settings, 16, "")


def transcripts(lm: MultimodalLM, path: Path, **changes: Any) -> Transcripts:
    reader = SourceReader()
    rows = (conversation(placed, reader) for placed in read_rows([path]))
    return Transcripts(rows, lm.script, **{"k": 2, "limit": 512} | changes)


def write(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_only_the_answer_s_own_tokens_carry_loss(lm: MultimodalLM, tmp_path: Path) -> None:
    """Two turns; the answer writes, calls, is shown what was made, and goes on. Each position by hand."""
    uri = "toybox:image?unknown=foreign&seed=1"
    path = write(
        tmp_path,
        {
            "turns": [
                {
                    "role": "user",
                    "parts": [{"type": "text", "text": "Draw it <meta>"}, {"type": "media", "uri": uri}],
                },
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "text", "text": "Here:"},
                        {"type": "meta_response", "model": "T-to-I", "input": "a </meta> dog", "source": 1},
                        {"type": "media", "uri": uri},
                        {"type": "text", "text": " A dog."},
                    ],
                },
                {"role": "user", "parts": [{"type": "text", "text": "Thanks"}]},
                {"role": "assistant", "parts": [{"type": "text", "text": "Welcome"}]},
            ]
        },
    )
    rows = transcripts(lm, path)
    plain = plain_tokenizer(lm.tokenizer, lm.config.transcript.markers)

    def special(token: str) -> list[tuple[int, bool]]:
        return [(lm.tokenizer.convert_tokens_to_ids(token), False)]

    def text(words: str) -> list[tuple[int, bool]]:
        return [(token, False) for token in encode_plain(plain, words)]

    def own(tokens: list[tuple[int, bool]]) -> list[tuple[int, bool]]:
        return [(token, True) for token, _ in tokens]

    def medium(number: int) -> list[tuple[int, bool]]:
        return special("<media>") + text(f"{number}: ") + [(0, False)] * 2 + special("</media>")

    call = text('{"Model": "T-to-I", "Input": "a </meta> dog", "Source": 1}')
    expected = (
        special("<|user|>")
        + text("Draw it <meta>")
        + medium(1)
        + special("<|assistant|>")
        + own(text("Here:") + special("<meta>") + call + special("</meta>"))
        + medium(2)
        + own(text(" A dog.") + special("<|end|>"))
        + special("<|user|>")
        + text("Thanks")
        + special("<|assistant|>")
        + own(text("Welcome") + special("<|end|>"))
    )
    rows.attach(_Constant())  # type: ignore[arg-type]
    batch = lm.collate([rows[0]])
    assert batch["input_ids"][0].tolist() == [token for token, _ in expected]
    assert batch["labels"][0].tolist() == [token if is_own else IGNORED for token, is_own in expected]
    assert rows.sampled == sum(is_own for _, is_own in expected)
    assert rows.lengths.tolist() == [len(expected)]


def test_a_failure_is_a_note_that_carries_no_loss(lm: MultimodalLM, tmp_path: Path) -> None:
    call = {"type": "meta_response", "model": "T-to-I", "input": "a dog"}
    failed = {"type": "failed", "cause": "it took <media> too long"}
    answer = [
        call,
        call,
        {"type": "text", "text": " Soon."},
        failed,
        failed,
        {"type": "text", "text": " Oh."},
    ]
    asked = {"role": "user", "parts": [{"type": "text", "text": "Draw"}]}
    path = write(tmp_path, {"turns": [asked, {"role": "assistant", "parts": answer}]})
    (row,) = (conversation(placed, SourceReader()) for placed in read_rows([path]))
    failures = [part for part in row.context.turns[1].parts if isinstance(part, GenerationFailed)]
    assert [failure.call for failure in failures] == [0, 1]
    spans = Transcripts([row], lm.script, k=2, limit=512).spans(0)
    given = [span.ids for span in spans if isinstance(span, Tokens) and not span.sampled]
    (note,) = lm.script.note("it took <media> too long")
    assert isinstance(note, Tokens)
    assert given[1] == note.ids * 2


class _Constant:
    def get(self, modality: object, identity: str) -> torch.Tensor:
        return torch.ones(16)


def test_transcripts_come_back_as_they_were_written(lm: MultimodalLM, rows_file: Path) -> None:
    rows = transcripts(lm, rows_file)
    reader = SourceReader()
    contexts = [conversation(placed, reader).context for placed in read_rows([rows_file])]
    assert len(rows) == len(contexts) == 20
    for index, context in enumerate(contexts):
        written = [span for span in lm.script.context(context) if isinstance(span, Slot) or span.ids]
        assert rows.spans(index) == written
    assert len(rows.sources) == 6  # each medium once, however many rows show it
    assert rows.media_count == 18


def test_held_out_rows_are_not_trained_on(lm: MultimodalLM, rows_file: Path) -> None:
    rows = transcripts(lm, rows_file)
    rest, some = rows.hold_out(5, seed=3)
    everything = sorted(str(rows.spans(i)) for i in range(20))
    parts = [str(part.spans(i)) for part in (rest, some) for i in range(len(part))]
    assert (len(rest), len(some)) == (15, 5)
    assert sorted(parts) == everything
    assert sorted(str(rest.joined(some).spans(i)) for i in range(20)) == everything
    assert [rest.spans(i) for i in range(15)] == [rows.hold_out(5, seed=3)[0].spans(i) for i in range(15)]
    with pytest.raises(DataError, match="cannot be held out"):
        rows.hold_out(20, seed=0)


def test_long_rows_are_refused_or_skipped(lm: MultimodalLM, rows_file: Path) -> None:
    longest = int(transcripts(lm, rows_file).lengths.max())
    with pytest.raises(DataError, match=r"rows\.jsonl:\d+: this row takes \d+ positions"):
        transcripts(lm, rows_file, limit=longest - 1)
    some = transcripts(lm, rows_file, limit=longest - 1, skip_long=True)
    assert some.skipped == 20 - len(some) > 0
    with pytest.raises(DataError, match="no rows to train on"):
        transcripts(lm, rows_file, limit=3, skip_long=True)


def test_fingerprints_tell_data_apart(lm: MultimodalLM, rows_file: Path) -> None:
    rows = transcripts(lm, rows_file)
    assert rows.fingerprint() == transcripts(lm, rows_file).fingerprint()
    assert rows.fingerprint() != rows.hold_out(1, seed=0)[0].fingerprint()


def user(*parts: object) -> dict[str, object]:
    answer = {"role": "assistant", "parts": [{"type": "text", "text": "Yes."}]}
    return {"turns": [{"role": "user", "parts": list(parts)}, answer]}


@pytest.mark.parametrize(
    ("uri", "kind", "reason"),
    [
        ("nothing.png", MediaError, r"rows\.jsonl:1: .*nothing\.png"),
        ("rows.jsonl", MediaError, r"rows\.jsonl:1: "),
        ("https://example.org/cat.png", DataError, r"rows\.jsonl:1: .*not fetched"),
        ("toybox:smell?thing=cat", DataError, r"rows\.jsonl:1: .*'smell' is no modality"),
    ],
)
def test_media_that_are_none_are_named_with_their_row(
    tmp_path: Path, uri: str, kind: type[Exception], reason: str
) -> None:
    path = write(tmp_path, user({"type": "media", "uri": uri}))
    with pytest.raises(kind, match=reason) as caught:
        [conversation(placed, SourceReader()) for placed in read_rows([path])]
    assert ("from the folder of the rows" in caught.value.hint) == (uri == "nothing.png")


def test_files_and_folders_of_rows(tmp_path: Path, rows_file: Path) -> None:
    write(tmp_path, user({"type": "text", "text": "Hm?"}))
    assert len(list(read_rows([tmp_path, rows_file]))) == 21
    with pytest.raises(DataError, match="does not exist"):
        list(read_rows([tmp_path / "no.jsonl"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \.jsonl file"):
        list(read_rows([tmp_path / "empty"]))
