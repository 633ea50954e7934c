"""The adapter folded into the LLM for good: one folder that needs neither the base nor peft.

OUT/  llm/                    the LLM with the adapter in its weights, and its tokenizer
      projectors.safetensors  as they were trained
      config.json, tokenizer  as any trained adapter has them
      profile.toml            makes the folder a profile
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modaverse.errors import SettingsError, StorageError
from modaverse.saving import write_profile
from modaverse.settings import Profile

if TYPE_CHECKING:
    import torch

SHARD = "2GB"
"""Of the files that the weights are written to, one is in memory at a time."""


def merge_adapter(profile: Profile, out: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write the LLM of `profile` with its adapter in its weights to the folder `out`, as a profile.

    Args:
        dtype: of the weights; as the base was saved where none is given.

    Raises:
        SettingsError: the profile has no adapter, or `out` is not empty.
        ModelNotFound, CheckpointError: base or adapter cannot be loaded.
        StorageError: `out` cannot be written.
    """
    from modaverse.language.model import MultimodalLM
    from modaverse.language.storage import base_config, quiet

    settings = profile.llm
    if settings.adapter is None:
        raise SettingsError(
            f"{profile.name} has no adapter that could be merged", hint="Name a profile that was trained."
        )
    out = out.resolve()
    if out.is_dir() and any(out.iterdir()):
        raise SettingsError(f"{out} is not empty", hint="Merge into a new folder.")
    if out.exists() and not out.is_dir():
        raise SettingsError(f"{out} is a file", hint="Merge into a new folder.")
    saved_in: torch.dtype = base_config(settings.place, revision=settings.revision).dtype
    lm = MultimodalLM.from_pretrained(
        settings.place,
        settings.adapter,
        revision=settings.revision,
        dtype=dtype or saved_in,
        merge=True,
        device_map=settings.device_map,
    )
    lm.config = lm.config.model_copy(update={"base": "", "revision": None, "merged": True})
    try:
        with quiet():
            lm.core.save_pretrained(str(out / "llm"), max_shard_size=SHARD)
            lm.tokenizer.save_pretrained(str(out / "llm"))
    except OSError as error:
        raise StorageError(
            f"{out} cannot be written: {error.strerror or error}",
            hint="Free some space or choose another folder.",
        ) from error
    lm.save_pretrained(out)
    merged = settings.model_copy(
        update={"path": out / "llm", "repository": None, "revision": None, "adapter": out}
    )
    write_profile(profile.model_copy(update={"llm": merged, "name": out.name}), out)
