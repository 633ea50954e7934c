from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from modaverse.context import Modality
from modaverse.errors import MediaError, StorageError
from modaverse.imagebind.version import encoder_version, modality_version
from modaverse.training import features as module
from modaverse.training.features import Features, FeatureStore
from modaverse.training.sources import Source, SourceReader


@pytest.fixture
def sources(rows_file: Path) -> dict[str, Source]:
    paths = sorted((rows_file.parent / "media").iterdir())
    found = [SourceReader().read(str(path), Path(), f"row {n}") for n, path in enumerate(paths)]
    made = SourceReader().read("toybox:audio?unknown=foreign&seed=3", Path(), "row 9")
    return {source.identity: source for source in [*found, made]}


def test_features_are_those_of_the_encoder(encoder: Any, sources: Any, tmp_path: Path) -> None:
    features = Features(encoder, tmp_path)
    seen: list[tuple[int, int]] = []
    assert features.compute(sources, report=lambda done, count: seen.append((done, count))) == 7
    assert seen[-1] == (7, 7)
    assert encoder.encoded == 7
    again = Features(encoder, tmp_path)
    assert again.compute(sources) == 0
    assert encoder.encoded == 7
    for identity, source in sources.items():
        direct = encoder.encode_decoded([source.decode()])[0]
        for store in (features, again):
            torch.testing.assert_close(store.get(source.modality, identity), direct, atol=1e-5, rtol=1e-5)


def test_another_encoder_has_other_features(encoder: Any, sources: Any, tmp_path: Path) -> None:
    Features(encoder, tmp_path).compute(sources)
    before = encoder_version(encoder)
    with torch.no_grad():
        next(p for n, p in encoder.net.named_parameters() if "trunks.vision" in n).add_(1)
    assert encoder_version(encoder) != before
    # Sounds are not touched by what happened to the vision trunk.
    missing = Features(encoder, tmp_path).missing(sources)
    assert {source.modality for source in missing.values()} == {Modality.IMAGE}
    assert modality_version(encoder, Modality.AUDIO) in before
    assert modality_version(encoder, Modality.IMAGE) == modality_version(encoder, Modality.VIDEO)


def test_what_was_done_before_a_fault_is_kept(
    encoder: Any, sources: dict[str, Source], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    good = next(s for s in sources.values() if s.modality is Modality.IMAGE and s.file)
    broken.write_bytes(good.file.path.read_bytes() if good.file else b"")
    bad = SourceReader().read(str(broken), Path(), "rows.jsonl:5")
    broken.write_bytes(b"this is no picture any more")
    encoder.views_per_batch = 2
    images = {i: s for i, s in sources.items() if s.modality is Modality.IMAGE}
    first, *rest = images.items()
    second, *others = rest
    ordered = dict([first, second, ("bad", bad), *others])
    with pytest.raises(MediaError, match=r"rows\.jsonl:5: .*broken\.png"):
        Features(encoder, tmp_path / "cache").compute(ordered)
    assert len(Features(encoder, tmp_path / "cache").missing(images)) == len(images) - 2


def test_a_damaged_file_is_computed_again(
    encoder: Any, sources: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Features(encoder, tmp_path).compute(sources)
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    again = Features(encoder, tmp_path)
    with caplog.at_level(logging.WARNING):
        assert again.compute(sources) == 7
    assert "passed over" in caplog.text
    assert {key: again.get(s.modality, key).shape for key, s in sources.items()}.keys() == sources.keys()


def test_two_processes_may_write_side_by_side(tmp_path: Path) -> None:
    first, second = FeatureStore(tmp_path, 3), FeatureStore(tmp_path, 3)
    first.add(["a", "b"], torch.tensor([[1.0, 2, 3], [4, 5, 6]]))
    second.add(["b", "c"], torch.tensor([[4.0, 5, 6], [7, 8, 9]]))
    first.write()
    second.write()
    assert "c" not in first
    first.refresh()
    assert [first.get(key).tolist() for key in "abc"] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert "d" not in first
    assert [path for path in tmp_path.iterdir() if path.suffix != ".safetensors"] == []


def test_a_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = FeatureStore(tmp_path, 1)
    store.add(["a"], torch.ones(1, 1))
    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(StorageError, match="No space left on device"):
        store.write()
    monkeypatch.undo()
    store.write()
    assert FeatureStore(tmp_path, 1).get("a").tolist() == [1.0]
