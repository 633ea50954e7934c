"""Tiny pipelines, one for each card, built once a session and saved as the real ones are."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modaverse.generators.card import Card, load_card

_FOLDER = Path(__file__).parent / "tiny"
_PACKAGE = "modaverse_tiny_pipelines"


def _load(name: str) -> ModuleType:
    """A module of tiny/, as part of a package made here: tests are no package (pytest's importlib mode)."""
    if _PACKAGE not in sys.modules:
        package = ModuleType(_PACKAGE)
        package.__path__ = [str(_FOLDER)]
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.{name}")


def tiny_builders() -> dict[str, tuple[Callable[[], Any], dict[str, Any]]]:
    """Card name → (builder of the pipeline, arguments that make its calls small)."""
    found = {}
    for path in sorted(_FOLDER.glob("*.py")):
        module = _load(path.stem)
        for name, build in getattr(module, "BUILDERS", {}).items():
            found[name] = (build, module.ARGUMENTS.get(name, {}))
    return found


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Card, Path]]:
    """The card of that name, its calls made small, and the folder of its tiny weights."""
    builders = tiny_builders()
    common = _load("common")
    built: dict[str, Path] = {}

    def get(name: str) -> tuple[Card, Path]:
        build, arguments = builders[name]
        card = load_card(name)
        if name not in built:
            built[name] = tmp_path_factory.mktemp(name.replace(".", "-"))
            common.save(built[name], build, card.weights.variant)
        return small(card, arguments), built[name]

    return get


def small(card: Card, arguments: dict[str, Any]) -> Card:
    """The card with 2 steps and smaller sizes. Only what the card says already is given another value.

    What it requires is left out: the builder of the tiny pipeline knows what that one needs.
    """
    data = {**card.model_dump(by_alias=True), "requires": ()}
    for call in data["calls"]:
        if call["source_size"]:
            call["source_size"] = (64, 64)
        for key, value in {"num_inference_steps": 2, **arguments}.items():
            if key in call["arguments"]:
                call["arguments"][key] = value
    return Card.model_validate(data)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Starts `services.Service`s, which vanish at the end. The key is there, and nobody waits for long."""
    from services import KEY, Service

    from modaverse.generators import service as module

    monkeypatch.setenv("TEST_SERVICE_KEY", KEY)
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    started: list[Service] = []

    def start(*replies: Any) -> Service:
        service = Service(*replies)
        started.append(service)
        threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
        return service

    yield start
    for service in started:
        service.broken.set()
        service.shutdown()
        service.server_close()
