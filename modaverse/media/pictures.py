"""Decoding pictures, by Pillow."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from modaverse.context import Modality
from modaverse.interfaces import Pixels
from modaverse.media.containers import Container
from modaverse.media.files import MediaLimits, OpenFile, faults, open_file
from modaverse.media.kinds import require
from modaverse.media.streams import check_pixels, too_large

_DEFAULT = MediaLimits()

_PLUGINS: dict[Container, Callable[..., ImageFile.ImageFile]] = {
    # The plugins by name: Image.open would try others too, and warns about large pictures before it can
    # be asked how large they are.
    Container.PNG: PngImagePlugin.PngImageFile,
    Container.JPEG: JpegImagePlugin.JpegImageFile,
    Container.WEBP: WebPImagePlugin.WebPImageFile,
    Container.GIF: GifImagePlugin.GifImageFile,
    Container.BMP: BmpImagePlugin.BmpImageFile,
}
_quiet = threading.Lock()  # warnings.catch_warnings changes state that threads share


def decode_image(path: Path | str, limits: MediaLimits = _DEFAULT) -> Pixels:
    """A picture as RGB, turned upright by its EXIF orientation, transparency laid on white.

    Returns:
        Pixels, (height, width, 3) uint8. Of an animated picture, the first frame.

    Raises:
        MediaError: the file is no picture, is damaged, or has more than `limits.max_pixels`.
    """
    with open_file(path, limits) as opened:
        require(opened, Modality.IMAGE, limits)
        with open_picture(opened, limits) as image, faults(opened):
            return Pixels(rgb_array(image))


@contextlib.contextmanager
def open_picture(opened: OpenFile, limits: MediaLimits) -> Iterator[ImageFile.ImageFile]:
    """The picture with its header read, and Pillow kept from warning of what does not matter here."""
    opened.file.seek(0)
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with faults(opened, Image.DecompressionBombError):
                image = _PLUGINS[opened.container](opened.file)
        except Image.DecompressionBombError:  # WebP's plugin asks for itself, at about 179 million pixels
            raise too_large(opened, "it has", limits) from None
        check_pixels(opened, image.width, image.height, limits)
        yield image


def rgb_array(image: Image.Image) -> np.ndarray:
    """Any PIL picture as (height, width, 3) uint8: upright, 8 bits a channel, transparency on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel: PIL's own conversion clips instead of scaling
        grey = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        return np.array(canvas)
    return np.array(image.convert("RGB"))
