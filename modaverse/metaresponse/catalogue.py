"""What may be called, and within which bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from modaverse.errors import SettingsError
from modaverse.interfaces import CallSpec
from modaverse.metaresponse.faults import brief

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one answer may hold, whatever wrote it.

    A call has at most `max_call_chars` characters, markers included, and its `Options` are nested at most
    `max_depth` deep; an answer has at most `max_calls` calls; an `Input` has at most `max_input_chars`
    characters where no catalogue sets a bound of its own.
    """

    max_calls: int = 64
    max_depth: int = 16
    max_call_chars: int = 1 << 21
    max_input_chars: int = 1 << 21


class Catalogue(Mapping[str, CallSpec]):
    """The calls that are possible, by the name that `Model` has.

    Raises:
        SettingsError: two entries have one name, or the schema of an entry's options is no JSON Schema.
    """

    def __init__(self, specs: Iterable[CallSpec]) -> None:
        self._specs: dict[str, CallSpec] = {}
        self._validators: dict[str, Validator] = {}
        for spec in specs:
            if spec.model in self._specs:
                raise SettingsError(
                    f"two generators answer to the name {spec.model}",
                    hint="Leave one of them out of the profile, or give it another name.",
                )
            self._specs[spec.model] = spec

    def __getitem__(self, model: str) -> CallSpec:
        return self._specs[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    @cached_property
    def names(self) -> str:
        """The names for a sentence."""
        return ", ".join(self._specs) or "none"

    def option_faults(self, model: str, options: Mapping[str, Any], label: str = "Options") -> str:
        """What is wrong with `options`, which the dialect calls `label`; empty where nothing is."""
        if not options and "required" not in self[model].options_schema:
            return ""
        if model not in self._validators:
            self._validators[model] = _validator(self[model])
        errors = sorted(self._validators[model].iter_errors(dict(options)), key=lambda error: error.json_path)
        found = (f"{error.json_path.replace('$', label, 1)}: {error.message}" for error in errors[:3])
        return "; ".join(brief(text, 200) for text in found)


def _validator(spec: CallSpec) -> Validator:
    # Imported with the first options: this takes longer than everything else here together.
    from jsonschema import Draft202012Validator, SchemaError

    schema = dict(spec.options_schema)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise SettingsError(
            f"the options of {spec.model} are described by what is no JSON Schema: {error.message}",
            hint="Correct options_schema in the generator's card (draft 2020-12).",
        ) from error
    return Draft202012Validator(schema)
