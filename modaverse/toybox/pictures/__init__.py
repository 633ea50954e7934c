"""Toybox's pictures and clips: rendered, spoilt, and from outside of it."""

from modaverse.toybox.pictures.clips import render_clip, render_clip_pair, render_clip_with_truth
from modaverse.toybox.pictures.foreign import FOREIGN, FOREIGN_HELD_OUT, FOREIGN_TRAIN, foreign_picture
from modaverse.toybox.pictures.render import (
    Truth,
    render_pair,
    render_picture,
    render_picture_with_truth,
)
from modaverse.toybox.pictures.spoil import SPOILT, spoil_clip, spoil_picture

__all__ = [
    "FOREIGN",
    "FOREIGN_HELD_OUT",
    "FOREIGN_TRAIN",
    "SPOILT",
    "Truth",
    "foreign_picture",
    "render_clip",
    "render_clip_pair",
    "render_clip_with_truth",
    "render_pair",
    "render_picture",
    "render_picture_with_truth",
    "spoil_clip",
    "spoil_picture",
]
