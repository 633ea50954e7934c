from __future__ import annotations

import pytest
import torch

from modaverse.context import Modality
from modaverse.errors import DataError
from modaverse.language.batch import IGNORED, Example, collate, length
from modaverse.language.prompt import Slot, Tokens

ROW = [Tokens((5, 6)), Slot(1, Modality.VIDEO), Tokens((7,)), Tokens((8, 9), sampled=True)]


def test_only_sampled_tokens_carry_loss_and_media_have_their_places() -> None:
    features = {1: torch.arange(4.0), 2: torch.ones(4)}
    image_first = [Slot(2, Modality.IMAGE), Tokens((3,), sampled=True)]
    batch = collate([Example(ROW, features), Example(image_first, features)], k=2, dim=4)
    assert batch["input_ids"].tolist() == [[5, 6, 0, 0, 7, 8, 9], [0, 0, 3, 0, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 7, [1, 1, 1, 0, 0, 0, 0]]
    ignored = IGNORED
    assert batch["labels"].tolist() == [[ignored] * 5 + [8, 9], [ignored, ignored, 3] + [ignored] * 4]
    assert batch["slots"].tolist() == [[0, 2, 1], [1, 0, 0]]
    assert torch.equal(batch["features"], torch.stack([features[1], features[2]]))
    assert length(ROW, k=2) == 7


def test_a_batch_without_media() -> None:
    batch = collate([Example([Tokens((1,))], {})], k=2, dim=4)
    assert batch["features"].shape == (0, 4)
    assert batch["slots"].shape == (0, 3)


@pytest.mark.parametrize(
    ("features", "message"), [({}, "has no embedding"), ({1: torch.ones(5)}, r"shape \(5,\) and not \(4,\)")]
)
def test_wrong_embeddings_are_named(features: dict[int, torch.Tensor], message: str) -> None:
    with pytest.raises(DataError, match=f"edium 1.*{message}"):
        collate([Example(ROW, features)], k=2, dim=4)
