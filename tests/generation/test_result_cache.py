"""Nothing is generated twice, and nothing is served that is not what was made."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from painters import PATIENCE, Scripted, ask, picture

from modaverse.context import Media, Modality
from modaverse.generation import GeneratorPool
from modaverse.generation.result_cache import ResultCache, request_key
from modaverse.interfaces import GenerationRequest, Pixels
from modaverse.media import write_media


def test_an_equal_request_is_answered_from_the_cache(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted()
    generator.fingerprint = "v1"
    pools.append(pool := GeneratorPool([generator], tmp_path))
    first = pool.submit(ask()).result(PATIENCE)
    began = time.monotonic()
    again = pool.submit(ask())
    assert again.done
    assert time.monotonic() - began < 0.05
    assert again.result() == first
    for other in (ask("a dog"), ask(seed=2)):
        pool.submit(other).result(PATIENCE)
    assert generator.log == ["load", "a cat", "a dog", "a cat"]


def test_a_changed_file_is_made_again(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted()
    generator.fingerprint = "v1"
    pools.append(pool := GeneratorPool([generator], tmp_path))
    first = pool.submit(ask()).result(PATIENCE)
    original = first.path.read_bytes()
    first.path.unlink()
    first.path.write_bytes(b"something else")
    again = pool.submit(ask()).result(PATIENCE)
    assert generator.log.count("a cat") == 2
    assert again.path.read_bytes() == original


def test_the_cache_outlives_the_process(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    made = []
    for name in ("one", "two"):
        generator = Scripted()
        generator.fingerprint = "v1"
        pool = GeneratorPool([generator], tmp_path / name, cache=tmp_path / "cache")
        pools.append(pool)
        made.append(pool.submit(ask()).result(PATIENCE))
    assert generator.log == []
    assert made[1].path.parent == tmp_path / "two"
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    other = Scripted()
    other.fingerprint = "v2"
    pools.append(pool := GeneratorPool([other], tmp_path / "three", cache=tmp_path / "cache"))
    pool.submit(ask()).result(PATIENCE)
    assert other.log == ["load", "a cat"]


def test_the_source_is_part_of_what_decides(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    generator = Scripted("TI-to-I")
    generator.fingerprint = "v1"
    pools.append(pool := GeneratorPool([generator], tmp_path))
    for sha in ("0" * 64, "1" * 64):
        source = Media(Modality.IMAGE, tmp_path / "source.png", "image/png", sha)
        pool.submit(GenerationRequest("TI-to-I", "blue", 1, {}, source)).result(PATIENCE)
    assert generator.log == ["load", "blue", "blue"]


KNOWN = GenerationRequest(
    "TI-to-I", "blue", 1, {"steps": 4}, Media(Modality.IMAGE, Path("a"), "image/png", "0")
)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "T-to-I"},
        {"prompt": "Blue"},
        {"seed": 2},
        {"options": {"steps": 5}},
        {"options": {"steps": 4, "strength": 1}},
        {"source": None},
        {"source": Media(Modality.IMAGE, Path("a"), "image/png", "1")},
    ],
)
def test_each_part_of_a_request_is_part_of_its_key(change: dict[str, object]) -> None:
    assert request_key(KNOWN, "v1") == request_key(replace(KNOWN), "v1")
    assert request_key(replace(KNOWN, **change), "v1") != request_key(KNOWN, "v1")  # type: ignore[arg-type]
    assert request_key(KNOWN, "v2") != request_key(KNOWN, "v1")
    assert request_key(KNOWN, "v1", batch=2) != request_key(KNOWN, "v1")
    moved = replace(KNOWN, source=Media(Modality.IMAGE, Path("b"), "image/png", "0"))
    assert request_key(moved, "v1") == request_key(KNOWN, "v1")  # what counts is what is in it


def test_a_hit_on_disk_costs_little(tmp_path: Path, pools: list[GeneratorPool]) -> None:
    """With the file in another folder, as in every new conversation."""
    noise = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), dtype=np.uint8)  # 3 MB as PNG
    cache, times = ResultCache(tmp_path / "cache"), []
    cache.keep("key", write_media(Pixels(noise), tmp_path / "made"))
    for number in range(5):
        later = ResultCache(tmp_path / "cache")
        began = time.perf_counter()
        found = later.find("key", tmp_path / str(number))
        times.append(time.perf_counter() - began)
        assert found is not None
        assert found.path.parent == tmp_path / str(number)
    assert min(times) < 0.05


def test_spoilt_files_are_neither_served_nor_left(tmp_path: Path) -> None:
    media = write_media(picture(1), tmp_path / "made")
    cache, into = ResultCache(tmp_path / "cache"), tmp_path / "here" / media.path.name
    cache.keep("key", media)
    into.parent.mkdir()
    into.write_bytes(b"something else of that name")
    assert cache.find("key", into.parent) == replace(media, path=into)
    assert into.read_bytes() == media.path.read_bytes()
    stored = tmp_path / "cache" / media.path.name
    stored.unlink()
    stored.write_bytes(b"spoilt")
    assert ResultCache(tmp_path / "cache").find("key", into.parent) is None
    cache.keep("key", media)
    assert ResultCache(tmp_path / "cache").find("key", into.parent) is not None


@pytest.mark.parametrize(
    "entry", ["", "[]", "{", '{"file": "x"}', '{"file": "../../up.png", "modality": "image"}', "[" * 100_000]
)
def test_entries_that_are_none_are_passed_over(entry: str, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(entry)
    assert ResultCache(tmp_path).find("key", tmp_path / "here") is None


def test_a_cache_that_cannot_be_written_costs_nothing_but_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    media = write_media(picture(1), tmp_path)
    cache = ResultCache(tmp_path / "cache")
    cache.keep("key", media)
    assert "cannot keep" in caplog.text
    assert cache.find("key", tmp_path) == media


def test_what_was_made_while_a_call_waited_is_not_made_again(
    tmp_path: Path, pools: list[GeneratorPool]
) -> None:
    generator = Scripted(gate=True, concurrency=1)
    generator.fingerprint = "v1"
    pools.append(pool := GeneratorPool([generator], tmp_path))
    calls = [pool.submit(ask()) for _ in range(3)]
    generator.gate.set()
    assert len({call.result(PATIENCE) for call in calls}) == 1
    assert generator.log == ["load", "a cat"]
