"""The sounds of Toybox: things that are heard, spoilt ones for the judge, and sounds of another world."""

from modaverse.toybox.sounds.foreign import FOREIGN_HELD_OUT, FOREIGN_TRAIN, foreign_sound
from modaverse.toybox.sounds.render import plan_sound, render_sound
from modaverse.toybox.sounds.spoil import spoil_sound

__all__ = [
    "FOREIGN_HELD_OUT",
    "FOREIGN_TRAIN",
    "foreign_sound",
    "plan_sound",
    "render_sound",
    "spoil_sound",
]
