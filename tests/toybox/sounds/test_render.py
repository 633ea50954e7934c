from __future__ import annotations

import numpy as np
import pytest

from modaverse.interfaces import Waveform
from modaverse.toybox.sounds import plan_sound, render_sound
from modaverse.toybox.world import PACES, PITCHES, THINGS, SoundScene

PER_PAIR = 10


@pytest.fixture(scope="module")
def sounds() -> dict[SoundScene, list[np.ndarray]]:
    """Renders of every scene, made once."""
    rng = np.random.default_rng(11)
    scenes = [SoundScene(thing, pitch, pace) for thing in THINGS for pitch in PITCHES for pace in PACES]
    return {scene: [render_sound(scene, rng).array[:, 0] for _ in range(PER_PAIR)] for scene in scenes}


@pytest.mark.parametrize("thing", THINGS)
def test_the_generator_alone_decides_a_sound(thing: str) -> None:
    scene = SoundScene(thing, "high", "slow")
    first = render_sound(scene, np.random.default_rng(5))
    again = render_sound(scene, np.random.default_rng(5))
    other = render_sound(scene, np.random.default_rng(6))
    assert isinstance(first, Waveform)
    assert np.array_equal(first.array, again.array)
    assert not np.allclose(first.array, other.array, atol=1e-3)


def test_every_sound_is_two_seconds_at_a_comfortable_level(
    sounds: dict[SoundScene, list[np.ndarray]],
) -> None:
    waveform = render_sound(SoundScene("bell", "low", "slow"), np.random.default_rng(0))
    assert (waveform.array.shape, waveform.array.dtype, waveform.sample_rate) == (
        (32_000, 1),
        np.float32,
        16_000,
    )
    for scene, renders in sounds.items():
        for sound in renders:
            assert np.isfinite(sound).all(), scene
            peak = float(np.abs(sound).max())
            assert 0.49 < peak < 0.91, scene
            assert np.mean(np.abs(sound) > 0.999 * peak) < 0.001, f"{scene} is clipped"
            assert abs(float(sound.mean())) < 0.01, f"{scene} has an offset"


def test_energy_lies_where_a_small_model_hears(sounds: dict[SoundScene, list[np.ndarray]]) -> None:
    frequency = np.fft.rfftfreq(32_000, 1 / 16_000)
    inside = (frequency >= 75.0) & (frequency <= 5_500.0)
    for scene, renders in sounds.items():
        power = np.abs(np.fft.rfft(np.stack(renders))) ** 2
        assert power[:, inside].sum() / power.sum() > 0.9, scene


@pytest.mark.parametrize("thing", THINGS)
def test_low_and_high_do_not_overlap(thing: str, sounds: dict[SoundScene, list[np.ndarray]], ear) -> None:
    brightness = {
        pitch: [ear.centroid(s) for pace in PACES for s in sounds[SoundScene(thing, pitch, pace)]]
        for pitch in PITCHES
    }
    assert max(brightness["low"]) < min(brightness["high"])
    ratio = np.median(brightness["high"]) / np.median(brightness["low"])
    assert 1.4 < ratio < 2.6


@pytest.mark.parametrize("thing", THINGS)
def test_slow_and_fast_are_heard(thing: str, sounds: dict[SoundScene, list[np.ndarray]], ear) -> None:
    slow = [ear.event_rate(s) for pitch in PITCHES for s in sounds[SoundScene(thing, pitch, "slow")]]
    fast = [ear.event_rate(s) for pitch in PITCHES for s in sounds[SoundScene(thing, pitch, "fast")]]
    assert np.mean(np.array(slow) < 2.3) >= 0.9, sorted(slow)
    assert np.mean(np.array(fast) > 2.3) >= 0.9, sorted(fast)


def test_the_plan_is_the_truth_of_the_sound(ear) -> None:
    scene = SoundScene("drum", "high", "fast")
    errors = []
    for seed in range(10):
        plan = plan_sound(scene, np.random.default_rng(seed))
        sound = render_sound(scene, np.random.default_rng(seed)).array[:, 0]
        errors.append(abs(ear.event_rate(sound) / plan.rate - 1.0))
        assert len(plan.onsets) == len(plan.levels)
    assert np.median(errors) < 0.05


def test_things_are_told_apart_by_nearest_centroid(ear) -> None:
    rng = np.random.default_rng(23)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        rows, labels = [], []
        for index, thing in enumerate(THINGS):
            for _ in range(count):
                scene = SoundScene(thing, str(rng.choice(PITCHES)), str(rng.choice(PACES)))
                rows.append(ear.features(render_sound(scene, rng).array[:, 0]))
                labels.append(2 * index + PITCHES.index(scene.pitch))
        return np.stack(rows), np.array(labels)

    known, labels = draw(16)
    scale = known.std(axis=0) + 1e-3
    centroids = np.stack([known[labels == label].mean(axis=0) for label in range(2 * len(THINGS))])
    fresh, truth = draw(10)
    distance = (((fresh[:, None] - centroids) / scale) ** 2).sum(axis=2)
    guess = distance.argmin(axis=1)
    assert np.mean(guess // 2 == truth // 2) >= 0.95
