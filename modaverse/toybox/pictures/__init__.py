"""Toybox's pictures and clips."""

from modaverse.toybox.pictures.render import (
    Truth,
    render_clip,
    render_clip_with_truth,
    render_pair,
    render_picture,
    render_picture_with_truth,
)

__all__ = [
    "Truth",
    "render_clip",
    "render_clip_with_truth",
    "render_pair",
    "render_picture",
    "render_picture_with_truth",
]
