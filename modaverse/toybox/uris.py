"""URIs of Toybox's media, so that a row of data names a render instead of carrying it.

    toybox:image?thing=cat&colour=red&size=small&backdrop=night&seed=123
    toybox:video?thing=car&colour=blue&size=large&backdrop=day&direction=left&speed=fast&seed=4
    toybox:audio?thing=bell&pitch=low&pace=slow&seed=9
    toybox:image?unknown=foreign&seed=5         something that Toybox does not have
    toybox:audio?unknown=held_out&seed=5        the same, of the kinds that no training sees
    toybox:video?unknown=spoilt&seed=5          a render that was spoilt until nothing is left to recognise

A URI fixes its medium: the same text gives the same bytes.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote_plus

import numpy as np

from modaverse.context import Modality
from modaverse.errors import DataError
from modaverse.interfaces import Decoded, Frames, Pixels, Waveform
from modaverse.toybox.wordings.wishes import ATTRIBUTES_OF, SCENE_OF, VALUES, AnyScene
from modaverse.toybox.world import (
    THINGS,
    ClipScene,
    Scene,
    SoundScene,
    random_clip_scene,
    random_scene,
    random_sound_scene,
)

SCHEME = "toybox:"
Unknown = Literal["foreign", "held_out", "spoilt"]
_HINT = "Write toybox:image?thing=cat&colour=red&size=small&backdrop=night&seed=1 (or video, audio)."


def uri_of(scene: AnyScene, seed: int) -> str:
    """The URI of one render of `scene`."""
    modality = next(modality for modality, kind in SCENE_OF.items() if type(scene) is kind)
    fields = {name: getattr(scene, name) for name in ("thing", *ATTRIBUTES_OF[modality])}
    return _write(modality, {**fields, "seed": seed})


def unknown_uri(modality: Modality, kind: Unknown, seed: int) -> str:
    """The URI of something that mini does not know."""
    return _write(modality, {"unknown": kind, "seed": seed})


def _write(modality: Modality, fields: Mapping[str, object]) -> str:
    # Every value is a plain word or number, so nothing needs quoting.
    return f"{SCHEME}{modality.value}?{'&'.join(f'{name}={value}' for name, value in fields.items())}"


def modality_of(uri: str) -> Modality:
    """What kind of medium `uri` names.

    Raises:
        DataError: it is no URI of Toybox.
    """
    return _parse(uri)[0]


def scene_of(uri: str) -> AnyScene | None:
    """The scene that `uri` names, or None for what mini does not know.

    Raises:
        DataError: it is no URI of Toybox, or names what does not exist.
    """
    modality, fields = _parse(uri)
    if "unknown" in fields:
        return None
    names = ("thing", *ATTRIBUTES_OF[modality])
    scene: AnyScene = SCENE_OF[modality](*(fields[name] for name in names))
    return scene


def resolve(uri: str) -> Decoded:
    """The medium that `uri` names, rendered.

    Raises:
        DataError: it is no URI of Toybox, or names what does not exist.
    """
    modality, fields = _parse(uri)
    rng = np.random.default_rng(int(fields["seed"]))
    scene = scene_of(uri)
    if scene is not None:
        return _render(scene, rng)
    if fields["unknown"] == "spoilt":
        return _spoil(modality, int(fields["seed"]), rng)
    return _foreign(modality, rng, held_out=fields["unknown"] == "held_out")


@cache
def version() -> str:
    """16 hexadecimal digits over the code that renders: another version may draw the same URI otherwise."""
    root = Path(__file__).parent
    files = [root / "uris.py", root / "world.py", *root.glob("pictures/*.py"), *root.glob("sounds/*.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _parse(uri: str) -> tuple[Modality, dict[str, str]]:
    head, _, query = uri.partition("?")
    kind = head.removeprefix(SCHEME)
    if not uri.startswith(SCHEME) or kind not in list(Modality):
        raise DataError(f"{uri!r} is no URI of Toybox", hint=_HINT)
    modality = Modality(kind)
    pairs = [pair.partition("=")[::2] for pair in unquote_plus(query).split("&")]
    fields = dict(pairs)
    unknown = "unknown" in fields
    allowed: dict[str, Sequence[str]] = {"thing": THINGS} | {n: VALUES[n] for n in ATTRIBUTES_OF[modality]}
    if unknown:
        allowed = {"unknown": get_args(Unknown)}
    if fields.keys() != {*allowed, "seed"} or len(pairs) != len(fields):
        raise DataError(
            f"{uri!r} does not give {', '.join((*allowed, 'seed'))}, each of them once and nothing else",
            hint=_HINT,
        )
    for name, values in allowed.items():
        if fields[name] not in values:
            raise DataError(
                f"{uri!r}: there is no {name} {fields[name]!r}", hint=f"There are {', '.join(values)}."
            )
    if not (fields["seed"].isascii() and fields["seed"].isdigit()):
        raise DataError(f"{uri!r}: the seed is no number", hint="Seeds are whole numbers from 0.")
    return modality, fields


def _render(scene: AnyScene, rng: np.random.Generator) -> Decoded:
    from modaverse.toybox.pictures import render_clip, render_picture
    from modaverse.toybox.sounds import render_sound

    match scene:
        case Scene():
            return render_picture(scene, rng)
        case ClipScene():
            return render_clip(scene, rng)
        case SoundScene():
            return render_sound(scene, rng)


def _spoil(modality: Modality, seed: int, rng: np.random.Generator) -> Decoded:
    from modaverse.toybox.pictures import spoil_clip, spoil_picture
    from modaverse.toybox.sounds import spoil_sound

    draw = random.Random(seed)
    match modality:
        case Modality.IMAGE:
            return spoil_picture(random_scene(draw), rng)
        case Modality.VIDEO:
            return spoil_clip(random_clip_scene(draw), rng)
        case Modality.AUDIO:
            return spoil_sound(random_sound_scene(draw), rng)


def _foreign(modality: Modality, rng: np.random.Generator, *, held_out: bool) -> Pixels | Frames | Waveform:
    from modaverse.toybox import pictures, sounds

    if modality is Modality.AUDIO:
        kinds = sounds.FOREIGN_HELD_OUT if held_out else sounds.FOREIGN_TRAIN
        return sounds.foreign_sound(rng, kinds=kinds)
    picture = pictures.foreign_picture(
        rng, kinds=pictures.FOREIGN_HELD_OUT if held_out else pictures.FOREIGN_TRAIN
    )
    if modality is Modality.IMAGE:
        return picture
    # A clip of it: the picture drifts, the way things of Toybox move.
    step = rng.integers(-4, 5, size=2)
    frames = [np.roll(picture.array, tuple(step * frame), axis=(0, 1)) for frame in range(9)]
    return Frames(np.stack(frames), 8.0)
