from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest

from modaverse.errors import SettingsError
from modaverse.imagebind import ImageBindConfig

BAD = [
    ({"vision_num_heads": 7}, "vision_embed_dim 1280 is no multiple of vision_num_heads 7"),
    ({"image_size": 225}, "image_size 225 is no multiple of vision_patch 14"),
    ({"imu_kernel": 3}, "imu_length 2000 is no multiple of imu_kernel 3"),
    ({"out_embed_dim": 0}, "out_embed_dim is 0"),
    ({"out_embed_dim": 1.5}, "out_embed_dim is 1.5"),
    ({"video_clips": True}, "video_clips is True"),
    ({"image_size": "224"}, "image_size is '224'"),
    ({"audio_mel_bins": 12}, "audio_mel_bins 12 is less than audio_kernel 16"),
    ({"audio_std": 0.0}, "audio_std is 0"),
    ({"audio_mean": float("nan")}, "audio_mean is nan"),
    ({"imu_drop_path": 1.0}, "imu_drop_path is 1"),
    ({"text_pad_id": 49_408}, "text_pad_id is 49408"),
    ({"text_pool": "mean"}, 'text_pool is "mean"'),
]


@pytest.mark.parametrize(("values", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ImageBindConfig(**values)  # type: ignore[arg-type]
    assert message in caught.value.message
    assert caught.value.hint


def test_defaults_have_the_published_number_of_tokens() -> None:
    config = ImageBindConfig()
    tokens = {name: config.tokens(name) for name in ("vision", "text", "audio", "depth", "thermal", "imu")}
    assert tokens == {"vision": 257, "text": 77, "audio": 229, "depth": 197, "thermal": 197, "imu": 251}


def test_survives_json_and_is_frozen(small_config: ImageBindConfig) -> None:
    assert ImageBindConfig.from_dict(json.loads(json.dumps(small_config.to_dict()))) == small_config
    with pytest.raises(FrozenInstanceError):
        small_config.image_size = 32  # type: ignore[misc]


def test_whole_numbers_will_do_where_a_real_one_is_meant() -> None:
    assert ImageBindConfig(video_clip_seconds=2) == ImageBindConfig()


def test_unknown_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="visoin_embed_dim"):
        ImageBindConfig.from_dict({"visoin_embed_dim": 3})
