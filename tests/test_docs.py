"""The docs say what is there: commands parse, links lead somewhere, Python compiles."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

from modaverse import pipeline
from modaverse.cli.app import app
from modaverse.context import Modality
from modaverse.generation import GeneratorPool
from modaverse.interfaces import Pixels
from modaverse.orchestrator import Orchestrator
from modaverse.testing import VOCABULARY, ScriptedEncoder, ScriptedGenerator, ScriptedLanguageModel

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(modaverse(?: [^`\n]+)?)`")
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)]*)?\)")
COMMAND = typer.main.get_command(app)


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fenced_commands(text: str) -> Iterator[str]:
    """Lines that start with `modaverse` in code blocks, continued lines joined."""
    indented = re.findall(r"^    \$? ?(modaverse .*)$", text, re.MULTILINE)
    shell = [body for language, body in FENCE.findall(text) if language != "python"]
    blocks = "\n".join(shell).replace("\\\n", " ")
    for line in [*indented, *(line.strip().removeprefix("$ ") for line in blocks.splitlines())]:
        if line.startswith("modaverse "):
            yield line


def parse(words: list[str]) -> None:
    """Let the command line parse a call, without running it.

    Raises:
        click's UsageError: there is no such command or option, or one that is needed is missing.
    """
    command, arguments, parents = COMMAND, words, None
    while hasattr(command, "commands"):
        context = command.make_context(command.name, list(arguments), parent=parents)
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        parents = context
    command.make_context(name, list(arguments), parent=parents)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_in_code_blocks_parse(page: Path) -> None:
    for line in fenced_commands(page.read_text()):
        words = shlex.split(line, comments=True)[1:]
        try:
            parse(words)
        except Exception as error:
            pytest.fail(f"{line}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_within_lines_exist(page: Path) -> None:
    for line in INLINE.findall(page.read_text()):
        command = COMMAND
        for word in shlex.split(line)[1:]:
            if word.startswith("-"):
                names = {name for item in command.params for name in [*item.opts, *item.secondary_opts]}
                assert word in names | {"--help"}, f"{line}: no option {word}"
            elif hasattr(command, "commands"):
                assert word in command.commands, f"{line}: no command {word}"
                command = command.commands[word]


def commands(command: object, path: str) -> Iterator[str]:
    for name, inner in getattr(command, "commands", {}).items():
        if hasattr(inner, "commands"):
            yield from commands(inner, f"{path} {name}")
        else:
            yield f"{path} {name}"


@pytest.mark.parametrize("command", list(commands(COMMAND, "modaverse")))
def test_every_command_is_in_the_docs(command: str) -> None:
    assert any(re.search(rf"{command}\b", page.read_text()) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_to_files(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{target} in {page_id(page)}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_in_the_docs_compiles(page: Path) -> None:
    for language, body in FENCE.findall(page.read_text()):
        if language == "python":
            ast.parse(body)


PATH = re.compile(r"`((?:modaverse|generators|grammars|profiles|tests|docs|examples|benchmarks)/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_exist(page: Path) -> None:
    for path in PATH.findall(page.read_text()):
        assert (ROOT / path).exists(), f"{path} in {page_id(page)}"


def test_a_wrong_command_would_be_noticed() -> None:
    parse(shlex.split("run hello --seed 3"))
    for wrong in ("run hello --speed 3", "walk", "toybox sample --kind image", "generators show"):
        with pytest.raises(Exception, match=r"[Nn]o such|Missing"):
            parse(shlex.split(wrong))


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On scripted models: what it calls is there, under those names."""
    blocks = FENCE.findall((ROOT / "README.md").read_text())
    code = "\n".join(body for language, body in blocks if language == "python")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "readme.py").write_text(code)
    monkeypatch.chdir(tmp_path)

    def assemble(profile: object, folder: Path) -> Orchestrator:
        picture = Pixels(np.zeros((4, 4, 3), np.uint8))
        pool = GeneratorPool([ScriptedGenerator("T-to-I", Modality.IMAGE, *[picture] * 4)], folder)
        language = ScriptedLanguageModel(*['Here: <meta>{"Model": "T-to-I", "Input": "a cat"}</meta>'] * 4)
        return Orchestrator(language, ScriptedEncoder(), pool, vocabulary=VOCABULARY)

    monkeypatch.setattr(pipeline, "assemble", assemble)
    runpy.run_path(str(tmp_path / "readme.py"))
    assert (tmp_path / "reply" / "reply.html").is_file()
    assert (tmp_path / "blue" / "reply.html").is_file()
