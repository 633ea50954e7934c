"""From what a call says to what may be done: a `MetaResponse`, or the fault that it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modaverse.context import MetaResponse, Modality
from modaverse.interfaces import CallSpec
from modaverse.metaresponse import faults
from modaverse.metaresponse.catalogue import Catalogue, Limits
from modaverse.metaresponse.faults import Refused
from modaverse.metaresponse.grammar import FIELDS, Dialect
from modaverse.metaresponse.values import JsonObject, Unusable

_ABSENT = object()
_KINDS: dict[type, str] = {
    str: "a string", JsonObject: "an object", list: "a list", bool: "true or false", int: "a whole number",
    float: "a number", Unusable: "a number", type(None): "null",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checker:
    """The rules that the calls of one answer must obey.

    Without a catalogue every name may be called; without `sources` every number may be meant.
    """

    dialect: Dialect
    catalogue: Catalogue | None
    limits: Limits

    def check(
        self, call: Mapping[str, list[Any]], sources: Mapping[int, Modality] | None, raw: str
    ) -> list[MetaResponse]:
        """The calls that are meant, one for each model that is named; the first bears `raw`.

        Raises:
            Refused: something in the call is not allowed.
        """
        values = self._fields(call)
        prompt = self._typed(values["input"], "input", str)
        options = self._options(values["options"])
        models = [self._typed(name, "model", str) for name in values["model"]] or [
            self._typed(_ABSENT, "model", str)
        ]
        responses = []
        for index, name in enumerate(models):
            model = self.dialect.models.get(name, name)
            spec = self._spec(model)
            self._check_input(prompt, spec)
            self._check_options(model, options, spec)
            source = self._source(model, values["source"], spec, sources)
            responses.append(MetaResponse(model, prompt, options, source, "" if index else raw))
        return responses

    # ------------------------------------------------------------------------------ the fields

    def _fields(self, call: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Field → value; `model` is a list, as a dialect may name several in one call."""
        places = self.dialect.fields
        values: dict[str, Any] = dict.fromkeys(FIELDS, _ABSENT)
        for name, place in places.items():
            found = call.get(place.rule, [])
            if place.keys:
                found = [value for item in found if (value := _look(item, place.keys)) is not _ABSENT]
            values[name] = found if name == "model" else next(iter(found), _ABSENT)
        self._check_keys(call)
        if isinstance(values["options"], JsonObject):
            keys = {place.keys[-1] for place in places.values() if place.keys[:-1] == places["options"].keys}
            repeated = values["options"].repeated
            values["options"] = JsonObject([(k, v) for k, v in values["options"].items() if k not in keys])
            values["options"].repeated = repeated
        return values

    def _check_keys(self, call: Mapping[str, list[Any]]) -> None:
        """No key twice, and none that means nothing, along the way to every field."""
        places = [place for place in self.dialect.fields.values() if place.keys]
        options = self.dialect.fields.get("options")
        for place in places:
            for depth in range(len(place.keys)):
                prefix = place.keys[:depth]
                for item in call.get(place.rule, []):
                    level = _look(item, prefix)
                    if not isinstance(level, JsonObject):
                        continue
                    if level.repeated is not None:
                        raise Refused(faults.REPEATED_KEY, key=level.repeated)
                    known = list(dict.fromkeys(p.keys[depth] for p in places if p.keys[:depth] == prefix
                                               and len(p.keys) > depth))  # fmt: skip
                    unknown = [key for key in level if key not in known]
                    if unknown and not (options and options.keys == prefix):
                        raise Refused(faults.UNKNOWN_KEY, key=unknown[0], keys=", ".join(known))

    def _label(self, name: str) -> str:
        """A field's name as the dialect writes it."""
        place = self.dialect.fields.get(name)
        return place.keys[-1] if place and place.keys else name.capitalize()

    def _typed(self, value: Any, name: str, kind: type) -> Any:
        if value is _ABSENT:
            needed = " and ".join(self._label(field) for field in ("model", "input"))
            raise Refused(faults.MISSING, field=self._label(name), needed=needed)
        if type(value) is not kind:
            found = _KINDS.get(type(value), "text")
            raise Refused(faults.WRONG_TYPE, field=self._label(name), found=found, wanted=_KINDS[kind])
        return value

    # ---------------------------------------------------------------------------- the catalogue

    def _spec(self, model: str) -> CallSpec | None:
        if model and self.catalogue is None:
            return None
        if self.catalogue is None or model not in self.catalogue:
            names = "any but the empty one" if self.catalogue is None else self.catalogue.names
            raise Refused(faults.UNKNOWN_MODEL, model=model, models=names)
        return self.catalogue[model]

    def _check_input(self, prompt: str, spec: CallSpec | None) -> None:
        limit = self.limits.max_input_chars if spec is None else spec.max_input_chars
        if not prompt.strip():
            raise Refused(faults.EMPTY_INPUT)
        if len(prompt) > limit:
            raise Refused(faults.LONG_INPUT, length=len(prompt), limit=limit)

    def _options(self, value: Any) -> dict[str, Any]:
        if value is _ABSENT:
            return {}
        options: dict[str, Any] = self._plain(
            self._typed(value, "options", JsonObject), self.limits.max_depth
        )
        return options

    def _plain(self, value: Any, depth: int) -> Any:
        """`value` as plain dictionaries and lists, without repeated keys and unusable numbers."""
        if isinstance(value, Unusable):
            raise Refused(faults.UNUSABLE_NUMBER, number=value if len(value) < 20 else f"{value[:20]}…")
        if not isinstance(value, (dict, list)):
            return value
        if depth == 0:
            raise Refused(faults.TOO_DEEP, limit=self.limits.max_depth)
        if isinstance(value, list):
            return [self._plain(item, depth - 1) for item in value]
        if isinstance(value, JsonObject) and value.repeated is not None:
            raise Refused(faults.REPEATED_KEY, key=value.repeated)
        return {key: self._plain(item, depth - 1) for key, item in value.items()}

    def _check_options(self, model: str, options: dict[str, Any], spec: CallSpec | None) -> None:
        if spec is None or self.catalogue is None:
            return
        wrong = self.catalogue.option_faults(model, options)
        if wrong:
            raise Refused(faults.WRONG_OPTIONS, model=model, faults=wrong)

    def _source(
        self, model: str, value: Any, spec: CallSpec | None, sources: Mapping[int, Modality] | None
    ) -> int | None:
        wanted = spec.source if spec else None
        numbers = ", ".join(str(number) for number, kind in sorted((sources or {}).items())
                            if wanted is None or kind == wanted) or "none"  # fmt: skip
        about = {"model": model, "modality": wanted, "article": _article(wanted), "numbers": numbers}
        if value is _ABSENT:
            if wanted is not None:
                raise Refused(faults.MISSING_SOURCE, **about)
            return None
        number: int = self._typed(value, "source", int)
        if spec is not None and wanted is None:
            raise Refused(faults.NEEDLESS_SOURCE, model=model)
        if number < 1 or (sources is not None and number not in sources):
            raise Refused(faults.UNKNOWN_SOURCE, number=number, numbers=numbers)
        found = sources[number] if sources is not None else wanted
        if wanted is not None and found != wanted:
            raise Refused(
                faults.WRONG_SOURCE, number=number, found=found, found_article=_article(found), **about
            )
        return number


def _look(item: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        if not isinstance(item, JsonObject) or key not in item:
            return _ABSENT
        item = item[key]
    return item


def _article(modality: Modality | None) -> str:
    return "a" if modality is Modality.VIDEO else "an"
