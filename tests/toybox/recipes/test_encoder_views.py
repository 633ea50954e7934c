from __future__ import annotations

import torch

from modaverse.context import Modality
from modaverse.toybox.recipes.encoder_views import Views, draw_views, show_pixels, show_spectra

NONE = torch.zeros(3, dtype=torch.bool)
FIRST = torch.tensor([True, False, False])


def test_grey_pictures_have_no_colour_and_the_others_all_of_it() -> None:
    renders = torch.randint(0, 256, (3, 9, 8, 8, 3), generator=torch.Generator().manual_seed(0)).byte()
    shown = show_pixels(renders, Views(FIRST, NONE, NONE, NONE))
    assert torch.equal(shown[1:], renders[1:])
    assert (shown[0] == shown[0, ..., :1]).all()
    assert (shown[0, ..., 0].float() - renders[0].float().mean(-1)).abs().max() <= 0.5


def test_pictures_in_other_colours_keep_their_shapes() -> None:
    """A square on a ground: other colours, each still of one colour, and the border where it was."""
    torch.manual_seed(0)
    renders = torch.zeros(40, 8, 8, 3, dtype=torch.uint8)
    renders[...] = torch.tensor([60, 160, 220], dtype=torch.uint8)
    renders[:, 2:5, 2:5] = torch.tensor([200, 40, 40], dtype=torch.uint8)
    every = torch.ones(40, dtype=torch.bool)
    shown = show_pixels(renders, Views(~every, every, ~every, ~every))
    inside, ground = shown[:, 2, 2], shown[:, 0, 0]
    expected = ground[:, None, None].expand_as(shown).clone()
    expected[:, 2:5, 2:5] = inside[:, None, None]
    assert torch.equal(shown, expected)
    assert len(torch.unique(inside, dim=0)) > 30
    assert (inside.int() - ground.int()).abs().sum(1).median() > 40


def test_moved_sounds_keep_their_rhythm_and_stretched_ones_their_pitch() -> None:
    """One beep: a patch of the spectrum, whose bins are pitch and whose frames are time."""
    torch.manual_seed(0)
    beep = torch.full((3, 1, 1, 128, 204), -4.0)
    beep[..., 60:68, 50:60] = 3.0
    moved = show_spectra(beep, Views(NONE, NONE, FIRST, NONE))
    assert torch.equal(moved[1:], beep[1:])
    frames = (moved[0, 0, 0] > 0).any(0).nonzero().flatten()
    bins = (moved[0, 0, 0] > 0).any(1).nonzero().flatten()
    assert (frames[0], frames[-1]) == (50, 59)
    assert 4 <= abs(int(bins[0]) - 60) <= 24

    stretched = show_spectra(beep, Views(NONE, NONE, NONE, FIRST))
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
        assert 0.15 < views.altered.float().mean() < 0.6
    assert not draw_views(Modality.IMAGE, 400).hidden["pitch"].any()
    assert not draw_views(Modality.AUDIO, 400).hidden["colour"].any()
