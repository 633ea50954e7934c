"""Imports point down only, so that each part can be read, tested and replaced with what lies under it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the bottom up. Parts of one layer may use each other. A new part must be given its place here.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "context", "grammars", "profiles"}),
    frozenset({"interfaces", "media", "settings", "metaresponse", "page", "jsonl", "splicing", "testing"}),
    frozenset({"imagebind", "language", "generators", "generation"}),
    frozenset({"answer", "embeddings", "ordering", "orchestrator", "many_answers"}),
    frozenset({"pipeline", "assembly", "chat_file", "reply", "saving", "merging", "footprint"}),
    frozenset({"training", "data", "evaluation", "batch", "toybox"}),
    frozenset({"cli", "__main__"}),
)
HEIGHT = {part: height for height, layer in enumerate(LAYERS) for part in layer}

# These must be quick to import: what reads a call or shows help may not wait for torch.
WITHOUT_TORCH = (
    "errors",
    "context",
    "interfaces",
    "metaresponse",
    "media",
    "settings",
    "page",
    "jsonl",
    "cli",
)
HEAVY = frozenset({"torch", "transformers", "diffusers", "peft", "accelerate"})


def part_of(path: Path) -> str:
    """`modaverse/media/sound.py` belongs to `media`, `generators/card.py` to `generators`."""
    relative = path.relative_to(ROOT)
    if relative.parts[0] != "modaverse":
        return relative.parts[0]
    return relative.parts[1].removesuffix(".py")


def modules() -> list[Path]:
    folders = ("modaverse", "generators", "grammars", "profiles")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported module, wherever the import stands, and its line; not those for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"line {node.lineno}: this leads out of its folder"
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield module, node.lineno
            if module == "modaverse":
                yield from ((f"modaverse.{alias.name}", node.lineno) for alias in node.names)
        else:
            yield from imports(node)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":  # the package itself offers names of all layers, and loads them on demand
        return
    assert part in HEIGHT, f"{part} has no layer yet"
    for module, line in imports(ast.parse(path.read_text())):
        if module.startswith("modaverse.") and (used := module.split(".")[1]) in HEIGHT:
            assert HEIGHT[used] <= HEIGHT[part], f"line {line}: {part} may not use {used}"


@pytest.mark.parametrize(
    "path", [path for path in modules() if part_of(path) in WITHOUT_TORCH], ids=lambda path: path.stem
)
def test_light_parts_import_nothing_heavy_at_their_top(path: Path) -> None:
    top = ast.Module([node for node in ast.parse(path.read_text()).body if not is_code(node)], [])
    for module, line in imports(top):
        assert module.split(".")[0] not in HEAVY, f"line {line}: import {module} where it is used"


def is_code(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef)
