"""Pictures come out as a person sees them: upright, on white, with the whole range of grey."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from modaverse.media import decode_image


def test_exif_orientation_turns_a_picture_upright(make, put) -> None:
    image = Image.fromarray(make.picture())
    exif = Image.Exif()
    exif[274] = 6  # the camera was held so that row 0 is on the right
    pixels = decode_image(put(make.pillow("PNG", image, exif=exif))).array
    assert np.array_equal(pixels, np.rot90(make.picture(), -1))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_laid_on_white(make, put, kind: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((200, 0, 0, 128), (0, 0, 4, 8))
    pixels = decode_image(
        put(make.pillow(kind, image, **({"lossless": True} if kind == "WEBP" else {})))
    ).array
    assert (pixels[:, 4:] == 255).all()
    assert np.abs(pixels[:, :4].astype(int) - (227, 127, 127)).max() <= 1


def test_transparent_palette_colour_is_white(make, put) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 1)
    pixels = decode_image(put(make.pillow("GIF", image, transparency=0))).array
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[2, 2].tolist() == [255, 255, 255]


def test_sixteen_bit_grey_is_scaled_and_not_clipped(put) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    pixels = decode_image(put(buffer.getvalue())).array
    assert np.array_equal(pixels[:, :, 0], (ramp >> 8).astype(np.uint8))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_becomes_rgb(make, put, mode: str) -> None:
    image = Image.fromarray(make.picture()).convert(mode)
    pixels = decode_image(put(make.pillow("PNG", image))).array
    assert pixels.shape == (32, 48, 3)
    assert pixels[26, 40].min() > 200  # white stays white


def test_cmyk_photographs_become_rgb(make, put) -> None:
    image = Image.fromarray(make.picture()).convert("CMYK")
    pixels = decode_image(put(make.pillow("JPEG", image, quality=95))).array
    assert np.abs(pixels[6, 8].astype(int) - (220, 20, 20)).max() < 40


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_counts(make, put, kind: str) -> None:
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    options = {"save_all": True, "append_images": [second], "duration": 100}
    pixels = decode_image(put(make.pillow(kind, first, **options))).array
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 8


def test_odd_metadata_is_passed_over_in_silence(make, put) -> None:
    data = make.pillow(
        "JPEG", Image.fromarray(make.picture()), exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff"
    )
    assert decode_image(put(data)).array.shape == (32, 48, 3)
