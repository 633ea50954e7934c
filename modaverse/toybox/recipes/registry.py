"""Which parts of `mini` can be trained, in the order in which they need each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from modaverse.errors import SettingsError

if TYPE_CHECKING:
    from modaverse.toybox.recipes.trainer import Recipe

PoolReport = Callable[[int, int], None]

PARTS: Mapping[str, str] = {
    "judge": "modaverse.toybox.recipes.judge:judge_recipes",
    "encoder": "modaverse.toybox.recipes.encoder:encoder_recipes",
    "image-autoencoder": "modaverse.toybox.recipes.image:autoencoder_recipes",
    "image-text": "modaverse.toybox.recipes.image:text_encoder_recipes",
    "image": "modaverse.toybox.recipes.image:transformer_recipes",
    "image-edit": "modaverse.toybox.recipes.image_edit:edit_recipes",
    "video-autoencoder": "modaverse.toybox.recipes.video:autoencoder_recipes",
    "video-text": "modaverse.toybox.recipes.video:text_encoder_recipes",
    "video": "modaverse.toybox.recipes.video:transformer_recipes",
    "audio-autoencoder": "modaverse.toybox.recipes.audio:autoencoder_recipes",
    "audio-text": "modaverse.toybox.recipes.audio:text_encoder_recipes",
    "audio": "modaverse.toybox.recipes.audio:transformer_recipes",
    "llm": "modaverse.toybox.recipes.llm:llm_recipes",
}


def recipes(part: str, runs: Path, report: PoolReport = lambda done, count: None) -> Sequence[Recipe]:
    """The recipes of a part, with their pools of renders made (which `report` follows).

    Raises:
        SettingsError: there is no such part.
    """
    if part not in PARTS:
        known = ", ".join((*PARTS, "adapter"))  # which `modaverse.toybox.recipes.adapter` trains
        raise SettingsError(f"there is no part {part!r} to train", hint=f"the parts are {known}")
    module, _, function = PARTS[part].partition(":")
    made: Sequence[Recipe] = getattr(import_module(module), function)(runs, report)
    return made
