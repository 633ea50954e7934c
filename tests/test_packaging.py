"""Everything that lies in the packages is installed, whether editable or as a wheel."""

from __future__ import annotations

import fnmatch
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = {"modaverse": ROOT / "modaverse"} | {
    name: ROOT / folder for name, folder in SETUPTOOLS["package-dir"].items()
}


def sources(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    ]


def package_of(path: Path) -> str:
    """The package that a folder of code is listed as, or would be."""
    for name, folder in sorted(FOLDERS.items(), key=lambda item: -len(item[1].parts)):
        if path.is_relative_to(folder):
            return ".".join([name, *path.relative_to(folder).parts])
    raise AssertionError(path)


@pytest.mark.parametrize("name", FOLDERS)
def test_every_folder_of_code_is_a_listed_package(name: str) -> None:
    code = {path.parent for path in sources(FOLDERS[name]) if path.suffix == ".py"}
    assert {package_of(folder) for folder in code} <= set(SETUPTOOLS["packages"])
    for folder in code:
        assert (folder / "__init__.py").is_file(), f"{folder} has no __init__.py"


def test_every_listed_package_exists() -> None:
    for name in SETUPTOOLS["packages"]:
        root = max((known for known in FOLDERS if f"{name}.".startswith(f"{known}.")), key=len)
        folder = FOLDERS[root].joinpath(*name.removeprefix(root).strip(".").split("."))
        assert (folder / "__init__.py").is_file() or name == "modaverse.wordings", name


@pytest.mark.parametrize("name", FOLDERS)
def test_every_data_file_is_package_data(name: str) -> None:
    patterns = SETUPTOOLS["package-data"].get(name, [])
    for path in sources(FOLDERS[name]):
        relative = path.relative_to(FOLDERS[name]).as_posix()
        if path.suffix == ".py":
            continue
        # setuptools' ** also stands for no folder at all, which fnmatch's * does not know.
        matches = [
            fnmatch.fnmatch(f"/{relative}", f"*/{pattern.removeprefix('**/')}") for pattern in patterns
        ]
        assert any(matches), f"{relative} is not in package-data of {name}"


def test_data_is_found_where_the_package_is_installed() -> None:
    assert (resources.files("modaverse") / "templates" / "reply.html.j2").is_file()
    assert (resources.files("modaverse") / "py.typed").is_file()
    assert (resources.files("modaverse.grammars") / "meta_response.lark").is_file()


def test_datasets_holds_no_code_and_takes_nobody_s_name() -> None:
    """Hugging Face owns the name: from the checkout's root, `import datasets` finds theirs or nothing."""
    assert list((ROOT / "datasets").rglob("*.py")) == []
    code = "import importlib.util as u; s = u.find_spec('datasets'); print(s and s.origin)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not found.stdout.strip().startswith(str(ROOT / "datasets"))


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Errors, value types, protocols and the parser of meta-responses work without torch."""
    code = (
        "import sys, modaverse\n"
        "from modaverse import context, errors, interfaces, metaresponse\n"
        "print([name for name in ('torch', 'transformers', 'diffusers') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


SHIPPED = [path for path in (ROOT / "profiles").rglob("*") if path.is_file()]


def test_weights_that_ship_are_safetensors_and_small() -> None:
    assert not [path for path in SHIPPED if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".npy")]
    weights = [path for path in SHIPPED if path.suffix == ".safetensors"]
    assert weights
    assert sum(path.stat().st_size for path in weights) <= 60_000_000


@pytest.mark.parametrize(
    "path", [p for p in SHIPPED if p.suffix == ".json"], ids=lambda p: str(p.relative_to(ROOT / "profiles"))
)
def test_what_ships_knows_nothing_of_the_machine_that_made_it(path: Path) -> None:
    def strings(value: object) -> Iterator[str]:
        match value:
            case str():
                yield value
            case list():
                for item in value:
                    yield from strings(item)
            case dict():
                for item in value.values():
                    yield from strings(item)

    config = json.loads(path.read_text())
    config.pop("model", None)  # a tokenizer's vocabulary, in which "/" is a token
    assert not [text for text in strings(config) if text.startswith("/") and len(text) > 1]
