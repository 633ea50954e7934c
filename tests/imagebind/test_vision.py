from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from modaverse.errors import MediaError
from modaverse.imagebind import ImageBindConfig, image_tensor, load_image, load_video, video_tensor
from modaverse.imagebind.vision import MEAN, STD, clip_frames
from modaverse.interfaces import Frames, Pixels

PICTURES = ("landscape.png", "portrait.jpg", "gray.png", "alpha.webp", "small.png")
SIDE64 = ImageBindConfig(image_size=64, vision_patch=8, video_clips=4, video_clip_seconds=0.5, video_crops=1)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def to_levels(normalised: Tensor) -> Tensor:
    """(3, …) back to 0–255."""
    shape = (3,) + (1,) * (normalised.ndim - 1)
    return (normalised * torch.tensor(STD).view(shape) + torch.tensor(MEAN).view(shape)) * 255


# ------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_the_published_ones(name: str, media: Path, preprocessing: dict[str, Tensor]) -> None:
    got, expected = load_image(media / name), preprocessing[f"image.{name}"].float()
    assert got.shape == (3, 224, 224)
    allowed = 2 / 255 / torch.tensor(STD).view(3, 1, 1) + 1e-3  # the references are in half precision
    assert ((got - expected).abs() > allowed).float().mean() <= 1e-3


def test_a_picture_of_the_right_size_is_taken_as_it_is() -> None:
    array = noise(64, 64, 3)
    got = to_levels(image_tensor(Pixels(array), SIDE64))
    torch.testing.assert_close(got, torch.from_numpy(array).permute(2, 0, 1).float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", [(3, 4000, 3), (4000, 3, 3), (1, 1, 3), (1, 20_000, 3)])
def test_threads_and_dots_are_pictures_too(shape: tuple[int, int, int]) -> None:
    got = image_tensor(Pixels(np.full(shape, 200, np.uint8)), SIDE64)
    torch.testing.assert_close(to_levels(got), torch.full((3, 64, 64), 200.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5, 3)),
    ],
)
def test_what_is_no_picture_is_refused(array: np.ndarray) -> None:
    with pytest.raises(MediaError):
        image_tensor(Pixels(array))


# --------------------------------------------------------------------------------------------- video


def test_views_are_the_published_ones(media: Path, preprocessing: dict[str, Tensor]) -> None:
    views = load_video(media / "clip_25fps.mp4")
    assert views.shape == (15, 3, 2, 224, 224)
    expected = preprocessing["video.clip_25fps.mp4"].float()
    assert (views[:3] - expected).abs().mean(dim=(1, 2, 3, 4)).max() <= 2e-2
    # Means over whole views are the finer for it: a frame too early or late would show.
    means = preprocessing["video_view_mean.clip_25fps.mp4"]
    assert (views.mean(dim=(2, 3, 4)) - means).abs().max() <= 2e-3


@pytest.mark.parametrize("shape", [(64, 64), (90, 160), (161, 90), (30, 50), (64, 200)])
@pytest.mark.parametrize("crops", [1, 2, 3])
def test_crops_are_those_of_the_scaled_frame(shape: tuple[int, int], crops: int) -> None:
    frames = noise(1, *shape, 3)
    config = replace(SIDE64, video_clips=1, video_frames=1, video_crops=crops)
    short = min(shape)
    height, width = (64 * length // short for length in shape)
    whole = torch.nn.functional.interpolate(
        torch.from_numpy(frames).permute(0, 3, 1, 2).float(), size=(height, width), mode="bilinear"
    )[0]
    room = max(height, width) - 64
    for view, share in zip(
        video_tensor(Frames(frames, 8.0), config), {1: (0.5,), 2: (0, 1), 3: (0, 0.5, 1)}[crops], strict=True
    ):
        offset = int(np.ceil(room * share))
        expected = whole[:, offset : offset + 64] if height > width else whole[:, :, offset : offset + 64]
        torch.testing.assert_close(to_levels(view[:, 0]), expected, atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("count", "fps", "settings", "expected"),
    [
        (50, 25.0, {"video_clips": 2, "video_clip_seconds": 2.0}, [[0, 49], [0, 49]]),
        (100, 25.0, {"video_clips": 2, "video_clip_seconds": 2.0}, [[0, 49], [25, 74]]),
        (9, 8.0, {}, [[0, 3], [2, 5], [3, 6], [4, 7]]),
        (9, 8.0, {"video_clips": 1, "video_clip_seconds": 1.125, "video_frames": 3}, [[0, 4, 8]]),
        (1, 30.0, {"video_clips": 2}, [[0, 0], [0, 0]]),
        (3, 0.1, {"video_clips": 2, "video_clip_seconds": 0.01}, [[0, 0], [2, 2]]),
    ],
)
def test_clips_show_the_right_frames(
    count: int, fps: float, settings: dict[str, float], expected: list[list[int]]
) -> None:
    assert clip_frames(count, fps, replace(SIDE64, **settings)) == expected  # type: ignore[arg-type]


def test_views_hold_the_frames_of_their_clip() -> None:
    frames = np.repeat(np.arange(9, dtype=np.uint8)[:, None] * 20, 64 * 64 * 3, axis=1).reshape(9, 64, 64, 3)
    views = video_tensor(Frames(frames, 8.0), SIDE64)
    assert views.shape == (4, 3, 2, 64, 64)
    shown = torch.stack([to_levels(view)[0, :, 0, 0] for view in views]).round() / 20
    assert shown.tolist() == clip_frames(9, 8.0, SIDE64)


@pytest.mark.parametrize(("shape", "fps"), [((0, 4, 4, 3), 8.0), ((2, 4, 4), 8.0), ((2, 4, 4, 3), 0.0)])
def test_what_is_no_video_is_refused(shape: tuple[int, ...], fps: float) -> None:
    with pytest.raises(MediaError):
        video_tensor(Frames(np.zeros(shape, np.uint8), fps), SIDE64)
