"""From a name in a profile to generators that can be called, whichever kind stands behind it.

    NAME.toml, or the name of a card that ships ─► Card        ─► diffusers_adapter   (kind = "diffusers")
                                                └► ServiceCard ─► service             (kind = "http")
    the name of an installed plug-in ───────────────────────────► plugins

A card that ships goes before a plug-in of the same name, so that installing a package changes nothing that
was there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modaverse.errors import SettingsError
from modaverse.interfaces import CallSpec, Generator, Place

from .card import Card, build_card, card_names, card_text, parse_toml
from .plugins import Plugin, find_plugin, open_plugin, plugins
from .service_card import ServiceCard

_KINDS: Mapping[str, type[Card] | type[ServiceCard]] = {"diffusers": Card, "http": ServiceCard}


def open_generators(name: str, place: Place) -> list[Generator]:
    """The generators of that name, one for each kind of call; no weights are loaded.

    Raises:
        SettingsError: there is none of that name, or its card does not hold together.
        ModelNotFound: its weights are not on this machine; ModelError: a plug-in cannot be opened.
    """
    generators = _open(name, place)
    for generator in generators:
        _check_schema(name, generator.spec)
    return generators


def _open(name: str, place: Place) -> list[Generator]:
    if not is_card(name):
        return open_plugin(known_plugin(name), place)
    card = read_card(name)
    if isinstance(card, ServiceCard):
        from .service import open_service

        return list(open_service(card))
    from .diffusers_adapter import open_card  # which imports torch and diffusers

    return list(open_card(card, root=place.root, device=place.device, precision=place.precision))


def is_card(name: str) -> bool:
    """Whether a card has that name, and no plug-in is meant."""
    return name.endswith(".toml") or name in card_names()


def read_card(name: str) -> Card | ServiceCard:
    """The card of that name or in that TOML file, of whichever kind.

    Raises:
        SettingsError: there is none, or it does not hold together; the message names the field.
    """
    text, origin = card_text(name)
    values = parse_toml(text, origin)
    kind = values.get("kind", "diffusers")
    if kind not in _KINDS:
        raise SettingsError(
            f"{origin}: kind: there is none named {kind!r}", hint=f"There are: {', '.join(_KINDS)}."
        )
    return build_card(_KINDS[kind], values, origin=origin, name=Path(origin).stem)


def _check_schema(name: str, spec: CallSpec) -> None:
    from jsonschema import Draft202012Validator, SchemaError  # slow to import

    try:
        Draft202012Validator.check_schema(dict(spec.options_schema))
    except SchemaError as error:
        raise SettingsError(
            f"generator {name}: the options of {spec.model} are no JSON Schema: {error.message}",
            hint="Correct the schema of its options (draft 2020-12).",
        ) from error


def known_plugin(name: str) -> Plugin:
    """The installed plug-in of that name, not imported.

    Raises:
        SettingsError: nothing is named so, or two packages offer it.
    """
    plugin = find_plugin(name)
    if plugin is None:
        names = [*card_names(), *(plugin.name for plugin in plugins())]
        raise SettingsError(f"no generator is named {name!r}", hint=f"There are: {', '.join(names)}.")
    return plugin
