"""What `modaverse generators` shows of a card, a service or a plug-in, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modaverse.generators.card import Call, Card, Licence, card_names
from modaverse.generators.opening import is_card, known_plugin, read_card
from modaverse.generators.plugins import Plugin, open_plugin, plugins
from modaverse.generators.service_card import ServiceCard
from modaverse.interfaces import CallSpec, Place


def overview() -> Iterator[str]:
    """Two lines for each card that ships and each plug-in that is installed; no plug-in is imported."""
    cards = [read_card(name) for name in card_names()]
    installed = plugins()
    width = max(len(entry.name) for entry in (*cards, *installed))
    for card in cards:
        calls = ", ".join(call.model for call in card.calls)
        size = "a service" if isinstance(card, ServiceCard) else f"{card.weights.size_gb:.3g} GB"
        yield f"{card.name:<{width}}  {calls:<24} {size:>9}  {card.licence.name}"
        yield f"{'':<{width}}  {card.summary}"
    for plugin in installed:
        yield f"{plugin.name:<{width}}  plug-in of {plugin.distribution} {plugin.version}"
        yield f"{'':<{width}}  loaded only where a profile names it, or by `modaverse generators show`"


def described(name: str, place: Place) -> Iterator[str]:
    """A generator in full: its terms, what it costs, and each call with its options.

    Raises:
        SettingsError: there is none of that name; ModelError: a plug-in cannot be opened.
    """
    if not is_card(name):
        yield from _plugin(known_plugin(name), place)
        return
    card = read_card(name)
    yield f"{card.name}: {card.summary}"
    yield f"licence    {_terms(card.licence)}"
    if isinstance(card, ServiceCard):
        yield from _service(card)
    else:
        yield from _pipelines(card)


def _pipelines(card: Card) -> Iterator[str]:
    weights = card.weights
    place = weights.path or f"{weights.repository} at {weights.revision}"
    memory = ", ".join(f"{size:g} GB in {precision}" for precision, size in card.memory_gb.items())
    yield f"weights    {place}, {weights.size_gb:g} GB"
    yield f"memory     {memory}; loaded in {card.precision}"
    if card.requires:
        yield f"requires   {', '.join(card.requires)}"
    for call in card.calls:
        deprecated = ", which diffusers calls deprecated" if call.deprecated else ""
        yield ""
        yield f"{_makes(call.spec())} with {call.pipeline}{deprecated}{_rate(call)}"
        defaults = {
            name: call.arguments.get(option.argument or name) for name, option in call.options.items()
        }
        yield from _options(call.spec(), defaults)


def _service(card: ServiceCard) -> Iterator[str]:
    service = card.service
    yield f"service    {service.url}"
    yield f"key        {f'in the environment variable {service.key}' if service.key else 'none'}"
    yield f"limits     {service.timeout:g} s, {service.retries} retries, {service.max_mb:g} MB"
    for call in card.calls:
        yield ""
        yield _makes(call.spec())
        defaults = {
            name: call.arguments.get(option.argument or name) for name, option in call.options.items()
        }
        yield from _options(call.spec(), defaults)


def _plugin(plugin: Plugin, place: Place) -> Iterator[str]:
    generators = open_plugin(plugin, place)
    yield f"{plugin.name}: plug-in of {plugin.distribution} {plugin.version}, {plugin.target}"
    for generator in generators:
        yield ""
        yield _makes(generator.spec)
        yield from _options(generator.spec, {})


def _terms(licence: Licence) -> str:
    terms = "commercial use allowed" if licence.commercial else "no commercial use"
    return f"{licence.name} ({terms}){'; ' + licence.note if licence.note else ''}"


def _makes(spec: CallSpec) -> str:
    source = f" from {spec.source.value}" if spec.source else ""
    return f"{spec.model}: makes {spec.makes.value}{source}"


def _rate(call: Call) -> str:
    if call.fps is not None:
        return f", {call.fps:g} frames/s"
    return f", {call.sample_rate} Hz" if call.sample_rate is not None else ""


def _options(spec: CallSpec, defaults: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in spec.options_schema.get("properties", {}).items():
        default = defaults.get(name)
        yield f"  {name:<12} {schema}{f'  (default {default})' if default is not None else ''}"
