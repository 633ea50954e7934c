"""mini's sound generator is an ordinary Stable Audio 3, and its loss inverts how the pipelines sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderSAME, StableAudio3AudioToAudioPipeline, StableAudio3Pipeline
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from modaverse.toybox.recipes.audio_attention import use_fast_attention
from modaverse.toybox.recipes.audio_parts import (
    SAMPLES,
    assemble_audio_pipeline,
    audio_velocity,
    autoencoder_loss,
    build_audio_autoencoder,
    build_audio_duration_embedder,
    build_audio_text_encoder,
    build_audio_transformer,
    encode_captions,
    encode_sounds,
    flow_matching_loss,
    set_latent_scale,
)
from modaverse.toybox.recipes.audio_start import start_as_transform_code
from modaverse.toybox.sounds import render_sound
from modaverse.toybox.world import THINGS, SoundScene

CAPTIONS = ["the low slow sound of a bell", "a dog barking fast", "bird", ""]
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", "<end>", "<s>", *words])}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", unk_token="<unk>", eos_token="<end>", bos_token="<s>"
    )


@pytest.fixture(scope="module")
def sounds() -> Tensor:
    """(24, 32000): two renders of each thing."""
    rng = np.random.default_rng(0)
    scenes = [
        SoundScene(t, pitch, pace) for t in THINGS for pitch, pace in (("low", "slow"), ("high", "fast"))
    ]
    return torch.from_numpy(np.stack([render_sound(scene, rng).array[:, 0] for scene in scenes]))


@pytest.fixture(scope="module")
def started(sounds: Tensor) -> AutoencoderSAME:
    torch.manual_seed(0)
    autoencoder = build_audio_autoencoder()
    start_as_transform_code(autoencoder, sounds)
    return autoencoder.eval()


@pytest.fixture(scope="module")
def pipeline(tokenizer: PreTrainedTokenizerFast, started: AutoencoderSAME) -> StableAudio3Pipeline:
    torch.manual_seed(0)
    made = assemble_audio_pipeline(
        started,
        build_audio_transformer().eval(),
        build_audio_text_encoder(tokenizer).eval(),
        build_audio_duration_embedder().eval(),
        tokenizer,
    )
    made.set_progress_bar_config(disable=True)
    return made


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_stay_within_what_mini_may_weigh(pipeline: StableAudio3Pipeline) -> None:
    assert parameters(pipeline.vae) <= 1.7e6
    assert parameters(pipeline.transformer) <= 4.0e6
    words = 3072 * pipeline.text_encoder.config.encoder.hidden_size
    assert parameters(pipeline.text_encoder) + words + parameters(pipeline.duration_embedder) <= 0.8e6


def relative_error(autoencoder: AutoencoderSAME, sounds: Tensor) -> float:
    with torch.no_grad():
        made = autoencoder(sounds[:, None]).sample[:, 0]
    return float((made - sounds).abs().mean() / sounds.abs().mean())


def test_it_starts_as_a_linear_code_of_sounds(started: AutoencoderSAME, sounds: Tensor) -> None:
    """No transform code of that size does much better: 64 principal components of 250 samples leave 0.25."""
    some = sounds[::2]
    assert relative_error(started, some) < 0.5
    torch.manual_seed(0)
    assert relative_error(build_audio_autoencoder(), some[:4]) > 0.95
    with torch.no_grad():
        assert encode_sounds(started, some).std() == pytest.approx(1.0, abs=0.25)


def test_the_start_refuses_what_it_cannot_set(sounds: Tensor) -> None:
    two_levels = AutoencoderSAME(
        audio_channels=1,
        patch_size=25,
        encoder_channels=32,
        encoder_c_mults=[1, 1],
        encoder_strides=[2, 2],
        encoder_transformer_depths=[1, 1],
        latent_dim=4,
    )
    with pytest.raises(ValueError, match="several levels"):
        start_as_transform_code(two_levels, sounds)


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """With no weight at zero, so that every path counts."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return module.eval()


def test_fast_attention_changes_no_number(sounds: Tensor) -> None:
    autoencoder = shaken(build_audio_autoencoder())
    transformer, duration = shaken(build_audio_transformer()), build_audio_duration_embedder()
    mask = torch.arange(32).expand(2, 32) < torch.tensor([[9], [32]])
    inputs = torch.randn(2, 64, 128), torch.tensor([0.2, 0.9]), torch.randn(2, 32, 96), mask

    def answers() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            made = autoencoder(sounds[:2, None, :20_000]).sample
            return made, audio_velocity(transformer, duration, *inputs)

    usual = answers()
    use_fast_attention(autoencoder)
    use_fast_attention(transformer)
    for a, b in zip(usual, answers(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_the_latent_scale_changes_latents_and_not_sounds(sounds: Tensor) -> None:
    torch.manual_seed(0)
    autoencoder = shaken(build_audio_autoencoder())
    with torch.no_grad():
        before = autoencoder(sounds[:4, None]).sample
        for _ in range(2):  # and again, from where it stands
            set_latent_scale(autoencoder, encode_sounds(autoencoder, sounds[:4]))
            latents = encode_sounds(autoencoder, sounds[:4])
            assert latents.mean((0, 2)).abs().max() < 1e-3
            assert latents.std() == pytest.approx(1.0, abs=0.01)
        torch.testing.assert_close(autoencoder(sounds[:4, None]).sample, before, atol=1e-3, rtol=1e-3)


def test_the_autoencoder_learns(sounds: Tensor) -> None:
    torch.manual_seed(0)
    autoencoder = build_audio_autoencoder()
    start_as_transform_code(autoencoder, sounds)
    use_fast_attention(autoencoder)
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=5e-4)
    totals = []
    for step in range(10):
        loss, parts = autoencoder_loss(autoencoder, sounds[step % 4 :: 8])
        assert set(parts) == {"wave", "stft", "mel", "latent"}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert np.mean(totals[-3:]) < 0.95 * np.mean(totals[:3])


def test_silence_has_a_finite_loss_and_gradient(started: AutoencoderSAME) -> None:
    loss, _ = autoencoder_loss(started, torch.zeros(2, SAMPLES))
    started.zero_grad()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in started.parameters() if p.grad is not None)
    started.zero_grad()


class Oracle(torch.nn.Module):
    """A transformer that knows the one latent there is, and answers as the flow's definition says."""

    def __init__(self, latent: Tensor) -> None:
        super().__init__()
        self.latent = latent

    def forward(self, noisy: Tensor, sigma: Tensor, **_: object) -> tuple[Tensor]:
        return ((noisy - self.latent) / sigma[:, None, None],)


def test_the_loss_and_the_pipeline_mean_the_same_flow(
    pipeline: StableAudio3Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent = torch.randn(1, 64, 128)
    oracle = Oracle(latent)
    prompts = torch.zeros(4, 32, 96), torch.ones(4, 32, dtype=torch.bool)
    loss = flow_matching_loss(
        oracle,
        pipeline.duration_embedder,
        latent.expand(4, -1, -1),
        prompts,
        torch.Generator().manual_seed(0),
    )
    assert loss < 1e-8
    monkeypatch.setattr(pipeline.transformer, "forward", oracle.forward)
    made = pipeline("bird", duration=2.0, num_inference_steps=6, output_type="latent").audios
    torch.testing.assert_close(made, latent, atol=1e-4, rtol=1e-4)


def test_captions_are_read_as_the_pipeline_reads_them(pipeline: StableAudio3Pipeline) -> None:
    with torch.no_grad():
        ours, our_mask = encode_captions(pipeline.text_encoder, pipeline.tokenizer, CAPTIONS)
        theirs, their_mask = pipeline.encode_prompt(CAPTIONS, torch.device("cpu"), 1)
    assert ours.shape == (4, 32, 96)
    torch.testing.assert_close(ours[our_mask], theirs[their_mask.bool()])
    assert our_mask.sum(1).tolist() == [8, 5, 2, 1]  # the empty caption is its end


def test_it_is_saved_loaded_and_run(pipeline: StableAudio3Pipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    loaded = StableAudio3Pipeline.from_pretrained(tmp_path, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)

    def run(made: StableAudio3Pipeline, seed: int) -> np.ndarray:
        return made(
            CAPTIONS[0],
            duration=2.0,
            num_inference_steps=3,
            guidance_scale=2.0,
            negative_prompt="",
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
        ).audios

    first = run(loaded, 0)
    assert first.shape == (1, 1, SAMPLES)
    assert np.isfinite(first).all()
    assert np.abs(first).max() <= 1
    np.testing.assert_allclose(first, run(pipeline, 0), atol=1e-5)
    assert np.abs(first - run(loaded, 1)).max() > 1e-3

    editor = StableAudio3AudioToAudioPipeline(**loaded.components)
    editor.set_progress_bar_config(disable=True)
    edited = editor(
        CAPTIONS[1],
        audio=torch.from_numpy(first),
        duration=2.0,
        init_noise_level=0.6,
        num_inference_steps=3,
        output_type="np",
    ).audios
    assert edited.shape == (1, 1, SAMPLES)
