from __future__ import annotations

import numpy as np
import pytest
import torch

from modaverse.context import Modality
from modaverse.imagebind.audio import audio_tensor
from modaverse.imagebind.vision import image_tensor, video_tensor
from modaverse.interfaces import Frames, Pixels, Waveform
from modaverse.toybox.pictures import render_clip, render_picture
from modaverse.toybox.recipes.encoder import fitting, info_nce, mini_encoder_config, network_input, targets
from modaverse.toybox.recipes.encoder import token_ids as ids_of
from modaverse.toybox.recipes.renders import Unknown, to_int16
from modaverse.toybox.sounds import render_sound
from modaverse.toybox.tokenizer import load_tokenizer
from modaverse.toybox.wordings.wishes import Wish, wish_for
from modaverse.toybox.world import ClipScene, Scene, SoundScene

CAT = Scene("cat", "red", "small", "day")
DOG = Scene("dog", "blue", "large", "night")


@pytest.fixture(scope="module")
def config():  # type: ignore[no-untyped-def]
    return mini_encoder_config(load_tokenizer())


def test_training_sees_what_inference_sees(config) -> None:  # type: ignore[no-untyped-def]
    """The recipe prepares whole batches; each row must be what the encoder makes of that medium alone."""
    pixels = render_picture(CAT, 1)
    clip = render_clip(ClipScene("car", "green", "large", "beach", "left", "fast"), 2)
    sound = render_sound(SoundScene("bell", "low", "fast"), np.random.default_rng(3))
    samples = to_int16(sound.array)

    batch = network_input(Modality.IMAGE, torch.from_numpy(pixels.array.copy())[None], config)
    assert torch.allclose(batch[0], image_tensor(Pixels(pixels.array), config), atol=1e-5)

    batch = network_input(Modality.VIDEO, torch.from_numpy(clip.array.copy())[None], config)
    assert torch.allclose(batch[0], video_tensor(Frames(clip.array, 8.0), config), atol=1e-4)

    batch = network_input(Modality.AUDIO, torch.from_numpy(samples)[None], config)
    alone = audio_tensor(Waveform((samples / 32767).astype(np.float32)[:, None], 16_000), config)
    assert torch.allclose(batch[0], alone, atol=1e-4)


def test_fitting_knows_partial_captions_and_unknown_media() -> None:
    wishes = [wish_for(CAT), Wish(Modality.IMAGE, "animal"), None, Wish(Modality.IMAGE, "dog", colour="red")]
    fits = fitting([CAT, DOG, Unknown(None), Unknown(CAT)], wishes)
    assert fits.tolist() == [
        [True, True, False, False],
        [False, True, False, False],
        [False, False, True, False],
        [False, False, True, False],
    ]


def test_info_nce_is_least_for_the_right_pairs() -> None:
    media = torch.nn.functional.normalize(
        torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    fits = torch.eye(6, dtype=torch.bool)
    none = torch.zeros_like(fits)
    right = info_nce(media, 20 * media, fits, none)
    assert right < 0.1
    assert info_nce(media, 20 * media.roll(1, 0), fits, none) > 1.0
    twins = torch.cat([media[:3], media[:3]])
    paired = torch.eye(3, dtype=torch.bool).repeat(2, 2)
    assert info_nce(twins, 20 * twins, paired, none) == pytest.approx(np.log(2), abs=0.1)


def test_what_is_lacking_is_no_wrong_pair() -> None:
    """Of two equal media only one fits the first caption; without the other the loss is next to nothing."""
    media = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), dim=-1)
    fits = torch.eye(2, dtype=torch.bool)
    lacking = ~fits
    assert info_nce(media, 20 * media, fits, torch.zeros_like(fits)) == pytest.approx(np.log(2), abs=0.01)
    assert info_nce(media, 20 * media, fits, lacking) < 0.01


def test_targets_leave_out_what_unknown_media_do_not_have() -> None:
    answers = targets([CAT, Unknown(CAT)])
    assert answers["thing"].tolist() == [0, 12]
    assert answers["colour"].tolist() == [0, -1]
    assert "direction" not in answers
    assert list(targets([Unknown(None)])) == ["thing"]


def test_captions_are_padded_at_their_end(config) -> None:  # type: ignore[no-untyped-def]
    ids = ids_of(load_tokenizer(), ["a cat", "a small red cat on a beach"], config)
    assert ids.shape == (2, config.text_context_length)
    assert (ids[:, -1] == config.text_pad_id).all()
    assert (ids[0] != config.text_pad_id).sum() < (ids[1] != config.text_pad_id).sum()
