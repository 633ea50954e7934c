"""Autoencoders by themselves: what comes back of renders, and where their weights are looked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from modaverse.context import Modality
from modaverse.errors import ModelNotFound
from modaverse.settings import load_profile
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.evaluation.reconstructing import reconstruction_row, there_and_back
from modaverse.toybox.evaluation.row import share
from modaverse.toybox.evaluation.specimens import given, make
from modaverse.toybox.world import is_held_out


class Keeping:
    """An autoencoder whose latents are what it is given; `spoil` is what becomes of them."""

    def __init__(self, spoil: float = 1.0) -> None:
        self.spoil = spoil

    def encode(self, x: Tensor) -> SimpleNamespace:
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: x), latents=x)

    def decode(self, latents: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=latents * self.spoil)


@pytest.mark.parametrize("modality", list(Modality))
def test_what_is_kept_whole_is_recognised_and_what_is_not_is_not(modality: Modality, parts) -> None:  # type: ignore[no-untyped-def]
    row = reconstruction_row(modality)
    cases = row.cases(4, 0)
    assert all(case.scene is not None and is_held_out(case.scene) for case in cases)
    for case in cases:
        (specimen,) = given(case.parts)
        parts.judge.know(make(specimen), case.scene)
    name = f"autoencoder-{modality}"
    parts._autoencoders[name] = Keeping()
    assert share(row.run(parts, cases), "thing").value == 1.0
    parts._autoencoders[name] = Keeping(spoil=0.2)
    assert share(row.run(parts, cases), "thing").value == 0.0


@pytest.mark.parametrize("modality", list(Modality))
def test_there_and_back_keeps_kind_shape_and_values(modality: Modality) -> None:
    media = [make(given(case.parts)[0]) for case in reconstruction_row(modality).cases(2, 0)]
    made = there_and_back(Keeping(), media)
    for before, after in zip(media, made, strict=True):
        assert type(after) is type(before)
        assert after.array.shape == before.array.shape
        assert after.array.dtype == before.array.dtype
        error = abs(after.array.astype(float) - before.array.astype(float)).max()
        assert error <= (1e-4 if modality is Modality.AUDIO else 1.0)


def test_an_autoencoder_is_found_in_its_pipeline_and_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=2)
    profile = load_profile("mini")
    with pytest.raises(ModelNotFound, match="vae"):
        Parts(profile, tmp_path, elsewhere={"image": tmp_path / "nothing"}).autoencoder(Modality.IMAGE)
    for folder, under in (("alone", ""), ("pipeline", "vae")):
        small.half().save_pretrained(tmp_path / folder / under)
        found = Parts(profile, tmp_path, elsewhere={"image": tmp_path / folder}).autoencoder(Modality.IMAGE)
        assert isinstance(found, AutoencoderKL)
        assert found.dtype == torch.float32
        assert not found.training
