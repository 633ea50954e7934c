from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from modaverse.errors import CheckpointError, InputError, SettingsError
from modaverse.imagebind import MODALITIES, ImageBind, ImageBindConfig

OUTPUTS = ("image", "video", "audio", "text", "depth", "thermal", "imu")


def small_inputs(batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "vision": torch.randn(batch, 3, 64, 64, generator=generator),
        "text": torch.randint(1, 300, (batch, 20), generator=generator),
        "audio": torch.randn(batch, 1, 128, 204, generator=generator),
        "depth": torch.randn(batch, 1, 64, 64, generator=generator),
        "thermal": torch.randn(batch, 1, 64, 64, generator=generator),
        "imu": torch.randn(batch, 6, 64, generator=generator),
    }


def test_every_published_key_and_shape(published_shapes: dict[str, list[int]]) -> None:
    with torch.device("meta"):
        state = ImageBind().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == published_shapes
    assert len(state) == 1311
    assert sum(value.numel() for value in state.values()) == 1_200_786_990


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_the_published_codes(name: str, tiny: ImageBind, tiny_io: dict[str, Tensor]) -> None:
    modality = "vision" if name in ("image", "video") else name
    value = tiny_io[f"input.{name}"]
    expected = tiny_io[f"output.{name}"]
    got = tiny({modality: value.float() if value.is_floating_point() else value})[modality]
    assert ((got - expected).abs() / expected.norm(dim=-1, keepdim=True)).max() <= 1e-4


def test_several_modalities_in_one_call_give_what_each_gives_alone(small: ImageBind) -> None:
    inputs = small_inputs()
    together = small(inputs)
    assert {name: tuple(value.shape) for name, value in together.items()} == dict.fromkeys(
        MODALITIES, (2, 12)
    )
    for name, value in inputs.items():
        torch.testing.assert_close(small({name: value})[name], together[name])


@pytest.mark.parametrize("modality", [name for name in MODALITIES if name != "text"])
def test_a_clip_axis_is_averaged_after_the_scale(modality: str, small: ImageBind) -> None:
    value = small_inputs(batch=6)[modality]
    one_by_one = small({modality: value})[modality].view(2, 3, -1)
    clips = small({modality: value.unflatten(0, (2, 3))})[modality]
    torch.testing.assert_close(clips, one_by_one.mean(dim=1), atol=1e-6, rtol=1e-5)


def test_a_still_picture_is_a_film_of_equal_frames(small: ImageBind) -> None:
    picture = small_inputs()["vision"]
    film = picture[:, None, :, None].expand(-1, 1, -1, 2, -1, -1)
    torch.testing.assert_close(
        small({"vision": film})["vision"], small({"vision": picture})["vision"], atol=1e-6, rtol=1e-5
    )


def test_norms_are_the_scales(small: ImageBind) -> None:
    norms = {name: value.norm(dim=-1) for name, value in small(small_inputs()).items()}
    expected = {"vision": 1, "text": 1 / 0.07, "audio": 20, "depth": 5, "thermal": 10, "imu": 5}
    for name, norm in norms.items():
        torch.testing.assert_close(norm, torch.full((2,), float(expected[name])), rtol=1e-5, atol=0)


def test_texts_scale_is_learned_and_clipped(small: ImageBind) -> None:
    learned = [name for name, _ in small.named_parameters() if name.endswith("log_logit_scale")]
    assert learned == ["modality_postprocessors.text.1.log_logit_scale"]
    with torch.no_grad():
        small.get_parameter(learned[0]).fill_(math.log(1e6))
    norms = small({"text": small_inputs()["text"]})["text"].norm(dim=-1)
    assert norms.tolist() == pytest.approx([100, 100])


# ------------------------------------------------------------------------------------------- text


def test_text_is_read_at_its_last_token_however_long_the_padding(small: ImageBind) -> None:
    ids = torch.tensor([[5, 9, 3, 0, 0, 0], [7, 2, 250, 4, 0, 0]])
    padded = small({"text": ids})["text"]
    torch.testing.assert_close(padded, small({"text": ids[:, :4]})["text"])
    torch.testing.assert_close(padded[:1], small({"text": ids[:1, :3]})["text"])
    ids[0, 2] = 4  # its last token counts
    assert not torch.allclose(padded[0], small({"text": ids})["text"][0])


def test_text_pooled_at_the_highest_id_ignores_what_follows(small_config: ImageBindConfig) -> None:
    torch.manual_seed(0)
    net = ImageBind(replace(small_config, text_pool="highest_id"), modalities="text").eval()
    one, other = torch.tensor([[5, 9, 299, 3, 0]]), torch.tensor([[5, 9, 299, 0, 8]])
    torch.testing.assert_close(net({"text": one})["text"], net({"text": other})["text"])


# ----------------------------------------------------------------------------- parts of the network


def test_only_the_modalities_asked_for_are_held_and_loaded(small: ImageBind) -> None:
    part = ImageBind(small.config, modalities=("audio", "vision"))
    assert part.modalities == ("vision", "audio")
    assert {key.split(".")[1] for key in part.state_dict()} == {"vision", "audio"}
    part.load_state_dict(small.state_dict())
    inputs = {name: value for name, value in small_inputs().items() if name in part.modalities}
    for name, value in part.eval()(inputs).items():
        torch.testing.assert_close(value, small(inputs)[name])
    with pytest.raises(InputError, match='holds no "text"'):
        part({"text": torch.ones(1, 3, dtype=torch.int64)})


def test_published_parts_have_the_published_sizes() -> None:
    with torch.device("meta"):
        pictures_only = ImageBind(modalities=("vision",))
    assert sum(parameter.numel() for parameter in pictures_only.parameters()) < 0.64e9


@pytest.mark.parametrize("modalities", [(), ("vision", "smell"), "sound"])
def test_unknown_modalities_are_refused(
    modalities: tuple[str, ...] | str, small_config: ImageBindConfig
) -> None:
    with pytest.raises(SettingsError) as caught:
        ImageBind(small_config, modalities=modalities)
    assert "imu" in caught.value.hint


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda state: state.pop("modality_heads.imu.3.weight"), "modality_heads.imu.3.weight"),
        (lambda state: state.update({"modality_heads.smell.0.weight": torch.ones(1)}), "smell"),
        (lambda state: state.update({"extra": torch.ones(1)}), "extra"),
        (lambda state: state.update({"modality_heads.imu.3.weight": torch.ones(1, 2)}), "size mismatch"),
    ],
)
def test_loading_is_strict(small: ImageBind, spoil: object, named: str) -> None:
    state = dict(small.state_dict())
    spoil(state)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=named):
        small.load_state_dict(state)


@pytest.mark.parametrize(
    ("modality", "shape"),
    [
        ("vision", (1, 3, 64, 65)),
        ("vision", (1, 2, 3, 3, 64, 64)),
        ("audio", (1, 2, 128, 204)),
        ("depth", (1, 3, 64, 64)),
        ("imu", (1, 6, 65)),
        ("text", (1, 21)),
        ("text", (1, 0)),
    ],
)
def test_wrong_shapes_are_named(modality: str, shape: tuple[int, ...], small: ImageBind) -> None:
    dtype = torch.int64 if modality == "text" else torch.float32
    with pytest.raises(InputError, match=modality):
        small({modality: torch.zeros(shape, dtype=dtype)})


# ---------------------------------------------------------------------------------------- training


def test_every_parameter_is_trained_and_autocast_keeps_float32_outputs(small: ImageBind) -> None:
    small.train()
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        out = small(small_inputs(batch=8))
        assert all(value.dtype is torch.float32 for value in out.values())
        torch.stack([(value * torch.randn_like(value)).sum() for value in out.values()]).sum().backward()
    still = [
        name
        for name, parameter in small.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
    assert still == []


def test_autocast_without_gradients_is_close(small: ImageBind) -> None:
    with torch.no_grad():
        exact = small(small_inputs())
        with torch.autocast("cpu", torch.bfloat16):
            rough = small(small_inputs())
    for name, value in exact.items():
        cosine = torch.nn.functional.cosine_similarity(value, rough[name], dim=-1)
        assert cosine.min() > 0.999, name
