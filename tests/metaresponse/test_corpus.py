"""What the fuzzer found worth keeping is read again, whole and in pieces."""

from __future__ import annotations

import importlib.util
from pathlib import Path

HERE = Path(__file__).parent


def test_the_corpus_holds() -> None:
    specification = importlib.util.spec_from_file_location("harness", HERE / "harness.py")
    assert specification is not None
    assert specification.loader is not None
    harness = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(harness)
    inputs = [bytes.fromhex(line) for line in (HERE / "corpus.txt").read_text().split()]
    assert len(inputs) > 100
    for data in inputs:
        harness.check(data)
