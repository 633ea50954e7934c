"""Cards of generators that run elsewhere: a service that is asked over HTTP, the way of OpenAI's endpoints.

    [service]                     where it answers, which environment variable holds the key, what it may cost
    [[calls]]                     what the LLM may call, and the JSON that is posted for it

The key itself never stands in a card.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from modaverse.context import Modality
from modaverse.interfaces import CallSpec

from .card import Licence, Table, check_names, object_schema


class Service(Table):
    """Where a service answers, and what one call of it may cost."""

    url: str = Field(
        description="Address that calls are posted to; http only for this machine, or without a key."
    )
    key: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable that holds the key; none where the service wants none.",
    )
    timeout: float = Field(120.0, gt=0, description="Seconds that one call may take, all attempts together.")
    retries: int = Field(
        3, ge=0, le=10, description="Further attempts where the service is busy (429, 5xx) or unreachable."
    )
    max_mb: float = Field(64.0, gt=0, le=1024, description="Size of an answer, in 10^6 bytes.")
    concurrency: int = Field(2, ge=1, description="Calls that it may be asked at once.")

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.port == 0:
            raise ValueError("this is no address of the form https://host/path")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a name or password in an address is seen by everybody; use key")
        if parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("an address has neither spaces nor a fragment, and is ASCII")
        return url

    @model_validator(mode="after")
    def _keeps_its_key(self) -> Service:
        if self.key is not None and urlsplit(self.url).scheme == "http" and not _is_here(self.host):
            raise ValueError("a key is sent over https only, or to this machine")
        return self

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


class ServiceOption(Table):
    """One thing the LLM may set in `Options`, and where it stands in what is posted."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    argument: str | None = Field(None, description="Its name in what is posted, where that is another.")
    json_schema: dict[str, Any] = Field(alias="schema", description="JSON Schema of the value.")


class ServiceCall(Table):
    """One kind of call, and how the service is asked for it."""

    model: str = Field(description="What a meta-response names: T-to-I, T-to-A, …")
    makes: Modality = Field(description="Modality of what is made.")
    source: Modality | None = Field(
        None,
        description="Modality of Source, where the call needs one; a form is then posted, and no JSON.",
    )
    source_argument: str = Field("image", description="Name of Source's file in that form.")
    answer: Literal["json", "body"] = Field(
        description="`json`: the file stands in data[0].b64_json, as pictures do. `body`: the answer is it, "
        "as speech is."
    )
    prompt_argument: str = Field("prompt", description="Name of the prompt in what is posted.")
    seed_argument: str | None = Field(None, description="Name of the seed, where the service takes one.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="What else is posted with each call.")
    options: dict[str, ServiceOption] = Field(
        default_factory=dict, description="What the LLM may set, by name."
    )
    max_input_chars: int = Field(1000, ge=1, description="Characters that a prompt may have.")

    def spec(self) -> CallSpec:
        """What may be called, for the catalogue."""
        properties = {name: option.json_schema for name, option in self.options.items()}
        return CallSpec(
            self.model,
            self.makes,
            self.source,
            options_schema=object_schema(properties),
            max_input_chars=self.max_input_chars,
        )


class ServiceCard(Table):
    """One service."""

    kind: Literal["http"] = Field(description="What runs it: a service that is asked over HTTP.")
    name: str = Field(description="Lower-case name; also the name of the file.")
    summary: str = Field(description="One line on what it makes and how well.")
    licence: Licence = Field(description="The terms of the service.")
    service: Service = Field(description="Where it answers, and what it may cost.")
    calls: tuple[ServiceCall, ...] = Field(min_length=1, description="What it answers, and how.")

    @model_validator(mode="after")
    def _holds_together(self) -> ServiceCard:
        check_names(self.name, [call.model for call in self.calls])
        return self


def _is_here(host: str) -> bool:
    """Whether a host is this machine, so that nobody on the way reads what is sent."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
