"""Plug-ins: generators from packages that are installed beside ModaVerse, where no card says enough.

Such a package names a function in the entry-point group `modaverse.generators`:

    [project.entry-points."modaverse.generators"]
    abc-tune = "modaverse_abc:open_generators"

A profile lists that name among its cards, and only then is the package imported: to be installed is no
reason to run. The function gets a `modaverse.interfaces.Place` and returns generators, which say about
themselves what `modaverse.generation.resident` explains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from modaverse.errors import ModaVerseError, ModelError, SettingsError
from modaverse.interfaces import CallSpec, Generator, Place

GROUP = "modaverse.generators"


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plug-in that is not imported: its name, what it points at, and whose it is."""

    name: str
    target: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"plug-in {self.name} of {self.distribution} {self.version}"


def plugins() -> tuple[Plugin, ...]:
    """The plug-ins that are installed, by name; none is imported."""
    found = []
    for entry in metadata.entry_points(group=GROUP):
        owner = entry.dist
        name, version = (owner.name, owner.version) if owner else ("an unknown package", "")
        found.append(Plugin(entry.name, entry.value, name, version))
    return tuple(sorted(set(found), key=lambda plugin: (plugin.name, plugin.distribution)))


def find_plugin(name: str) -> Plugin | None:
    """The plug-in of that name, not imported.

    Raises:
        SettingsError: two packages offer one of that name.
    """
    found = [plugin for plugin in plugins() if plugin.name == name]
    if len(found) > 1:
        owners = " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in found)
        raise SettingsError(f"{owners} both offer a generator {name}", hint="Uninstall one of them.")
    return found[0] if found else None


def open_plugin(plugin: Plugin, place: Place) -> list[Generator]:
    """Import a plug-in and let it open its generators; nothing large is loaded yet.

    Raises:
        ModelError: it cannot be imported, or fails; the message has the fault as Python tells it.
        SettingsError: what it returns are no generators.
    """
    entry = metadata.EntryPoint(plugin.name, plugin.target, GROUP)
    try:
        opener = entry.load()
    except Exception as error:  # an ImportError of its own, or whatever its code raises when it is imported
        raise ModelError(
            f"{plugin} cannot be imported: {type(error).__name__}: {error}",
            hint=f"Install what it needs, or install {plugin.distribution} again.",
        ) from error
    try:
        generators = list(opener(place))
    except ModaVerseError:
        raise
    except Exception as error:
        raise ModelError(
            f"{plugin} cannot be opened: {type(error).__name__}: {error}",
            hint=f"Report this to the author of {plugin.distribution}.",
        ) from error
    _check(plugin, generators)
    return generators


def _check(plugin: Plugin, generators: Sequence[Generator]) -> None:
    """What a plug-in returns is looked at here, so that a slip in it shows when it is opened."""
    if not generators:
        raise SettingsError(f"{plugin} returns no generators", hint="It must return at least one.")
    for generator in generators:
        spec = getattr(generator, "spec", None)
        missing = [name for name in ("load", "generate") if not callable(getattr(generator, name, None))]
        if not isinstance(spec, CallSpec) or missing:
            raise SettingsError(
                f"{plugin} returns {type(generator).__name__}, which is no generator",
                hint="modaverse.interfaces.Generator says what one has: spec, load and generate.",
            )
