"""Fuzz the stream parser, guided by coverage; what was found stays in corpus.txt, one input a line in hex.

    pip install atheris
    python tests/metaresponse/fuzz.py [SECONDS]

Tests replay the corpus.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus.txt"
WORDS = [
    "<meta>", "</meta>", "<tool_call>", "</tool_call>", "Modality:", "[IMAGE]", "[TEXT]", "Prompt:", "###",
    '"Model": ', '"T-to-I"', '"TI-to-I"', '"Input": ', '"Options": ', '"Source": 1', '"name": ',
    '"arguments": ', '"prompt": ', '"seed": 1', '{"Model": "T-to-I", "Input": "a"}', "true", "null",
    "1e9", "\\ud83d",
]  # fmt: skip


def fuzz(folder: str, *flags: str) -> None:
    """In a process of its own, as libFuzzer never returns."""
    subprocess.run([sys.executable, __file__, "--worker", folder, *flags], check=True)


def worker(arguments: list[str]) -> None:
    import atheris

    sys.path.insert(0, str(HERE))
    with atheris.instrument_imports(include=["modaverse.metaresponse", "harness"]):
        import harness
    atheris.Setup([sys.argv[0], *arguments], harness.check)
    atheris.Fuzz()


def escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2:])
        return
    seconds = sys.argv[1] if len(sys.argv) > 1 else "600"
    with tempfile.TemporaryDirectory() as folder:
        found, words = Path(folder) / "found", Path(folder) / "words.dict"
        found.mkdir()
        words.write_text("".join(f'"{escaped(word)}"\n' for word in WORDS))
        for index, line in enumerate(CORPUS.read_text().split() if CORPUS.exists() else []):
            (found / str(index)).write_bytes(bytes.fromhex(line))
        fuzz(str(found), f"-max_total_time={seconds}", f"-dict={words}", "-max_len=400", "-timeout=10")
        kept = sorted({file.read_bytes() for file in found.iterdir()})
    CORPUS.write_text("".join(f"{data.hex()}\n" for data in kept if data))
    print(f"{len(kept)} inputs kept in {CORPUS}")


if __name__ == "__main__":
    main()
