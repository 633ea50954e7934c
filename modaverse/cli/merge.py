"""`modaverse merge`: a trained adapter becomes part of its LLM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modaverse.cli.guard import guarded

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")


@guarded
def merge(
    profile: Annotated[str, typer.Option(help="Name of a profile, its TOML file, or a trained folder.")],
    out: Annotated[
        Path, typer.Option(help="New folder for the result, which can then be used as a profile.")
    ],
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; by default as the LLM was saved.")
    ] = None,
) -> None:
    """Fold a profile's adapter into its LLM: the result needs neither the base nor peft."""
    chosen = dtype_named(dtype)

    from modaverse.merging import merge_adapter
    from modaverse.settings import load_profile

    merge_adapter(load_profile(profile), out, dtype=chosen)
    print(f"merged: {out}  (modaverse run --profile {out} ...)")


def dtype_named(name: str | None) -> torch.dtype | None:
    """The type of that name; None for none.

    Raises:
        SettingsError: there is none of that name.
    """
    from modaverse.errors import SettingsError

    if name is None:
        return None
    if name not in DTYPES:
        raise SettingsError(f"{name} is no type of weights", hint=f"Use one of {', '.join(DTYPES)}.")
    import torch

    found: torch.dtype = getattr(torch, name)
    return found
