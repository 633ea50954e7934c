"""mini's picture generator is an ordinary Z-Image, and its loss inverts how the pipeline samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ZImageImg2ImgPipeline, ZImagePipeline
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from modaverse.toybox.recipes import image_parts
from modaverse.toybox.recipes.image_parts import (
    Starts,
    assemble_image_pipeline,
    build_image_autoencoder,
    build_image_text_encoder,
    build_image_transformer,
    encode_captions,
    encode_pictures,
    flow_matching_loss,
    image_velocity,
    set_latent_scale,
)

CAPTIONS = ["a small red cat on a beach", "a large blue car at night", "bird", ""]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", "<end>", *words])}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", unk_token="<unk>", eos_token="<end>"
    )


@pytest.fixture(scope="module")
def pipeline(tokenizer: PreTrainedTokenizerFast) -> ZImagePipeline:
    torch.manual_seed(0)
    autoencoder = build_image_autoencoder().eval()
    set_latent_scale(autoencoder, torch.randn(4, 8, 16, 16) * 3 + 0.5)
    made = assemble_image_pipeline(
        autoencoder,
        build_image_transformer().eval(),
        build_image_text_encoder(tokenizer).eval(),
        tokenizer,
        shift=1.5,
    )
    made.set_progress_bar_config(disable=True)
    return made


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_stay_within_what_mini_may_weigh(pipeline: ZImagePipeline) -> None:
    assert parameters(pipeline.vae) <= 0.9e6
    assert parameters(pipeline.transformer) <= 5.0e6
    words = 3072 * pipeline.text_encoder.config.hidden_size
    assert parameters(pipeline.text_encoder) + words <= 0.5e6


def test_latents_are_those_that_the_pipeline_decodes(pipeline: ZImagePipeline) -> None:
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        latents = encode_pictures(pipeline.vae, pictures)
        assert latents.shape == (2, 8, 16, 16)
        raw = latents / pipeline.vae.config.scaling_factor + pipeline.vae.config.shift_factor
        torch.testing.assert_close(raw, pipeline.vae.encode(pictures).latent_dist.mode())


def test_scaling_gives_latents_of_mean_0_and_deviation_1() -> None:
    autoencoder = build_image_autoencoder()
    raw = torch.randn(8, 8, 16, 16) * 3 + 0.5
    set_latent_scale(autoencoder, raw)
    scaled = (raw - autoencoder.config.shift_factor) * autoencoder.config.scaling_factor
    assert abs(float(scaled.mean())) < 1e-4
    assert abs(float(scaled.std()) - 1) < 1e-4


def test_captions_are_encoded_as_the_pipeline_does(
    pipeline: ZImagePipeline, tokenizer: PreTrainedTokenizerFast
) -> None:
    with torch.no_grad():
        embeds, mask = encode_captions(pipeline.text_encoder, tokenizer, CAPTIONS)
        expected, _ = pipeline.encode_prompt(
            list(CAPTIONS), do_classifier_free_guidance=False, max_sequence_length=32
        )
    for mine, real, theirs in zip(embeds, mask, expected, strict=True):
        torch.testing.assert_close(mine[real], theirs)


@pytest.mark.parametrize("grad", [False, True])
def test_the_batched_forward_is_the_class_s_own(pipeline: ZImagePipeline, grad: bool) -> None:
    transformer = pipeline.transformer
    for parameter in transformer.parameters():  # norms and gates away from their simple starting values
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    latents, sigmas = torch.randn(3, 8, 16, 16), torch.tensor([0.1, 0.6, 1.0])
    lengths = [5, 32, 17]
    captions = torch.randn(3, 32, 96)
    mask = torch.arange(32) < torch.tensor(lengths)[:, None]
    listed = [caption[:length] for caption, length in zip(captions, lengths, strict=True)]
    with torch.set_grad_enabled(grad):
        mine = image_velocity(transformer, latents, sigmas, captions, mask)
        theirs = transformer(list(latents[:, :, None]), 1 - sigmas, listed, return_dict=False)[0]
        expected = torch.stack(theirs)[:, :, 0]
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)
    if grad:
        weights = [p for p in transformer.parameters() if p is not transformer.x_pad_token]
        for ours, other in zip(
            torch.autograd.grad(mine.square().mean(), weights),
            torch.autograd.grad(expected.square().mean(), weights),
            strict=True,
        ):
            torch.testing.assert_close(ours, other, atol=1e-6, rtol=1e-3)


def right_velocity(target: Tensor, latents: Tensor, sigmas: Tensor) -> Tensor:
    """latent - noise, where the latent can only be `target`: noise = (x - (1 - σ)·target) / σ."""
    return (target - latents) / sigmas[:, None, None, None]


def test_sampling_lands_on_the_target_of_the_right_velocity(
    pipeline: ZImagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = torch.randn(8, 16, 16, generator=torch.Generator().manual_seed(3))

    def forward(latents: list[Tensor], time: Tensor, *_: object, **__: object) -> tuple[list[Tensor]]:
        x = torch.stack(latents)[:, :, 0]
        return (list(right_velocity(target, x, 1 - time)[:, :, None]),)

    monkeypatch.setattr(pipeline.transformer, "forward", forward)
    arguments = {"width": 64, "height": 64, "num_inference_steps": 4, "guidance_scale": 0.0}
    latents = pipeline("a cat", output_type="latent", max_sequence_length=32, **arguments).images
    torch.testing.assert_close(latents[0], target, atol=1e-4, rtol=1e-4)

    picture = pipeline("a cat", output_type="np", max_sequence_length=32, **arguments).images[0]
    vae = pipeline.vae
    with torch.no_grad():
        raw = target[None] / vae.config.scaling_factor + vae.config.shift_factor
        decoded = (vae.decode(raw).sample[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
    np.testing.assert_allclose(picture, decoded.numpy(), atol=1e-4)


def test_the_loss_of_the_right_velocity_is_zero_and_of_its_opposite_is_not(
    pipeline: ZImagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = torch.randn(8, 16, 16)
    latents = target.expand(4, -1, -1, -1)
    sign = 1.0

    def velocity(_: object, noisy: Tensor, sigmas: Tensor, *__: object) -> Tensor:
        return sign * right_velocity(target, noisy, sigmas)

    monkeypatch.setattr(image_parts, "image_velocity", velocity)
    embeds = (torch.zeros(4, 32, 96), torch.ones(4, 32, dtype=torch.bool))
    loss = flow_matching_loss(pipeline.transformer, latents, embeds, torch.Generator().manual_seed(0))
    assert float(loss) < 1e-6
    sign = -1.0
    loss = flow_matching_loss(pipeline.transformer, latents, embeds, torch.Generator().manual_seed(0))
    assert float(loss) > 1.0


def test_an_edit_begins_and_ends_where_the_pipeline_does(
    pipeline: ZImagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss walks the very way that the img2img pipeline walks with the answers that it wants."""
    after, walked = torch.randn(8, 16, 16), []

    def forward(latents: list[Tensor], time: Tensor, *_: object, **__: object) -> tuple[list[Tensor]]:
        x = torch.stack(latents)[:, :, 0]
        walked.append((float(1 - time[0]), x[0]))
        return (list(right_velocity(after, x, 1 - time)[:, :, None]),)

    monkeypatch.setattr(pipeline.transformer, "forward", forward)
    monkeypatch.setattr(pipeline.scheduler, "_shift", 1.0)
    editor = ZImageImg2ImgPipeline(**pipeline.components)
    editor.set_progress_bar_config(disable=True)
    picture = np.random.default_rng(0).random((1, 64, 64, 3)).astype(np.float32)
    made = editor(
        "a cat", image=picture, strength=0.625, num_inference_steps=16, guidance_scale=0.0,
        max_sequence_length=32, generator=torch.Generator().manual_seed(0), output_type="latent",
    ).images  # fmt: skip
    torch.testing.assert_close(made[0], after, atol=1e-4, rtol=1e-4)
    strength, start = walked[0]
    assert strength == pytest.approx(0.625)

    with torch.no_grad():
        before = encode_pictures(pipeline.vae, torch.from_numpy(picture).permute(0, 3, 1, 2) * 2 - 1)
    noise = (start - (1 - strength) * before[0]) / strength  # and a little from the autoencoder's posterior
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    for sigma, x in walked:
        torch.testing.assert_close(x, torch.lerp(after, start, sigma / strength), atol=1e-4, rtol=1e-4)


def test_the_right_velocity_of_edits_has_no_loss_and_depends_on_the_picture_before(
    pipeline: ZImagePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, before = torch.randn(2, 8, 16, 16)
    levels: list[Tensor] = []

    def velocity(_: object, noisy: Tensor, sigmas: Tensor, *__: object) -> Tensor:
        levels.append(sigmas)
        return right_velocity(target, noisy, sigmas)

    monkeypatch.setattr(image_parts, "image_velocity", velocity)
    latents = target.expand(64, -1, -1, -1)
    strengths = torch.tensor([1.0, 0.5]).repeat(32)
    starts = Starts(before.expand(64, -1, -1, -1), strengths)
    embeds = (torch.zeros(64, 32, 96), torch.ones(64, 32, dtype=torch.bool))

    def loss(starts: Starts | None) -> float:
        rng = torch.Generator().manual_seed(0)
        return float(flow_matching_loss(pipeline.transformer, latents, embeds, rng, starts=starts))

    assert loss(starts) < 1e-4
    assert levels[0][strengths == 1].max() > 0.7
    assert levels[0][strengths == 0.5].max() < 0.5
    assert levels[0][strengths == 0.5].max() > 0.45

    monkeypatch.setattr(image_parts, "image_velocity", lambda _, noisy, *__: torch.zeros_like(noisy))
    alone, unchanged = loss(None), loss(Starts(latents, torch.ones(64)))
    assert alone == pytest.approx(unchanged, rel=1e-6)
    assert loss(starts) > 1.2 * alone


def test_the_loss_depends_on_its_generator_alone(pipeline: ZImagePipeline) -> None:
    latents = torch.randn(2, 8, 16, 16)
    embeds = (torch.randn(2, 32, 96), torch.ones(2, 32, dtype=torch.bool))
    with torch.no_grad():
        losses = [
            float(
                flow_matching_loss(pipeline.transformer, latents, embeds, torch.Generator().manual_seed(seed))
            )
            for seed in (5, 5, 6)
        ]
    assert losses[0] == losses[1] != losses[2]


def test_training_lowers_the_loss(pipeline: ZImagePipeline, tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(1)
    transformer = build_image_transformer()
    with torch.no_grad():
        embeds = encode_captions(pipeline.text_encoder, tokenizer, ["a cat"] * 4)
    latents = torch.randn(1, 8, 16, 16).expand(4, -1, -1, -1)
    optimiser = torch.optim.AdamW(transformer.parameters(), lr=2e-3)
    rng = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(15):
        loss = flow_matching_loss(transformer, latents, embeds, rng)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_lengths_that_the_class_would_fill_up_are_refused(pipeline: ZImagePipeline) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        image_velocity(
            pipeline.transformer,
            torch.randn(1, 8, 16, 16),
            torch.ones(1),
            torch.randn(1, 20, 96),
            torch.ones(1, 20, dtype=torch.bool),
        )


def test_it_is_saved_and_loaded_as_any_pipeline(pipeline: ZImagePipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    loaded = ZImagePipeline.from_pretrained(tmp_path, local_files_only=True, use_safetensors=True)
    loaded.set_progress_bar_config(disable=True)
    pictures = [
        pipe(
            "a small red cat",
            width=64,
            height=64,
            num_inference_steps=2,
            guidance_scale=2.0,
            max_sequence_length=32,
            generator=torch.Generator().manual_seed(1),
            output_type="np",
        ).images[0]
        for pipe in (pipeline, loaded)
    ]
    np.testing.assert_array_equal(*pictures)
