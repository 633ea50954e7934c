"""Sounds of Toybox: one `SoundScene` and one random generator make one waveform, never twice the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from modaverse.interfaces import Waveform
from modaverse.toybox.sounds import animals, objects, vehicles
from modaverse.toybox.sounds.plan import Plan, draw_plan
from modaverse.toybox.sounds.synth import SAMPLE_RATE, Array, in_a_room
from modaverse.toybox.world import SoundScene


@dataclass(frozen=True, slots=True)
class Voice:
    """How a thing sounds: what makes it from a plan, and the centres of its two pitches in Hz."""

    make: Callable[[Plan], Array]
    low: float
    high: float


VOICES: Mapping[str, Voice] = {
    "cat": Voice(animals.cat, 390.0, 800.0),
    "dog": Voice(animals.dog, 170.0, 370.0),
    "bird": Voice(animals.bird, 1650.0, 3300.0),
    "frog": Voice(animals.frog, 420.0, 900.0),
    "car": Voice(vehicles.car, 310.0, 640.0),
    "train": Voice(vehicles.train, 420.0, 880.0),
    "boat": Voice(vehicles.boat, 115.0, 240.0),
    "rocket": Voice(vehicles.rocket, 240.0, 520.0),
    "bell": Voice(objects.bell, 430.0, 900.0),
    "drum": Voice(objects.drum, 95.0, 205.0),
    "clock": Voice(objects.clock, 900.0, 1900.0),
    "phone": Voice(objects.phone, 620.0, 1280.0),
}


def plan_sound(scene: SoundScene, rng: np.random.Generator) -> Plan:
    """The truth of the sound that `render_sound` would make from here: pitch in Hz, rate, onsets."""
    known = VOICES[scene.thing]
    high = scene.pitch == "high"
    return draw_plan(rng, known.high if high else known.low, high=high, fast=scene.pace == "fast")


def render_sound(scene: SoundScene, rng: np.random.Generator) -> Waveform:
    """What `scene` sounds like: (32000, 1) float32 at 16 kHz, two seconds, peak between 0.5 and 0.9.

    What the scene does not say (exact pitch and tempo, timbre, timing, levels, room, noise) comes from `rng`
    alone: the same state of it gives the same samples.
    """
    plan = plan_sound(scene, rng)
    dry = VOICES[scene.thing].make(plan)
    return Waveform(in_a_room(rng, dry)[:, None], SAMPLE_RATE)
