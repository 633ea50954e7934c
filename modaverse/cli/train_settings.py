"""What `modaverse train` does with its settings: from a profile, a file and options to one checked value."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from modaverse.cli.processes import is_first
from modaverse.cli.progress import Bars, asked_to_stop, numbers
from modaverse.errors import SettingsError
from modaverse.settings import load_profile, profile_names
from modaverse.training.settings import TrainSettings

if TYPE_CHECKING:
    from modaverse.language.model import PartSize
    from modaverse.training.progress import Progress
    from modaverse.training.record import TrainingResult

_GIVEN = ("data",)  # settings that have an option of their own
_PATHS = ("data", "encoder", "adapter", "feature_cache", "eval_data")


def leaves(model: type[BaseModel] = TrainSettings, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting under the name of its option: `batch-size`, `lora.r`."""
    for name, field in model.model_fields.items():
        option = prefix + name.replace("_", "-")
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{option}.")
        elif option not in _GIVEN:
            yield option, field


def described() -> list[tuple[str, str]]:
    """Names and descriptions of all settings, for help."""
    return [(f"--{option}", f"{field.description}{_default(field)}") for option, field in leaves()]


def _default(field: FieldInfo) -> str:
    if field.is_required() or field.default in (None, "", ()):
        return ""
    several = isinstance(field.default, tuple)
    return f"  [default: {','.join(field.default) if several else field.default}]"


def settings_for(
    profile: str, data: Sequence[Path], file: Path | None, options: Sequence[str]
) -> TrainSettings:
    """The settings: options before the file (in which paths are relative to it), the file before the profile.

    Raises:
        SettingsError: a setting is unknown or wrong; the message names it.
    """
    known = load_profile(profile)
    values: dict[str, Any] = {"llm": known.llm.place, "encoder": str(known.encoder.path)}
    if known.llm.revision is not None:
        values["revision"] = known.llm.revision
    if file is not None:
        _merge(values, _read(file))
    for name, value in _pairs(options):
        _merge(values, _nested(name, value))
    if data:
        values["data"] = list(data)
    if "data" not in values:
        raise SettingsError(
            "there are no rows to train on", hint="Name a file or folder of them: --data rows.jsonl."
        )
    return TrainSettings.parse(values)


def _read(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} is no readable TOML: {error}", hint="Give a TOML file.") from error
    for name in _PATHS:
        if isinstance(values.get(name), str):
            values[name] = file.parent / values[name]
        elif isinstance(values.get(name), list):
            values[name] = [file.parent / str(path) for path in values[name]]
    if isinstance(values.get("llm"), str) and (file.parent / values["llm"]).is_dir():
        values["llm"] = str(file.parent / values["llm"])
    return values


def _pairs(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`--name value` and `--name=value`, by the names of settings."""
    names = [name for name, _ in leaves()]
    rest = iter(options)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise SettingsError(f"{word} is no option", hint="A training setting is written --NAME VALUE.")
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean --{close[0]}?" if close else "modaverse train --help lists them."
            raise SettingsError(f"there is no training setting {word}", hint=hint)
        if not equals:
            value = next(rest, "")
        if not value or (not equals and value.startswith("--")):
            raise SettingsError(f"--{name} has no value", hint=f"Write --{name} VALUE.")
        yield name, value


def _nested(name: str, value: str) -> dict[str, Any]:
    """`lora.r` and its value as the tables that they stand for; commas separate the values of a list."""
    field = dict(leaves())[name]
    several = "tuple" in str(field.annotation) and value not in ("all-linear",)
    content: Any = value.split(",") if several else value
    for key in reversed(name.replace("-", "_").split(".")):
        content = {key: content}
    return dict(content)


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value


def train_profile(
    profile: str, settings: TrainSettings, out: Path, *, resume: bool, threads: int | None
) -> TrainingResult:
    """Train, show how it goes, and make the result usable as a profile.

    Raises:
        ModaVerseError: what `modaverse.training.run.train` raises.
    """
    import torch

    from modaverse.media import write_bytes
    from modaverse.training.run import train

    if threads is not None:
        torch.set_num_threads(threads)
    first = is_first()
    with asked_to_stop() as stop, Bars() if first else nullcontext() as bars:
        result = train(
            settings,
            out,
            resume=resume,
            begun=(lambda parts: bars.line(trains(parts))) if bars else (lambda parts: None),
            stop=stop,
            report=(lambda progress: show(progress, bars)) if bars else (lambda progress: None),
        )
    if result.finished and first:
        write_bytes(trained_profile(profile, settings, out).encode(), out / "profile.toml")
    return result


def reckoned(profile: str, file: Path | None, options: Sequence[str]) -> str:
    """What `trains` would say of a run with these settings, without any weights.

    Raises:
        SettingsError: a setting is wrong, nothing tells the LLM's sizes, or the run would not begin anew.
    """
    import torch

    from modaverse.footprint import encoder_config, sized_llm
    from modaverse.training.parameters import fresh_parts

    settings = settings_for(profile, (Path(),), file, options)  # no rows are read
    if settings.adapter is not None:
        raise SettingsError(
            f"{settings.adapter} is trained already, with as many parameters as its card says",
            hint="Leave `adapter` out to reckon a fresh one.",
        )
    known = load_profile(profile)
    if settings.llm != known.llm.place:
        place = "path" if Path(settings.llm).is_dir() else "repository"
        named: dict[str, object] = {"path": None, "repository": None, "sizes": {}, place: settings.llm}
        known = known.model_copy(update={"llm": known.llm.model_copy(update=named)})
    encoder = known.encoder.model_copy(update={"path": settings.encoder})
    with torch.device("meta"):
        llm = sized_llm(known)
    dim = encoder_config(known.model_copy(update={"encoder": encoder})).out_embed_dim
    return trains(fresh_parts(llm, settings, dim))


def trains(parts: Sequence[PartSize]) -> str:
    """One line on what trains, and how much that is next to the LLM."""
    base = next(part.parameters for part in parts if part.part == "base")
    trained = {part.part: part.trainable for part in parts if part.trainable}
    count = sum(trained.values())
    named = ", ".join(f"{part} {size:,}" for part, size in trained.items())
    return f"trains {count:,} parameters, {count / base:.2%} of the LLM's {base:,}: {named}"


def show(progress: Progress, bars: Bars) -> None:
    if progress.evaluation is not None:
        bars.line(f"{progress.stage} {progress.done:,}: evaluation  {numbers(progress.evaluation)}")
        return  # how far the run is, its other reports say
    notes = {"loss": progress.loss, "rows/s": progress.rows_per_second}
    note = numbers({name: value for name, value in notes.items() if value is not None})
    bars.advance(progress.stage, progress.done, progress.total, note)


def trained_profile(profile: str, settings: TrainSettings, out: Path) -> str:
    """The text of a profile.toml that is `profile` with the adapter in this folder.

    The LLM and the encoder stand in it only where the training used others than the profile's.
    """
    known = load_profile(profile)
    base = profile if profile in profile_names() else os.path.relpath(_file_of(profile), out)
    lines = [f"extends = {_quoted(base)}", f"description = {_quoted(f'{known.name}, trained further')}", ""]
    lines += ["[llm]", 'adapter = "."']
    if settings.llm != known.llm.place:
        local = Path(settings.llm).exists()
        key, place = ("path", os.path.relpath(settings.llm, out)) if local else ("repository", settings.llm)
        lines.append(f"{key} = {_quoted(place)}")
        lines += [f"revision = {_quoted(settings.revision)}"] if settings.revision and not local else []
    if known.llm.adapter is None:  # what was trained writes calls as training has them, and reads media
        lines += ["", "[answer]", 'grammar = "meta_response"', 'splice = "wait"']
    if settings.encoder.resolve() != known.encoder.path.resolve():
        lines += ["", "[encoder]", f"path = {_quoted(os.path.relpath(settings.encoder, out))}"]
    return "\n".join(lines) + "\n"


def _file_of(profile: str) -> Path:
    path = Path(profile)
    return path / "profile.toml" if path.is_dir() else path


def _quoted(text: str) -> str:
    """A TOML basic string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
