from __future__ import annotations

import torch

from modaverse.context import Modality
from modaverse.toybox.recipes.encoder_views import Views, draw_views, show_pixels, show_spectra

NONE = torch.zeros(3, dtype=torch.bool)
FIRST = torch.tensor([True, False, False])


def test_grey_pictures_have_no_colour_and_the_others_all_of_it() -> None:
    renders = torch.randint(0, 256, (3, 9, 8, 8, 3), generator=torch.Generator().manual_seed(0)).byte()
    shown = show_pixels(renders, Views(FIRST, NONE, NONE))
    assert torch.equal(shown[1:], renders[1:])
    assert (shown[0] == shown[0, ..., :1]).all()
    assert (shown[0, ..., 0].float() - renders[0].float().mean(-1)).abs().max() <= 0.5


def test_moved_sounds_keep_their_rhythm_and_stretched_ones_their_pitch() -> None:
    """One beep: a patch of the spectrum, whose bins are pitch and whose frames are time."""
    torch.manual_seed(0)
    beep = torch.full((3, 1, 1, 128, 204), -4.0)
    beep[..., 60:68, 50:60] = 3.0
    moved = show_spectra(beep, Views(NONE, FIRST, NONE))
    assert torch.equal(moved[1:], beep[1:])
    frames = (moved[0, 0, 0] > 0).any(0).nonzero().flatten()
    bins = (moved[0, 0, 0] > 0).any(1).nonzero().flatten()
    assert (frames[0], frames[-1]) == (50, 59)
    assert 8 <= abs(int(bins[0]) - 60) <= 40

    stretched = show_spectra(beep, Views(NONE, NONE, FIRST))
    bins = (stretched[0, 0, 0] > 0).any(1).nonzero().flatten()
    frames = (stretched[0, 0, 0] > 0).any(0).nonzero().flatten()
    assert (bins[0], bins[-1]) == (60, 67)
    assert (int(frames[0]), int(frames[-1])) != (50, 59)
    assert stretched.shape == beep.shape


def test_what_a_view_hides_is_not_asked_for() -> None:
    torch.manual_seed(0)
    for modality in Modality:
        views = draw_views(modality, 400)
        hidden = torch.stack(list(views.hidden.values())).any(0)
        assert torch.equal(hidden, views.altered)
        assert 0.15 < views.altered.float().mean() < 0.5
    assert not draw_views(Modality.IMAGE, 400).hidden["thing"].any()
    assert not draw_views(Modality.AUDIO, 400).hidden["colour"].any()
