"""Where a thing is in a picture, found without a judge and without anything that was trained.

The thing is looked for by the picture that it should be, an exact render. Every place at which it would lie
within the picture is tried, and none is preferred. The best one has the largest sum of

- pattern: the correlation of the picture with the thing and its outline, colours included
- contrast: the distance between the mean colours of the thing and of what is around it, against the spread
  within both (the root of Fisher's criterion)

Measured on 30 renders each (`tests/toybox/evaluation/test_places.py` has smaller ones): the centre is exact
where the picture is the expected one, or has another backdrop or colour; a blur of two pixels moves it by
0.1 pixels on average; of the same scene drawn from other random numbers, so that pose and shade differ too,
it is found within 1.5 pixels on average, and 4.8 at worst.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from modaverse.interfaces import Pixels
from modaverse.toybox.pictures.render import Layers, truth_of

CONTRAST = 0.3  # what contrast counts, against pattern
OUTLINE, AROUND = 1, 4  # pixels that the outline, and what is around it, reach beyond the thing


def find_thing(picture: Pixels, expected: Layers) -> tuple[float, float]:
    """The centre (x, y), in pixels, of what most looks like the thing of `expected`, a render of that size.

    It is the centre of the thing's own cover (`Truth.centre`), moved to where the thing was found.
    """
    truth = truth_of(expected)
    mask = torch.from_numpy(truth.mask)
    body = _grown(mask, OUTLINE)
    ring = _grown(mask, AROUND) & ~body
    rows, columns = (torch.nonzero(body.any(dim=axis)).flatten() for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    reach = AROUND - OUTLINE
    window = (
        slice(top, int(rows[-1]) + 1 + 2 * reach),  # in pictures with `reach` more pixels on each side
        slice(left, int(columns[-1]) + 1 + 2 * reach),
    )

    def cut(values: Tensor) -> Tensor:
        return F.pad(values.double(), (reach,) * 4)[..., *window]

    colours = F.pad(_colours(picture.array), (reach,) * 4)
    inside = F.pad(torch.ones(picture.array.shape[:2], dtype=torch.double), (reach,) * 4)
    values = torch.cat((colours, colours.square(), inside[None]))
    kernels = torch.stack([cut(area) for area in (mask, body, ring)])
    sums = _everywhere(values[:, None], kernels)  # (7, 3, places down, places across)
    thing, whole, around = (_Sums(sums[:, area]) for area in range(3))

    render = cut(_colours(expected.compose()))
    mean = (render * kernels[1]).sum((1, 2), keepdim=True) / kernels[1].sum()
    pattern = (render - mean) * kernels[1]
    likeness = _everywhere(colours, pattern).sum(0)
    likeness /= (pattern.square().sum() * (whole.count * whole.spread).clamp_min(1e-6)).sqrt()
    apart = (thing.mean - around.mean).square().sum(0) / (thing.spread + around.spread + 0.01)

    score = likeness + CONTRAST * apart.sqrt()
    down, across = divmod(int(score.argmax()), score.shape[1])
    return truth.centre[0] + across - left, truth.centre[1] + down - top


def _everywhere(values: Tensor, kernels: Tensor) -> Tensor:
    """Sums of (…, h, w) under (…, kh, kw), laid on at every place: (…, h - kh + 1, w - kw + 1)."""
    size = values.shape[-2:]
    spectrum = torch.fft.rfft2(values) * torch.fft.rfft2(kernels, s=size).conj()
    sums: Tensor = torch.fft.irfft2(spectrum, s=size)
    return sums[..., : size[0] - kernels.shape[-2] + 1, : size[1] - kernels.shape[-1] + 1]


class _Sums:
    """Means (3, h, w) and summed variances (h, w) of the colours in an area, at every place."""

    def __init__(self, sums: Tensor) -> None:
        self.count = sums[6].clamp_min(1e-3)
        self.mean = sums[:3] / self.count
        self.spread = (sums[3:6] / self.count - self.mean.square()).clamp_min(0).sum(0)


def _colours(array: np.ndarray) -> Tensor:
    """(h, w, 3) uint8 → (3, h, w) in [0, 1]."""
    return torch.from_numpy(np.array(array)).permute(2, 0, 1).double() / 255


def _grown(mask: Tensor, pixels: int) -> Tensor:
    return F.max_pool2d(mask[None].float(), 2 * pixels + 1, stride=1, padding=pixels)[0] > 0.5
