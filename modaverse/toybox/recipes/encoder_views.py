"""Views of a render that hide an attribute, so that a net cannot guess one attribute from another.

Some combinations are held out of training: seven of eight colours of a thing are seen, and for some things a
high sound is always a slow one. A net that is right on all it has seen may have learnt "white, so a dog". A
view takes away what it could guess from, and asks only for what is left:

    pictures, clips   grey, or in other colours    no colour, no backdrop
    sounds            moved up or down in pitch    no pitch
    sounds            stretched or compressed      no pace

No view makes a held-out combination and says so: what was altered is never a target, and a picture in other
colours has a backdrop that no render has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modaverse.context import Modality

GREY_SHARE, RECOLOURED_SHARE = 0.12, 0.2
MOVED_SHARE = STRETCHED_SHARE = 0.12
_MOST_BINS = 24  # of 128 mel bins
_STRETCH = 1.6
_BLEACHED = 0.4  # of those in other colours


@dataclass(frozen=True, slots=True)
class Views:
    """How each medium of a batch is shown; all (b,) bool."""

    grey: Tensor
    recoloured: Tensor
    moved: Tensor
    stretched: Tensor

    @property
    def altered(self) -> Tensor:
        """(b,) bool: those of which a caption would tell what they do not show."""
        return self.grey | self.recoloured | self.moved | self.stretched

    @property
    def hidden(self) -> Mapping[str, Tensor]:
        """For each question that some do not answer, which."""
        colours = self.grey | self.recoloured
        return {"colour": colours, "backdrop": colours, "pitch": self.moved, "pace": self.stretched}


def draw_views(modality: Modality, count: int) -> Views:
    """Views for `count` media, from torch's random numbers."""
    roll = torch.rand(count)
    never = torch.zeros(count, dtype=torch.bool)
    if modality is not Modality.AUDIO:
        grey = roll < GREY_SHARE
        return Views(grey, (roll < GREY_SHARE + RECOLOURED_SHARE) & ~grey, never, never)
    moved = roll < MOVED_SHARE
    return Views(never, never, moved, (roll < MOVED_SHARE + STRETCHED_SHARE) & ~moved)


def show_pixels(renders: Tensor, views: Views) -> Tensor:
    """Renders (b, …, 3) uint8; the grey ones as the mean of their channels, others in other colours."""
    out = renders.clone()
    for row in views.grey.nonzero().flatten().tolist():
        out[row] = renders[row].float().mean(-1, keepdim=True).round().to(renders.dtype)
    for row in views.recoloured.nonzero().flatten().tolist():
        out[row] = _recoloured(renders[row])
    return out


def _recoloured(render: Tensor) -> Tensor:
    """Channels exchanged, made stronger or weaker each by itself, paler or more vivid, and often bleached."""
    swapped = render.float()[..., torch.randperm(3)] * (0.6 + torch.rand(3))
    grey = swapped.mean(-1, keepdim=True)
    shown = torch.lerp(grey, swapped, 1.3 * torch.rand(())).clamp(0, 255)
    if torch.rand(()) < _BLEACHED:
        shown = torch.lerp(torch.full_like(shown, 255.0), shown, 0.2 + 0.8 * float(torch.rand(())))
    return shown.round().to(render.dtype)


def show_spectra(spectra: Tensor, views: Views) -> Tensor:
    """Mel spectra (b, 1, 1, bins, frames), moved along the bins or stretched along the frames."""
    out = spectra.clone()
    for row in views.moved.nonzero().flatten().tolist():
        out[row] = _moved(spectra[row])
    for row in views.stretched.nonzero().flatten().tolist():
        out[row] = _stretched(spectra[row])
    return out


def _moved(spectrum: Tensor) -> Tensor:
    """Moved by 4 to 24 bins, up or down; what comes in is silence."""
    bins = int(torch.randint(4, _MOST_BINS + 1, ())) * (1 if torch.rand(()) < 0.5 else -1)
    out = spectrum.roll(bins, dims=-2)
    empty = slice(0, bins) if bins > 0 else slice(bins, None)
    out[..., empty, :] = spectrum.amin()
    return out


def _stretched(spectrum: Tensor) -> Tensor:
    """Longer or shorter by up to `_STRETCH`, cut or filled up with silence to the same number of frames."""
    frames = spectrum.shape[-1]
    factor = _STRETCH ** float(2 * torch.rand(()) - 1)
    size = (spectrum.shape[-2], max(1, round(frames * factor)))
    out = F.interpolate(spectrum, size=size, mode="bilinear", align_corners=False)[..., :frames]
    return F.pad(out, (0, frames - out.shape[-1]), value=float(spectrum.amin()))
