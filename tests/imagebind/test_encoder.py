from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from modaverse.context import Media, Modality
from modaverse.errors import (
    CheckpointError,
    InputError,
    MediaError,
    ModelNotFound,
    SettingsError,
    StorageError,
)
from modaverse.imagebind import ImageBind, ImageBindConfig, ImageBindEncoder, tokenize
from modaverse.interfaces import Decoded, Encoder, Frames, Pixels, Waveform
from modaverse.media import decode, read_media, write_media


def decoded_media() -> list[Decoded]:
    rng = np.random.default_rng(0)
    return [
        Waveform(rng.uniform(-0.5, 0.5, (32_000, 1)).astype(np.float32), 16_000),
        Pixels(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)),
        Frames(rng.integers(0, 256, (9, 64, 64, 3), dtype=np.uint8), 8.0),
        Pixels(rng.integers(0, 256, (50, 90, 3), dtype=np.uint8)),
        Waveform(rng.uniform(-0.5, 0.5, (9_000, 2)).astype(np.float32), 44_100),
        Frames(rng.integers(0, 256, (20, 80, 60, 3), dtype=np.uint8), 25.0),
    ]


@pytest.fixture
def encoder(small: ImageBind) -> ImageBindEncoder:
    return ImageBindEncoder(small, tokenizer=lambda texts: tokenize(texts, context_length=20) % 300)


def test_is_an_encoder_of_the_system(encoder: ImageBindEncoder) -> None:
    as_protocol: Encoder = encoder
    assert as_protocol.dim == 12
    assert as_protocol.encode([]).shape == (0, 12)


def test_a_medium_in_a_batch_is_embedded_as_alone(encoder: ImageBindEncoder) -> None:
    media = decoded_media()
    together = encoder.encode_decoded(media)
    assert together.shape == (6, 12)
    assert together.dtype is torch.float32
    assert not together.requires_grad
    for row, item in zip(together, media, strict=True):
        assert (encoder.encode_decoded([item])[0] - row).abs().max() <= 1e-5
    assert torch.pdist(together / together.norm(dim=1, keepdim=True)).min() > 1e-3  # and no two are alike


def test_batches_are_bounded(encoder: ImageBindEncoder, small: ImageBind) -> None:
    sizes: list[int] = []
    small.register_forward_pre_hook(lambda _, args: sizes.extend(len(x) for x in args[0].values()))
    expected = encoder.encode_decoded(decoded_media())
    for bound in (1, 3, 4):
        bounded = ImageBindEncoder(small, views_per_batch=bound)
        sizes.clear()
        torch.testing.assert_close(bounded.encode_decoded(decoded_media()), expected, atol=1e-5, rtol=0)
        assert max(sizes) == bound


def test_views_are_averaged_by_the_network_alike(encoder: ImageBindEncoder, small: ImageBind) -> None:
    from modaverse.imagebind import audio_tensor, video_tensor

    sound, film = decoded_media()[4], decoded_media()[5]
    assert isinstance(sound, Waveform)
    assert isinstance(film, Frames)
    with torch.no_grad():
        expected = [
            small({"audio": audio_tensor(sound, small.config)[None]})["audio"],
            small({"vision": video_tensor(film, small.config)[None]})["vision"],
        ]
    torch.testing.assert_close(encoder.encode_decoded([sound, film]), torch.cat(expected), atol=1e-5, rtol=0)


def test_files_are_embedded_as_what_is_in_them(encoder: ImageBindEncoder, tmp_path: Path) -> None:
    media = [write_media(item, tmp_path) for item in decoded_media()]
    got = encoder.encode(media)
    torch.testing.assert_close(got, encoder.encode_decoded([decode(item) for item in media]))
    pictures = [index for index, item in enumerate(media) if item.modality is Modality.IMAGE]
    torch.testing.assert_close(
        got[pictures], encoder.encode_decoded(decoded_media())[pictures]
    )  # PNG loses nothing


def test_a_missing_file_is_named(encoder: ImageBindEncoder, tmp_path: Path) -> None:
    gone = Media(Modality.IMAGE, tmp_path / "gone.png", "image/png", "0" * 64)
    with pytest.raises(MediaError, match=r"gone\.png"):
        encoder.encode([gone])


def test_a_net_in_training_is_used_as_in_evaluation_and_left_in_training(small: ImageBind) -> None:
    item = decoded_media()[1]
    expected = ImageBindEncoder(small).encode_decoded([item])
    small.train()
    for block in small.modality_trunks["vision"].blocks:
        block.drop_path = 0.9
    assert torch.equal(ImageBindEncoder(small).encode_decoded([item]), expected)
    assert small.training


def test_texts(encoder: ImageBindEncoder, tiny: ImageBind) -> None:
    texts = ["a dog", "a very small red car at night"]
    got = encoder.encode_text(texts)
    assert got.shape == (2, 12)
    assert (encoder.encode_text(texts[1:])[0] - got[1]).abs().max() <= 1e-4  # the norm is 14
    assert encoder.encode_text([]).shape == (0, 12)
    published = ImageBindEncoder(tiny).encode_text(texts)
    torch.testing.assert_close(published, tiny({"text": tokenize(texts)})["text"])


def test_text_needs_a_tokenizer_of_its_vocabulary(small: ImageBind) -> None:
    with pytest.raises(SettingsError, match="300"):
        ImageBindEncoder(small).encode_text(["a dog"])


# ----------------------------------------------------------------------------------------- storage


def test_saved_and_loaded_it_embeds_the_same(encoder: ImageBindEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "made" / "here")
    loaded = ImageBindEncoder.from_pretrained(tmp_path / "made" / "here")
    assert loaded.config == encoder.config
    assert {parameter.dtype for parameter in loaded.net.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in loaded.net.parameters())
    before, after = encoder.encode_decoded(decoded_media()), loaded.encode_decoded(decoded_media())
    assert torch.nn.functional.cosine_similarity(before, after).min() > 0.9999
    assert sorted(path.name for path in (tmp_path / "made" / "here").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_weights_are_stored_in_half_precision_where_it_holds_them(small: ImageBind, tmp_path: Path) -> None:
    with torch.no_grad():
        small.modality_heads["vision"][0].weight[0] = 1e6
    ImageBindEncoder(small).save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    kept = {key for key, value in stored.items() if value.dtype is torch.float32}
    scales = {key for key in stored if key.endswith("log_logit_scale")}
    assert kept == scales | {"modality_heads.vision.0.weight"}
    assert all(value.dtype is torch.float16 for key, value in stored.items() if key not in kept)
    loaded = ImageBindEncoder.from_pretrained(tmp_path)
    assert loaded.net.modality_heads["vision"][0].weight[0] == 1e6


def test_only_the_trunks_asked_for_are_loaded(encoder: ImageBindEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    pictures = ImageBindEncoder.from_pretrained(tmp_path, modalities=("vision",))
    assert {key.split(".")[1] for key in pictures.net.state_dict()} == {"vision"}
    assert pictures.encode_decoded([decoded_media()[1]]).shape == (1, 12)
    with pytest.raises(InputError, match="audio"):
        pictures.encode_decoded([decoded_media()[0]])
    with pytest.raises(InputError, match="text"):
        pictures.encode_text(["a dog"])


def test_a_bare_file_of_weights_will_do(tiny_file: Path, tiny: ImageBind, media: Path) -> None:
    encoder = ImageBindEncoder.from_pretrained(tiny_file, modalities=("vision", "audio"))
    names = ("landscape.png", "stereo_44k.wav", "small.png", "clip_25fps.mp4")
    files = [read_media(media / name) for name in names]
    torch.testing.assert_close(encoder.encode(files), ImageBindEncoder(tiny).encode(files))


def test_the_published_file_in_a_folder_will_do(
    tiny_state: dict[str, Tensor], tiny: ImageBind, tmp_path: Path
) -> None:
    torch.save(tiny_state, tmp_path / "imagebind_huge.pth")
    (tmp_path / "config.json").write_text(json.dumps(tiny.config.to_dict()))
    assert ImageBindEncoder.from_pretrained(tmp_path, modalities="audio").net.modalities == ("audio",)


def test_half_precision_in_memory(encoder: ImageBindEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    loaded = ImageBindEncoder.from_pretrained(tmp_path, dtype=torch.bfloat16)
    before, after = encoder.encode_decoded(decoded_media()), loaded.encode_decoded(decoded_media())
    assert after.dtype is torch.float32
    assert torch.nn.functional.cosine_similarity(before, after).min() > 0.99


def test_faulty_folders_are_named(tmp_path: Path, small: ImageBind) -> None:
    with pytest.raises(ModelNotFound, match="nowhere"):
        ImageBindEncoder.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(ModelNotFound, match=r"model\.safetensors"):
        ImageBindEncoder.from_pretrained(tmp_path)
    ImageBindEncoder(small).save_pretrained(tmp_path)
    for text in ("{", "[]", '{"image_sise": 3}', '{"image_size": 0}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.json"):
            ImageBindEncoder.from_pretrained(tmp_path)
    wrong = replace(small.config, vision_num_blocks=3)
    (tmp_path / "config.json").write_text(json.dumps(wrong.to_dict()))
    with pytest.raises(CheckpointError, match=r"blocks\.2"):
        ImageBindEncoder.from_pretrained(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(small: ImageBind, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        ImageBindEncoder(small).save_pretrained(tmp_path / "file" / "folder")


def test_batch_bound_is_checked(small_config: ImageBindConfig) -> None:
    with pytest.raises(SettingsError):
        ImageBindEncoder(ImageBind(small_config, modalities="imu"), views_per_batch=0)


def test_a_trunk_that_the_file_lacks_is_named(small_config: ImageBindConfig, tmp_path: Path) -> None:
    seeing = ImageBind(small_config, modalities=("vision",))
    ImageBindEncoder(seeing).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no weights for text and audio") as caught:
        ImageBindEncoder.from_pretrained(tmp_path, modalities=("vision", "text", "audio"))
    assert "vision" in (caught.value.hint or "")
    assert "size mismatch" not in str(caught.value)
    assert "Missing key" not in str(caught.value)
