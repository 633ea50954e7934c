"""Typed settings: what a profile may say, with a description for each field, checked when they are built."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modaverse.errors import SettingsError
from modaverse.splicing import AFTER


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error instead of being ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


# ---------------------------------------------------------------------------------- language side


class ProjectorSettings(Settings):
    """How one embedding of the encoder becomes `k` input embeddings of the LLM."""

    kind: Literal["linear", "mlp"] = "mlp"
    """`linear` as in the paper, or `mlp`: two layers with a GELU between them."""
    k: int = Field(default=4, ge=1, le=64)
    """Input embeddings a medium takes in the transcript."""
    normalise: bool = True
    """Scale the encoder's embedding to unit length first; their raw lengths differ by modality."""
    shared: bool = False
    """One projector for all modalities instead of one for each."""
    width: int | None = Field(default=None, ge=1)
    """Width of the middle layer of `mlp`; the LLM's hidden size where nothing is given."""


class TranscriptSettings(Settings):
    """How turns, media and calls stand in the transcript.

    These strings belong to the profile, so control tokens in them count as such; text from outside never
    takes this road. A marker that is empty is one that the LLM does not have.
    """

    start: str = ""
    """What comes before the first turn: a beginning-of-sequence token, a system prompt."""
    user_start: str = "<|user|>"
    """Opens the user's turn."""
    user_end: str = "<|assistant|>"
    """Closes the user's turn and opens the assistant's."""
    assistant_end: str = "<|end|>"
    """Ends an answer. It must be one token, or a piece of the vocabulary: the LLM samples it."""
    between: str = ""
    """What stands between an answer's end and the next user's turn."""
    stop: tuple[str, ...] = ()
    """Further tokens that end an answer when the LLM samples them."""
    meta_open: str = "<meta>"
    """Token that opens a meta-response."""
    meta_close: str = "</meta>"
    """Token that closes a meta-response."""
    media_open: str = "<media>"
    """Token before a medium's embeddings."""
    media_close: str = "</media>"
    """Token after a medium's embeddings."""
    media_label: str = "{number}: "
    """Plain text between `media_open` and the embeddings; `{number}` is the medium's number."""

    @property
    def markers(self) -> tuple[str, ...]:
        """The special tokens that are added to the LLM's tokenizer, in this order."""
        names = (self.meta_open, self.meta_close, self.media_open, self.media_close)
        return tuple(name for name in names if name)


class LoraSettings(Settings):
    """The adapter (LoRA, arXiv 2106.09685). The defaults are the ModaVerse paper's."""

    r: int = Field(default=32, ge=1)
    """Rank of the update of each weight matrix."""
    alpha: float = Field(default=32, gt=0)
    """The update is scaled by alpha / r."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the update's input while training."""
    target_modules: tuple[str, ...] | Literal["all-linear"] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Names of the linear layers that are adapted, or `all-linear` for all but the output layer."""


# --------------------------------------------------------------------------------------- profiles


Quantized = Literal["int8", "int4"]
"""Weights in less than 16 bits: LLM.int8() (arXiv 2208.07339), or NF4 (QLoRA, arXiv 2305.14314)."""


class LlmSettings(Settings):
    """Which LLM answers."""

    path: Path | None = None
    """Folder of the LLM."""
    repository: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    """Repository of the LLM on the hub (owner/name), instead of `path`."""
    revision: str | None = None
    """Commit of the repository."""
    adapter: Path | None = None
    """Folder that `modaverse train` wrote: LoRA, new tokens, projectors. Without one an instruct LLM is told
    in its system prompt what it can call, and reads no media."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the weights in memory; `auto` is float32 on a CPU and bfloat16 elsewhere."""
    quantized: Quantized | None = None
    """Keep the matrices of the LLM's layers in `int8` or `int4` (NF4), to save memory; needs the extra
    `quantized`."""
    device_map: Literal["auto", "balanced", "sequential"] | dict[str, int | str] | None = None
    """Spread the LLM over several devices: a strategy of accelerate, or a table of module and device.
    Without one it lies on `device`."""
    sizes: dict[str, Any] = Field(default_factory=dict)
    """What the LLM's config.json says of its sizes, for reckoning its memory before it is on this machine."""

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if (self.path is None) == (self.repository is None):
            raise ValueError("give either path or repository")
        return self

    @property
    def place(self) -> str:
        """Where the LLM lies, for loading."""
        return str(self.path or self.repository)


class EncoderSettings(Settings):
    """Which ImageBind reads media. Its parts are loaded when the first medium of their kind comes."""

    path: Path
    """Folder or file of the weights."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights in memory."""
    tokenizer: Path | None = None
    """Folder of the tokenizer that its text side reads; CLIP's, as the published one, where none is given."""


class GeneratorSettings(Settings):
    """Which generators can be called, and what they may cost."""

    cards: tuple[str, ...] = ()
    """Names of cards or plug-ins, or paths of card files (.toml)."""
    root: Path | None = None
    """Folder that holds the weights of cards whose place is a path."""
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    """Of the weights in memory; each card's own where nothing is given."""
    memory_gb: float | None = Field(default=None, gt=0)
    """What loaded generators may take together; those used longest ago make room."""
    parking_gb: float | None = Field(default=None, ge=0)
    """What idle generators of a GPU may take of the machine's own memory; half of it by default."""
    workers: int = Field(default=2, ge=1)
    """Calls that run side by side."""
    batch: int = Field(default=1, ge=1)
    """Calls that may share a run where that is quicker; above 1, what waits together can change roundings."""
    deadline: float | None = Field(default=600.0, gt=0)
    """Seconds that one call may take, loading included."""
    cache: Path | None = None
    """Folder of results that outlive the process; nothing outlives it where none is given."""


class AnswerDefaults(Settings):
    """How answers are made, where a request does not say otherwise."""

    grammar: str = "meta_response"
    """Dialect of the calls that the LLM writes: a name, or the path of a .lark file."""
    constrained: bool = True
    """Keep answers within the grammar by masking tokens."""
    splice: Literal["wait", "deferred", "none"] = "wait"
    """`wait`: the LLM waits for each medium and knows it from there on. `deferred`: it writes on, and media
    are made side by side, up to a fixed place. `none`: it never sees them."""
    splice_after: int = Field(default=AFTER, ge=0)
    """Tokens that the LLM writes on with `deferred`; the place is the end of the sentence they end in."""
    temperature: float = Field(default=0.0, ge=0)
    """0 takes the likeliest token each time."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of the probability from which tokens are drawn."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Tokens that the LLM may write in one answer."""
    max_calls: int = Field(default=16, ge=1)
    """Calls that one answer may make."""
    candidates: int = Field(default=1, ge=1)
    """Media that are drawn for each call; kept is the one that agrees best with its prompt."""
    min_agreement: float | None = Field(default=None, ge=-1, le=1)
    """Cosine of the embeddings of medium and prompt, below which a call is asked again."""
    max_retries: int = Field(default=1, ge=0)
    """How often a call may be asked again for that."""
    overflow: Literal["error", "forget"] = "error"
    """When a chat no longer fits into the LLM's context: an `error`, or `forget` its oldest requests."""


class MediaSettings(Settings):
    """What a single file may cost; see `modaverse.media.MediaLimits`."""

    max_bytes: int = Field(default=256 * 2**20, ge=1)
    """Size of the file."""
    max_pixels: int = Field(default=50_000_000, ge=1)
    """Width × height of a picture or of a frame."""
    max_frames: int = Field(default=7200, ge=1)
    """Frames of a clip."""
    max_seconds: float = Field(default=600.0, gt=0)
    """Length of a clip or a sound."""


class Profile(Settings):
    """A whole system: an LLM with its adapter, an encoder, generators, and how answers are made."""

    name: str
    """What the profile is called."""
    description: str = ""
    """One line on what it is for."""
    device: str = "auto"
    """Where models run: `cpu`, `cuda`, `cuda:1`; `auto` takes a GPU where there is one."""
    llm: LlmSettings
    encoder: EncoderSettings
    generators: GeneratorSettings = GeneratorSettings()
    answer: AnswerDefaults = AnswerDefaults()
    media: MediaSettings = MediaSettings()

    @model_validator(mode="after")
    def _reads_what_it_splices(self) -> Self:
        if self.llm.adapter is None and self.answer.splice != "none":
            raise ValueError('an LLM without an adapter reads no media, so answer.splice must be "none"')
        return self


_PATHS = (
    ("llm", "path"),
    ("llm", "adapter"),
    ("encoder", "path"),
    ("encoder", "tokenizer"),
    ("generators", "root"),
    ("generators", "cache"),
)


def profile_names() -> tuple[str, ...]:
    """Names of the profiles that come with ModaVerse, sorted."""
    return tuple(sorted(path.stem for path in _shipped().glob("*.toml")))


def load_profile(profile: str | Path) -> Profile:
    """The profile of that name, in that TOML file, or in that folder (its `profile.toml`).

    Paths in a file are relative to it. `extends = "mini"` takes everything that the file does not say from
    another profile.

    Raises:
        SettingsError: there is none, or it does not hold together; the message names the field.
    """
    path = _find(profile)
    try:
        return Profile.model_validate(_read(path, seen=()))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "profile"
        raise SettingsError(
            f"{path}: {field}: {first['msg'].removeprefix('Value error, ')}",
            hint="docs/profiles.md explains each field.",
        ) from error


def _shipped() -> Path:
    return Path(str(resources.files("modaverse.profiles")))


def _find(profile: str | Path) -> Path:
    if isinstance(profile, str) and profile in profile_names():
        return _shipped() / f"{profile}.toml"
    path = Path(profile)
    if path.is_dir():
        path = path / "profile.toml"
    if path.is_file() and path.suffix == ".toml":
        return path
    raise SettingsError(
        f"there is no profile {profile}",
        hint=f"Give a TOML file, a folder with profile.toml, or one of: {', '.join(profile_names())}.",
    )


def _read(path: Path, *, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The values of a profile's file, with absolute paths, over those of the one that it extends."""
    path = path.resolve()
    if path in seen:
        raise SettingsError(f"{path} extends itself", hint="Remove `extends` from one of the files.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} is no readable TOML: {error}", hint="Mend the line it names.") from error
    for table, key in _PATHS:
        section = values.get(table)
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = str(path.parent / Path(section[key]).expanduser())
    cards = values.get("generators", {}).get("cards", ())
    if cards:
        values["generators"]["cards"] = [
            str(path.parent / card) if str(card).endswith(".toml") else card for card in cards
        ]
    values.setdefault("name", path.parent.name if path.stem == "profile" else path.stem)
    base = values.pop("extends", None)
    if base is None:
        return values
    below = path.parent / str(base)
    inherited = _read(below if below.exists() and below.is_file() else _find(str(base)), seen=(*seen, path))
    return _merged(inherited, values)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` over `base`, table by table. Of `path` and `repository`, the one that is given counts."""
    merged = dict(base)
    for one, other in (("path", "repository"), ("repository", "path")):
        if one in changes and other not in changes:
            merged.pop(other, None)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged
