"""URIs name renders: the same text, the same bytes; whatever is wrong is named."""

from __future__ import annotations

import random

import numpy as np
import pytest

from modaverse.context import Modality
from modaverse.errors import DataError
from modaverse.toybox.uris import modality_of, resolve, scene_of, unknown_uri, uri_of
from modaverse.toybox.world import (
    ClipScene,
    Scene,
    SoundScene,
    random_clip_scene,
    random_scene,
    random_sound_scene,
)

SHAPES = {Modality.IMAGE: (64, 64, 3), Modality.VIDEO: (9, 64, 64, 3), Modality.AUDIO: (32_000, 1)}
DRAWS = {Modality.IMAGE: random_scene, Modality.VIDEO: random_clip_scene, Modality.AUDIO: random_sound_scene}


@pytest.mark.parametrize("modality", list(Modality))
def test_a_scene_survives_its_uri(modality: Modality) -> None:
    rng = random.Random(0)
    for seed in range(30):
        scene = DRAWS[modality](rng, held_out=None)
        uri = uri_of(scene, seed)
        assert scene_of(uri) == scene
        assert modality_of(uri) is modality


def test_the_spelling_is_fixed() -> None:
    assert (
        uri_of(Scene("cat", "red", "small", "night"), 123)
        == "toybox:image?thing=cat&colour=red&size=small&backdrop=night&seed=123"
    )
    assert (
        uri_of(SoundScene("bell", "low", "slow"), 9) == "toybox:audio?thing=bell&pitch=low&pace=slow&seed=9"
    )
    assert unknown_uri(Modality.VIDEO, "spoilt", 5) == "toybox:video?unknown=spoilt&seed=5"


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("unknown", [None, "foreign", "held_out", "spoilt"])
def test_the_same_uri_gives_the_same_medium(modality: Modality, unknown: str | None) -> None:
    scene = DRAWS[modality](random.Random(1))
    uris = [
        uri_of(scene, seed) if unknown is None else unknown_uri(modality, unknown, seed) for seed in (1, 2)
    ]  # type: ignore[arg-type]
    first, again, other = resolve(uris[0]), resolve(uris[0]), resolve(uris[1])
    assert first.modality is modality
    assert first.array.shape == SHAPES[modality]
    assert np.array_equal(first.array, again.array)
    assert not np.array_equal(first.array, other.array)
    assert (scene_of(uris[0]) is None) == (unknown is not None)


def test_order_does_not_matter_and_quoting_is_read() -> None:
    uri = "toybox:image?seed=1&size=small&thing=c%61t&backdrop=day&colour=red"
    assert scene_of(uri) == Scene("cat", "red", "small", "day")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("file.png", "is no URI of Toybox"),
        ("toybox:text?seed=1", "is no URI of Toybox"),
        ("toybox:image", "does not give thing, colour, size, backdrop, seed"),
        ("toybox:image?thing=cat&seed=1", "does not give thing, colour, size, backdrop, seed"),
        ("toybox:audio?thing=bell&pitch=low&pace=slow&colour=red&seed=1", "does not give thing, pitch, pace"),
        ("toybox:audio?thing=bell&thing=bell&pitch=low&pace=slow&seed=1", "each of them once"),
        ("toybox:audio?thing=giraffe&pitch=low&pace=slow&seed=1", "there is no thing 'giraffe'"),
        ("toybox:audio?thing=bell&pitch=low&pace=slow&seed=-1", "the seed is no number"),
        ("toybox:audio?thing=bell&pitch=low&pace=slow&seed=²", "the seed is no number"),
        ("toybox:audio?unknown=elephant&seed=1", "there is no unknown 'elephant'"),
        ("toybox:audio?unknown=foreign&thing=bell&seed=1", "does not give unknown, seed"),
    ],
)
def test_wrong_uris_are_named(uri: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        resolve(uri)
    assert caught.value.hint


def test_clips_move() -> None:
    clip = resolve(uri_of(ClipScene("car", "red", "large", "day", "left", "fast"), 1)).array
    assert np.abs(clip[0].astype(int) - clip[-1].astype(int)).mean() > 2
