from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from modaverse.context import Modality
from modaverse.errors import CheckpointError, ModelNotFound
from modaverse.interfaces import Frames, Pixels, Waveform
from modaverse.toybox.judge import NONE, QUESTIONS, Judge, network_input, new_net
from modaverse.toybox.pictures import render_picture, spoil_picture
from modaverse.toybox.world import Scene

SHIPPED = Path(str(resources.files("modaverse.profiles"))) / "mini" / "judge"


def random_judge() -> Judge:
    torch.manual_seed(0)
    return Judge({modality: new_net(modality) for modality in QUESTIONS})


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_saved_judge_gives_the_same_verdicts(tmp_path: Path) -> None:
    judge = random_judge()
    for modality in QUESTIONS:
        judge.save_net(tmp_path, modality)
    media = [
        Pixels(noise((64, 64, 3))),
        Waveform(np.sin(np.arange(32_000, dtype=np.float32))[:, None], 16_000),
        Frames(noise((9, 64, 64, 3)), 8.0),
        Pixels(noise((64, 64, 3), seed=1)),
    ]
    verdicts = judge(media)
    assert Judge.from_pretrained(tmp_path)(media) == verdicts
    assert verdicts[0].direction is None
    assert verdicts[1].colour is None
    assert verdicts[1].pitch in ("low", "high")
    assert verdicts[2].direction in ("left", "right", "up", "down")


def test_features_are_of_one_kind() -> None:
    pictures = [Pixels(noise((64, 64, 3), seed)) for seed in range(70)]
    assert random_judge().features(pictures).shape == (70, 192)
    with pytest.raises(ValueError, match="too many values"):
        random_judge().features([pictures[0], Frames(noise((9, 64, 64, 3)), 8.0)])


def test_input_shapes() -> None:
    assert network_input([Pixels(noise((128, 128, 3)))]).shape == (1, 3, 64, 64)
    assert network_input([Frames(noise((17, 64, 64, 3)), 8.0)]).shape == (1, 15, 64, 64)
    tone = np.sin(np.arange(48_000, dtype=np.float32) * 0.05)
    short = Waveform(tone[:8_000, None], 16_000)
    stereo = Waveform(np.stack([tone, tone], 1), 48_000)
    assert network_input([short, stereo]).shape == (2, 1, 64, 201)


def test_resampled_sound_is_heard_alike() -> None:
    def tone(rate: int) -> Waveform:
        return Waveform(
            np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate).astype(np.float32)[:, None], rate
        )

    a, b = network_input([tone(16_000), tone(44_100)])
    assert (a - b).abs().mean() < 0.05
    assert (a - network_input([tone(16_000)])[0].flip(1)).abs().mean() > 0.2


def test_missing_and_damaged_judge(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"image\.safetensors") as caught:
        Judge.from_pretrained(tmp_path)
    assert "toybox train judge" in caught.value.hint
    (tmp_path / "image.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"image\.safetensors"):
        Judge.from_pretrained(tmp_path)


@pytest.mark.skipif(not (SHIPPED / "image.safetensors").exists(), reason="the judge is not trained yet")
def test_shipped_judge_knows_pictures() -> None:
    judge = Judge({Modality.IMAGE: _shipped(Modality.IMAGE)})
    scenes = [
        Scene("cat", "red", "large", "day"),
        Scene("boat", "white", "small", "beach"),
        Scene("clock", "green", "large", "night"),
        Scene("frog", "purple", "small", "snow"),
    ]
    verdicts = judge([render_picture(scene, seed) for seed, scene in enumerate(scenes)])
    assert [(v.thing, v.colour, v.size, v.backdrop) for v in verdicts] == [
        (s.thing, s.colour, s.size, s.backdrop) for s in scenes
    ]
    spoilt = [spoil_picture(scene, 5, kind=kind) for scene in scenes for kind in ("blank", "noise", "blur")]
    assert {verdict.thing for verdict in judge(spoilt)} == {NONE}


def _shipped(modality: Modality) -> torch.nn.Module:
    from safetensors.torch import load_file

    net = new_net(modality)
    net.load_state_dict({k: v.float() for k, v in load_file(SHIPPED / f"{modality}.safetensors").items()})
    return net
