from __future__ import annotations

import subprocess
import sys

import pytest

import modaverse

DOCUMENTED = {
    "AnswerStream", "Chat", "Done", "FinishReason", "Frames", "GenerationFailed", "GenerationProgress",
    "Malformed", "Media", "MediaReady", "MetaResponse", "MetaResponseOpened", "Modality", "ModaVerse",
    "ModaVerseError", "Pixels", "Profile", "Reply", "Text", "TextDelta", "Usage", "Waveform",
}  # fmt: skip


def test_the_exported_names_are_the_documented_ones() -> None:
    assert set(modaverse.__all__) == DOCUMENTED
    assert set(dir(modaverse)) >= DOCUMENTED
    for name in DOCUMENTED:
        assert getattr(modaverse, name).__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Modaverse'"):
        modaverse.Modaverse  # noqa: B018


def test_importing_the_class_brings_no_torch() -> None:
    code = (
        "import sys; from modaverse import ModaVerse, Reply, Chat;"
        "print([m for m in ('torch', 'transformers', 'diffusers', 'peft') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"
