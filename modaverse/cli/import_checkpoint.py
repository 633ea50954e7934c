"""`modaverse import-checkpoint`: the released ModaVerse-7b-v0 as a folder that can be used as a profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modaverse.cli.guard import guarded
from modaverse.cli.merge import dtype_named

RELEASED = "modaverse-7b"


@guarded
def import_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(help="pytorch_model.pt as it was released.")],
    llm: Annotated[
        Path | None, typer.Option(help="Folder of Vicuna-7b-v0; that of the profile modaverse-7b by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result; that of the profile modaverse-7b by default.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16; by default as in the file.")
    ] = None,
) -> None:
    """Convert the released checkpoint once, without running what is pickled in it.

    The result holds safetensors, tokenizer and a model card, and can be used as a profile.
    """
    from modaverse.saving import write_profile
    from modaverse.settings import load_profile

    profile = load_profile(RELEASED)
    settings = profile.llm
    base, folder = (
        Path(llm or settings.place).absolute(),
        Path(out or settings.adapter or RELEASED).absolute(),
    )
    chosen = dtype_named(dtype)

    from modaverse.language.released import import_released

    import_released(checkpoint, base, folder, dtype=chosen)
    own = settings.model_copy(update={"path": base, "adapter": folder})
    write_profile(profile.model_copy(update={"llm": own}), folder)
    print(f"imported: {folder}  (modaverse run --profile {folder} ...)")
