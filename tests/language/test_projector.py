from __future__ import annotations

from typing import Literal

import pytest
import torch

from modaverse.context import Modality
from modaverse.language.projector import Projectors
from modaverse.settings import ProjectorSettings


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("normalise", [True, False])
def test_shapes_and_size_of_what_comes_out(kind: Literal["linear", "mlp"], normalise: bool) -> None:
    torch.manual_seed(0)
    settings = ProjectorSettings(kind=kind, k=4, normalise=normalise)
    projectors = Projectors(settings, dim=256, hidden=128, embedding_rms=0.05)
    embeddings = torch.randn(64, 256)
    projected = projectors(Modality.AUDIO, embeddings).detach()
    assert projected.shape == (64, 4, 128)
    assert projected.pow(2).mean().sqrt() == pytest.approx(0.05, rel=0.15)
    # Normalised, the length of an embedding says nothing; raw, it does.
    same = torch.allclose(projected, projectors(Modality.AUDIO, 7 * embeddings), atol=1e-6)
    assert same == normalise


def test_each_modality_has_its_own_unless_shared() -> None:
    embeddings = torch.randn(2, 8)
    own = Projectors(ProjectorSettings(), dim=8, hidden=16)
    assert not torch.equal(own(Modality.IMAGE, embeddings), own(Modality.AUDIO, embeddings))
    shared = Projectors(ProjectorSettings(shared=True), dim=8, hidden=16)
    assert torch.equal(shared(Modality.IMAGE, embeddings), shared(Modality.AUDIO, embeddings))
    assert sum(p.numel() for p in own.parameters()) == 3 * sum(p.numel() for p in shared.parameters())


def test_the_paper_s_projector_is_one_linear_map() -> None:
    projectors = Projectors(ProjectorSettings(kind="linear", k=1, normalise=False, shared=True), 1024, 32)
    shapes = {name: tuple(p.shape) for name, p in projectors.named_parameters()}
    assert shapes == {"projectors.shared.input.weight": (32, 1024), "projectors.shared.input.bias": (32,)}
