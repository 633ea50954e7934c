"""From what a call says to what may be done: a `MetaResponse`, or the fault that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from modaverse.context import MetaResponse, Modality, ParserEvent, WrappedText
from modaverse.interfaces import CallSpec
from modaverse.metaresponse import faults
from modaverse.metaresponse.catalogue import Catalogue, Limits
from modaverse.metaresponse.faults import Refused, brief
from modaverse.metaresponse.grammar import Dialect
from modaverse.metaresponse.values import JsonObject, Unusable

_ABSENT = object()
_KINDS: dict[type, str] = {
    str: "a string", JsonObject: "an object", list: "a list", bool: "true or false", int: "a whole number",
    float: "a number", Unusable: "a number", type(None): "null",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checker:
    """The rules that the calls of one answer must obey.

    Without a catalogue every name may be called.
    """

    dialect: Dialect
    catalogue: Catalogue | None
    limits: Limits

    def check(
        self, call: Mapping[str, list[Any]], sources: Mapping[int, Modality] | None, raw: str
    ) -> list[ParserEvent]:
        """What the call means, one event for each model that it names; the first bears `raw`.

        `sources` are the media in the context; None lets every number pass.

        Raises:
            Refused: something in the call is not allowed.
        """
        self._check_keys(call)
        names = list(self._values(call, "model")) or [_ABSENT]
        models = [self._typed(name, "model", str) for name in names]
        prompt = self._typed(self._value(call, "input"), "input", str)
        options = self._options(self._value(call, "options"))
        source = self._value(call, "source")
        events: list[ParserEvent] = []
        for name in models:
            model = self.dialect.models.get(name, name)
            own = "" if events else raw
            if not model and name in self.dialect.models:
                events.append(WrappedText(prompt, own))
                continue
            spec = self._spec(model)
            self._check_input(prompt, spec)
            self._check_options(model, options, spec)
            number = self._source(model, source, spec, sources)
            events.append(MetaResponse(model, prompt, options, number, own))
        return events

    # ------------------------------------------------------------------------------ the fields

    def _values(self, call: Mapping[str, list[Any]], name: str) -> Iterator[Any]:
        """All that a call says of a field: nothing, one value, or several where the dialect lets it."""
        place = self.dialect.fields.get(name)
        for item in call.get(place.rule, ()) if place else ():
            value = _look(item, place.keys) if place else _ABSENT
            if value is not _ABSENT:
                yield value

    def _value(self, call: Mapping[str, list[Any]], name: str) -> Any:
        return next(self._values(call, name), _ABSENT)

    def _check_keys(self, call: Mapping[str, list[Any]]) -> None:
        """No key twice, and none that means nothing, on the way to any field."""
        for level in _levels(self.dialect):
            for item in call.get(level.rule, ()):
                found = _look(item, level.path)
                if not isinstance(found, JsonObject):
                    continue
                if found.repeated is not None:
                    raise Refused(faults.REPEATED_KEY, key=brief(found.repeated))
                if level.known is not None and not found.keys() <= level.known.keys():
                    unknown = next(key for key in found if key not in level.known)
                    raise Refused(faults.UNKNOWN_KEY, key=brief(unknown), keys=", ".join(level.known))

    def _label(self, name: str) -> str:
        """A field's name as the dialect writes it."""
        place = self.dialect.fields.get(name)
        return place.keys[-1] if place and place.keys else name.capitalize()

    def _typed(self, value: Any, name: str, kind: type) -> Any:
        field = self._label(name)
        if value is _ABSENT:
            needed = " and ".join(self._label(field) for field in ("model", "input"))
            raise Refused(faults.MISSING, field=field, needed=needed)
        if type(value) is not kind:
            found = _KINDS.get(type(value), "text")
            raise Refused(faults.WRONG_TYPE, field=field, found=found, wanted=_KINDS[kind])
        return value

    # ---------------------------------------------------------------------------- the catalogue

    def _spec(self, model: str) -> CallSpec | None:
        if self.catalogue is None and model:
            return None
        if self.catalogue is None or model not in self.catalogue:
            names = "all but the empty name" if self.catalogue is None else self.catalogue.names
            raise Refused(faults.UNKNOWN_MODEL, model=brief(model), models=names)
        return self.catalogue[model]

    def _check_input(self, prompt: str, spec: CallSpec | None) -> None:
        limit = self.limits.max_input_chars if spec is None else spec.max_input_chars
        field = self._label("input")
        if not prompt or prompt.isspace():
            raise Refused(faults.EMPTY_INPUT, field=field)
        if len(prompt) > limit:
            raise Refused(faults.LONG_INPUT, field=field, length=len(prompt), limit=limit)

    def _options(self, value: Any) -> dict[str, Any]:
        """The options as plain values; keys that other fields have in the same object are not among them."""
        if value is _ABSENT:
            return {}
        options = self._plain(self._typed(value, "options", JsonObject), self.limits.max_depth)
        level = self.dialect.fields["options"].keys
        taken = {place.keys[-1] for place in self.dialect.fields.values() if place.keys[:-1] == level}
        return {key: value for key, value in options.items() if key not in taken}

    def _plain(self, value: Any, depth: int) -> Any:
        """`value` as plain dictionaries and lists, without repeated keys and unusable numbers."""
        if isinstance(value, Unusable):
            raise Refused(faults.UNUSABLE_NUMBER, number=brief(value, 20))
        if not isinstance(value, (dict, list)):
            return value
        if depth == 0:
            raise Refused(faults.TOO_DEEP, field=self._label("options"), limit=self.limits.max_depth)
        if isinstance(value, list):
            return [self._plain(item, depth - 1) for item in value]
        if isinstance(value, JsonObject) and value.repeated is not None:
            raise Refused(faults.REPEATED_KEY, key=brief(value.repeated))
        return {key: self._plain(item, depth - 1) for key, item in value.items()}

    def _check_options(self, model: str, options: dict[str, Any], spec: CallSpec | None) -> None:
        if spec is None or self.catalogue is None:
            return
        wrong = self.catalogue.option_faults(model, options, self._label("options"))
        if wrong:
            raise Refused(faults.WRONG_OPTIONS, model=model, faults=wrong)

    def _source(
        self, model: str, value: Any, spec: CallSpec | None, sources: Mapping[int, Modality] | None
    ) -> int | None:
        wanted, field = spec.source if spec else None, self._label("source")
        fitting = [number for number, kind in sorted((sources or {}).items()) if wanted in (None, kind)]
        about = {"model": model, "field": field, "modality": wanted, "article": _article(wanted),
                 "numbers": ", ".join(map(str, fitting)) or "none"}  # fmt: skip
        if value is _ABSENT:
            if wanted is not None:
                raise Refused(faults.MISSING_SOURCE, **about)
            return None
        number: int = self._typed(value, "source", int)
        if spec is not None and wanted is None:
            raise Refused(faults.NEEDLESS_SOURCE, **about)
        if number < 1 or (sources is not None and number not in sources):
            raise Refused(faults.UNKNOWN_SOURCE, number=number, **about)
        found = sources[number] if sources is not None else wanted
        if wanted is not None and found != wanted:
            raise Refused(faults.WRONG_SOURCE, number=number, found=found, other=_article(found), **about)
        return number


class _Level(NamedTuple):
    """An object on the way to a field, and the keys that mean something in it; None where any may stand."""

    rule: str
    path: tuple[str, ...]
    known: dict[str, None] | None


@cache
def _levels(dialect: Dialect) -> tuple[_Level, ...]:
    """The levels of a dialect, in the order in which a person would read them."""
    known: dict[tuple[str, tuple[str, ...]], dict[str, None]] = {}
    for rule, keys in dialect.fields.values():
        for depth, key in enumerate(keys):
            known.setdefault((rule, keys[:depth]), {})[key] = None
    options = dialect.fields.get("options")
    return tuple(_Level(*place, None if place == options else keys) for place, keys in known.items())


def _look(item: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        if not isinstance(item, JsonObject) or key not in item:
            return _ABSENT
        item = item[key]
    return item


def _article(modality: Modality | None) -> str:
    return "a" if modality is Modality.VIDEO else "an"
