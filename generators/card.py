"""Cards: all that ModaVerse knows of a generator, as data.

A card says which calls a generator answers (`T-to-I`, `TI-to-I`, …), which diffusers pipeline class runs
each of them and with which arguments, what the LLM may set (`options`), where the weights lie, and what
they cost in bytes, memory and obligations. Code never repeats what a card says; a new generator of a known
kind is a new file and nothing else.

    generators/cards/NAME.toml ─► Card ─► Card.calls[i].spec() ─► catalogue of what may be called
                                    └───► diffusers_adapter.open_card(card, …) ─► runnable generators

A card of the other kind, for a service on the network, is `service_card.ServiceCard`; `opening.read_card`
reads either.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from modaverse.context import Modality
from modaverse.errors import GenerationError, SettingsError
from modaverse.interfaces import CallSpec, GenerationRequest

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")

Precision = Literal["float32", "bfloat16", "float16"]


class Table(BaseModel):
    """A table of a card: an unknown name in it is an error instead of being ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Licence(Table):
    """Under which terms the weights may be used."""

    name: str = Field(description="SPDX identifier where there is one, the licence's own name otherwise.")
    commercial: bool = Field(description="Whether the licence allows commercial use without further ado.")
    url: str = Field("", description="Where the text of the licence stands.")
    note: str = Field("", description="A condition that a user should know.")


class Weights(Table):
    """Where the weights come from: a hub repository at a revision, or a folder of the profile."""

    path: str | None = Field(None, description="Folder below the profile's weights.")
    repository: str | None = Field(None, description="Repository on the hub, owner/name.")
    revision: str = Field("main", description="Commit, branch or tag of the repository.")
    variant: str | None = Field(None, description="Variant of the weight files, such as fp16.")
    components: dict[str, Precision] = Field(
        default_factory=dict, description="Precision of single components where it is not the card's."
    )
    size_gb: float = Field(gt=0, description="Bytes on disk of what is loaded, in units of 10^9.")

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, so that nobody can change what it names."""
        return self.path is not None or _COMMIT.fullmatch(self.revision) is not None

    @field_validator("path")
    @classmethod
    def _stays_below(cls, path: str | None) -> str | None:
        if path is not None and (Path(path).is_absolute() or ".." in Path(path).parts or not path):
            raise ValueError(f"{path!r} leads out of the profile's weights")
        return path

    @field_validator("repository")
    @classmethod
    def _is_owner_and_name(cls, repository: str | None) -> str | None:
        if repository is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
            raise ValueError(f"{repository!r} is not owner/name")
        return repository

    @model_validator(mode="after")
    def _has_one_place(self) -> Weights:
        if (self.path is None) == (self.repository is None):
            raise ValueError("give either a path or a repository")
        return self


class Option(Table):
    """One thing the LLM may set in `Options`, and what the pipeline calls it.

    `schema` is the option's JSON Schema. `convert` names the function (`conversions.CONVERSIONS`) that
    turns the value into pipeline arguments where it is not the argument itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    argument: str | None = Field(None, description="Argument of the pipeline's call.")
    convert: str = Field("same", description="How the value becomes arguments.")
    json_schema: dict[str, Any] = Field(alias="schema", description="JSON Schema of the value.")


class Call(Table):
    """One kind of call: what the LLM names, and the pipeline that answers it."""

    model: str = Field(description="What a meta-response names: T-to-I, TI-to-I, I-to-V, …")
    pipeline: str = Field(description="Name of the pipeline class in diffusers.")
    makes: Modality = Field(description="Modality of what is made.")
    source: Modality | None = Field(None, description="Modality of Source, where the call needs one.")
    deprecated: bool = Field(False, description="Whether the class lies in diffusers' deprecated folder.")
    prompt_argument: str = Field("prompt", description="Argument of the pipeline that takes the prompt.")
    run: str = Field("call", description="How the pipeline is run (runners.RUNNERS).")
    prepare: str = Field("", description="How Source becomes arguments (conversions.SOURCES).")
    output: str = Field(description="How the pipeline's output is read (conversions.OUTPUTS).")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of every call; a value here is an option's default."
    )
    configuration: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the pipeline object itself that differ from the saved ones.",
    )
    options: dict[str, Option] = Field(default_factory=dict, description="What the LLM may set, by name.")
    fps: float | None = Field(None, gt=0, description="Frames per second of a clip.")
    frame_step: int = Field(1, ge=1, description="Clips have a multiple of this many frames, plus one.")
    source_size: tuple[int, int] | None = Field(
        None,
        description="Width and height that Source is scaled to, where width and height are no arguments.",
    )
    sample_rate: int | None = Field(None, gt=0, description="Samples per second of a sound, in Hz.")
    max_input_chars: int = Field(1000, ge=1, description="Characters that a prompt may have.")
    together: bool = Field(
        False, description="Whether several prompts can share one run of the pipeline, as was tried."
    )

    @model_validator(mode="after")
    def _holds_together(self) -> Call:
        if self.makes is Modality.VIDEO and self.fps is None:
            raise ValueError(f"{self.model} makes video, so fps must be given")
        if self.makes is Modality.AUDIO and self.sample_rate is None:
            raise ValueError(f"{self.model} makes audio, so sample_rate must be given")
        if (self.source is None) != (self.prepare == ""):
            raise ValueError(f"{self.model}: source and prepare belong together")
        return self

    def spec(self) -> CallSpec:
        """What may be called, for the catalogue."""
        return CallSpec(
            model=self.model,
            makes=self.makes,
            source=self.source,
            options_schema=object_schema({name: option.json_schema for name, option in self.options.items()}),
            max_input_chars=self.max_input_chars,
        )


class Card(Table):
    """One generator that runs here, as a diffusers pipeline."""

    kind: Literal["diffusers"] = Field("diffusers", description="What runs it: a pipeline of diffusers.")
    name: str = Field(description="Lower-case name; also the name of the file.")
    summary: str = Field(description="One line on what it makes and how well.")
    licence: Licence = Field(description="The terms of the weights.")
    weights: Weights = Field(description="Where they lie.")
    memory_gb: dict[Precision, float] = Field(
        description="Memory needed while running, by precision, in 10^9 bytes: measured for mini, "
        "reckoned from the bytes of the weights for the others.",
        min_length=1,
    )
    precision: Precision = Field(
        description="Precision that the weights are loaded in unless told otherwise."
    )
    requires: tuple[str, ...] = Field((), description="Python packages that its pipeline needs besides ours.")
    calls: tuple[Call, ...] = Field(min_length=1, description="What it answers, and how.")

    @model_validator(mode="after")
    def _holds_together(self) -> Card:
        check_names(self.name, [call.model for call in self.calls])
        if self.precision not in self.memory_gb:
            raise ValueError(f"memory_gb has no entry for the card's own precision, {self.precision}")
        return self

    def call(self, model: str) -> Call:
        """The call named `model`.

        Raises:
            SettingsError: the card has none of that name.
        """
        for call in self.calls:
            if call.model == model:
                return call
        raise SettingsError(
            f"generator {self.name} does not answer {model}",
            hint=f"It answers {', '.join(call.model for call in self.calls)}.",
        )


def check_names(name: str, models: list[str]) -> None:
    """Whether a card may have this name, and answer these calls.

    Raises:
        ValueError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not made of a-z, 0-9, '-' and '.'")
    if len(set(models)) < len(models):
        raise ValueError(f"a call stands twice: {', '.join(models)}")


def object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of `Options` in which each may be given, and nothing else."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def check_options(name: str, spec: CallSpec, request: GenerationRequest) -> None:
    """Whether the generator called `name` admits the options of a request.

    Raises:
        GenerationError: it does not; the message names the option.
    """
    import jsonschema  # takes longer to import than all cards to read

    try:
        jsonschema.validate(dict(request.options), dict(spec.options_schema))
    except jsonschema.ValidationError as error:
        known = ", ".join(spec.options_schema.get("properties", {})) or "none"
        raise GenerationError(f"{name}: Options: {error.message}", hint=f"It takes: {known}.") from error


# --------------------------------------------------------------------------------- reading cards

AnyCard = TypeVar("AnyCard", bound=Table)


def card_names() -> tuple[str, ...]:
    """Names of the cards that come with ModaVerse, sorted."""
    folder = resources.files("modaverse.generators") / "cards"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_card(name: str | Path) -> Card:
    """The card of that name, or the one in a TOML file where `name` is a path to one.

    Raises:
        SettingsError: there is none, or it does not hold together; the message names the field.
    """
    text, origin = card_text(name)
    return parse_card(text, origin=origin, name=Path(origin).stem)


def card_text(name: str | Path) -> tuple[str, str]:
    """The text of a card, and the file that it stands in.

    Raises:
        SettingsError: there is none, or it is not text.
    """
    if isinstance(name, Path) or name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise SettingsError(f"{path}: no such card", hint="Give the path of a TOML file.")
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} cannot be read: {error}", hint="A card is UTF-8 text.") from error
    if name not in card_names():
        raise SettingsError(
            f"no generator card is named {name!r}", hint=f"There are: {', '.join(card_names())}."
        )
    file = resources.files("modaverse.generators") / "cards" / f"{name}.toml"
    return file.read_text(encoding="utf-8"), f"{name}.toml"


def parse_card(text: str, *, origin: str, name: str) -> Card:
    """Read the text of a card; its `name` is the file's.

    Raises:
        SettingsError: it is no TOML, or a field is missing, unknown or wrong.
    """
    return build_card(Card, parse_toml(text, origin), origin=origin, name=name)


def parse_toml(text: str, origin: str) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        SettingsError: it is none.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{origin} is no TOML: {error}", hint="Mend the line it names.") from error


def build_card(kind: type[AnyCard], values: dict[str, Any], *, origin: str, name: str) -> AnyCard:
    """A card of one kind from the values of its file.

    Raises:
        SettingsError: a field is missing, unknown or wrong.
    """
    try:
        return kind.model_validate({"name": name, **values})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "card"
        raise SettingsError(
            f"{origin}: {field}: {first['msg'].removeprefix('Value error, ')}",
            hint="docs/generators.md explains each field of a card.",
        ) from error
