"""mini's clip generator is an ordinary Wan, and its loss inverts how the pipelines sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanImageToVideoPipeline, WanPipeline
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from modaverse.toybox.recipes import video_parts
from modaverse.toybox.recipes.video_parts import (
    LATENT_CHANNELS,
    LATENT_SHAPE,
    assemble_video_pipeline,
    build_video_autoencoder,
    build_video_text_encoder,
    build_video_transformer,
    encode_captions,
    encode_clips,
    flow_matching_loss,
    set_latent_scale,
)

CAPTIONS = ["a small red cat moving left", "a large blue car at night, moving up fast", "bird", ""]
CALL = {"width": 64, "height": 64, "num_frames": 9, "max_sequence_length": 32}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = sorted({word for caption in CAPTIONS for word in caption.replace(",", " ,").split()})
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", "<end>", *words])}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", unk_token="<unk>", eos_token="<end>"
    )


@pytest.fixture(scope="module")
def pipeline(tokenizer: PreTrainedTokenizerFast) -> WanPipeline:
    torch.manual_seed(0)
    autoencoder = build_video_autoencoder().eval()
    set_latent_scale(
        autoencoder,
        torch.randn(4, *LATENT_SHAPE) * torch.linspace(0.5, 2, LATENT_CHANNELS)[None, :, None, None, None],
    )
    made = assemble_video_pipeline(
        autoencoder,
        build_video_transformer().eval(),
        build_video_text_encoder(tokenizer).eval(),
        tokenizer,
        shift=1.5,
    )
    made.set_progress_bar_config(disable=True)
    return made


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_stay_within_what_mini_may_weigh(pipeline: WanPipeline) -> None:
    assert parameters(pipeline.vae) <= 2.0e6
    assert parameters(pipeline.transformer) <= 3.3e6
    words = 3072 * pipeline.text_encoder.config.d_model
    assert parameters(pipeline.text_encoder) + words <= 0.5e6


def test_latents_are_those_that_the_pipeline_decodes(pipeline: WanPipeline) -> None:
    clips = torch.rand(1, 3, 9, 64, 64) * 2 - 1
    config = pipeline.vae.config
    with torch.no_grad():
        latents = encode_clips(pipeline.vae, clips)
        assert latents.shape == (1, *LATENT_SHAPE)
        raw = pipeline.vae.encode(clips).latent_dist.mode()
    mean, deviation = (
        torch.tensor(v)[None, :, None, None, None] for v in (config.latents_mean, config.latents_std)
    )
    torch.testing.assert_close(latents * deviation + mean, raw)


def test_the_first_frame_alone_gives_the_first_latent_frame(pipeline: WanPipeline) -> None:
    clips = torch.rand(1, 3, 9, 64, 64) * 2 - 1
    with torch.no_grad():
        whole, first = encode_clips(pipeline.vae, clips), encode_clips(pipeline.vae, clips[:, :, :1])
    torch.testing.assert_close(whole[:, :, :1], first, atol=1e-5, rtol=1e-5)


def test_scaling_gives_each_channel_mean_0_and_deviation_1() -> None:
    autoencoder = build_video_autoencoder()
    raw = (
        torch.randn(8, *LATENT_SHAPE) * torch.linspace(1, 4, LATENT_CHANNELS)[None, :, None, None, None] + 0.5
    )
    set_latent_scale(autoencoder, raw)
    mean, deviation = (
        torch.tensor(autoencoder.config.latents_mean),
        torch.tensor(autoencoder.config.latents_std),
    )
    scaled = (raw.transpose(0, 1).flatten(1) - mean[:, None]) / deviation[:, None]
    torch.testing.assert_close(scaled.mean(1), torch.zeros(LATENT_CHANNELS), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(1), torch.ones(LATENT_CHANNELS), atol=1e-5, rtol=0)


def test_captions_are_encoded_as_the_pipeline_does(pipeline: WanPipeline) -> None:
    with torch.no_grad():
        embeds, mask = encode_captions(pipeline.text_encoder, pipeline.tokenizer, CAPTIONS)
        expected, _ = pipeline.encode_prompt(
            list(CAPTIONS), do_classifier_free_guidance=False, max_sequence_length=32
        )
    torch.testing.assert_close(embeds, expected)
    assert mask.sum(1).tolist() == [7, 11, 2, 1]


def right_velocity(target: Tensor, latents: Tensor, level: Tensor | float) -> Tensor:
    """noise - latent, where the latent can only be `target`: noise = (x - (1 - σ)·target) / σ."""
    return (latents - target) / level


def test_sampling_lands_on_the_target_of_the_right_velocity(
    pipeline: WanPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = torch.randn(LATENT_SHAPE, generator=torch.Generator().manual_seed(3))

    def forward(hidden_states: Tensor, timestep: Tensor, **_: object) -> tuple[Tensor]:
        return (right_velocity(target, hidden_states, timestep[:, None, None, None, None] / 1000),)

    monkeypatch.setattr(pipeline.transformer, "forward", forward)
    latents = pipeline(
        "a cat", num_inference_steps=4, guidance_scale=1.0, output_type="latent", **CALL
    ).frames
    torch.testing.assert_close(latents[0], target, atol=1e-3, rtol=1e-3)

    clip = pipeline("a cat", num_inference_steps=4, guidance_scale=1.0, output_type="np", **CALL).frames[0]
    config = pipeline.vae.config
    mean, deviation = (
        torch.tensor(v)[:, None, None, None] for v in (config.latents_mean, config.latents_std)
    )
    with torch.no_grad():
        decoded = pipeline.vae.decode((target * deviation + mean)[None]).sample[0]
    np.testing.assert_allclose(clip, (decoded / 2 + 0.5).clamp(0, 1).permute(1, 2, 3, 0).numpy(), atol=1e-3)


def test_a_picture_is_the_first_frame_at_noise_level_0(
    pipeline: WanPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline that animates a picture asks the transformer what the loss with `first_frame` asks."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None, :, None] / 127.5 - 1
    with torch.no_grad():
        given = encode_clips(pipeline.vae, pixels)[0]
    rest = torch.randn(LATENT_CHANNELS, LATENT_SHAPE[1] - 1, 8, 8, generator=torch.Generator().manual_seed(4))
    target = torch.cat((given, rest), dim=1)
    seen: list[Tensor] = []

    def forward(hidden_states: Tensor, timestep: Tensor, **_: object) -> tuple[Tensor]:
        seen.append(timestep)
        torch.testing.assert_close(hidden_states[0, :, :1], given, atol=1e-4, rtol=1e-4)
        levels = (timestep.reshape(1, LATENT_SHAPE[1], 16)[:, :, 0] / 1000).clamp_min(1e-6)
        return (right_velocity(target, hidden_states, levels[:, None, :, None, None]),)

    monkeypatch.setattr(pipeline.transformer, "forward", forward)
    parts = {name: part for name, part in pipeline.components.items() if name != "transformer_2"}
    animate = WanImageToVideoPipeline(**parts, expand_timesteps=True)
    animate.set_progress_bar_config(disable=True)
    latents = animate(
        picture, "a cat", num_inference_steps=4, guidance_scale=1.0, output_type="latent", **CALL
    ).frames
    torch.testing.assert_close(latents[0], target, atol=1e-3, rtol=1e-3)

    levels = video_parts.frame_levels(seen[0][:, -1] / 1000, LATENT_SHAPE[1], first_frame=True)
    torch.testing.assert_close((1000 * levels).repeat_interleave(16, dim=1), seen[0])


@pytest.mark.parametrize("first_frame", [False, True])
def test_the_loss_of_the_right_velocity_is_zero_and_of_its_opposite_is_not(
    pipeline: WanPipeline, first_frame: bool
) -> None:
    target = torch.randn(LATENT_SHAPE)

    def velocity(noisy: Tensor, sigmas: Tensor, captions: Tensor) -> Tensor:
        levels = sigmas if sigmas.ndim == 2 else sigmas[:, None]
        return right_velocity(target, noisy, levels[:, None, :, None, None].clamp_min(1e-6))

    def loss(velocity: video_parts.Velocity) -> float:
        latents, rng = target.expand(4, -1, -1, -1, -1), torch.Generator().manual_seed(0)
        embeds = torch.zeros(4, 32, 96)
        return float(
            flow_matching_loss(
                pipeline.transformer, latents, embeds, rng, first_frame=first_frame, velocity=velocity
            )
        )

    assert loss(velocity) < 1e-6
    assert loss(lambda *given: -velocity(*given)) > 1.0


def test_equal_levels_by_frame_are_the_same_as_one_level(pipeline: WanPipeline) -> None:
    latents, captions = torch.randn(2, *LATENT_SHAPE), torch.randn(2, 32, 96)
    sigmas = torch.tensor([0.3, 0.8])
    levels = video_parts.frame_levels(sigmas, LATENT_SHAPE[1], first_frame=False)
    with torch.no_grad():
        one = video_parts.video_velocity(pipeline.transformer, latents, sigmas, captions)
        each = video_parts.video_velocity(pipeline.transformer, latents, levels, captions)
    torch.testing.assert_close(one, each, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first_frame", [False, True])
def test_training_lowers_the_loss(first_frame: bool) -> None:
    torch.manual_seed(1)
    transformer = build_video_transformer()
    latents, embeds = torch.randn(1, *LATENT_SHAPE).expand(4, -1, -1, -1, -1), torch.randn(4, 32, 96)
    optimiser = torch.optim.AdamW(transformer.parameters(), lr=2e-3)
    rng = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(25):
        loss = flow_matching_loss(transformer, latents, embeds, rng, first_frame=first_frame)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_it_is_saved_and_loaded_as_any_pipeline(pipeline: WanPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    twice = [
        WanPipeline.from_pretrained(tmp_path, local_files_only=True, use_safetensors=True) for _ in range(2)
    ]
    for loaded in twice:
        loaded.set_progress_bar_config(disable=True)
    clips = [
        pipe(
            "a small red cat",
            num_inference_steps=2,
            guidance_scale=2.0,
            generator=torch.Generator().manual_seed(1),
            output_type="np",
            **CALL,
        ).frames[0]
        for pipe in (*twice, pipeline)
    ]
    assert clips[0].shape == (9, 64, 64, 3)
    np.testing.assert_array_equal(clips[0], clips[1])
    # Against what was never saved not bit for bit: a file's weights lie elsewhere in memory, where other
    # kernels may add them up.
    np.testing.assert_allclose(clips[0], clips[2], atol=1e-5)
