"""Tiny versions of the sound generators' pipelines."""

from __future__ import annotations

import string
from typing import Any

import torch
from diffusers import (
    AceStepConditionEncoder,
    AceStepPipeline,
    AceStepTransformer1DModel,
    AudioLDM2Pipeline,
    AudioLDM2UNet2DConditionModel,
    AudioLDMPipeline,
    AutoencoderKL,
    AutoencoderOobleck,
    DDIMScheduler,
    EDMDPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableAudioDiTModel,
    StableAudioPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.audioldm2 import AudioLDM2ProjectionModel
from diffusers.pipelines.stable_audio import StableAudioProjectionModel
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    ClapTextModelWithProjection,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3Config,
    Qwen3Model,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Tokenizer,
)

from .common import VOCABULARY, tokenizer
from .images import t5


def mel_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
    )


def vocoder(model_in_dim: int = 8) -> SpeechT5HifiGan:
    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=model_in_dim,
            sampling_rate=16000,
            upsample_initial_channel=16,
            upsample_rates=[2, 2],
            upsample_kernel_sizes=[4, 4],
            resblock_kernel_sizes=[3, 7],
            resblock_dilation_sizes=[[1, 3, 5], [1, 3, 5]],
            normalize_before=False,
        )
    )


def clap_text_config(vocabulary: int = VOCABULARY) -> ClapTextConfig:
    return ClapTextConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=16,
        max_position_embeddings=514,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )


def schedule() -> DDIMScheduler:
    return DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)


def audio_ldm() -> AudioLDMPipeline:
    return AudioLDMPipeline(
        vae=mel_autoencoder(),
        text_encoder=ClapTextModelWithProjection(clap_text_config()),
        tokenizer=tokenizer(),
        unet=UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=8,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=(8, 16),
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=16,
            class_embeddings_concat=True,
        ),
        scheduler=schedule(),
        vocoder=vocoder(),
    )


def roberta_tokenizer() -> RobertaTokenizer:
    """Letter by letter; the pipeline goes by the class of its tokenizers."""
    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *string.ascii_letters, "."]
    made = RobertaTokenizer(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
    made.model_max_length = 77
    return made


def t5_tokenizer() -> T5Tokenizer:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_letters, "."]
    made = T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0)
    made.model_max_length = 64
    return made


LETTERS = 64


def audio_ldm_2() -> AudioLDM2Pipeline:
    audio = ClapAudioConfig(
        spec_size=64,
        window_size=4,
        num_mel_bins=64,
        intermediate_size=37,
        layer_norm_eps=1e-05,
        depths=[1, 1],
        num_attention_heads=[1, 1],
        num_hidden_layers=2,
        hidden_size=16,
        projection_dim=16,
        patch_size=2,
        patch_stride=2,
        patch_embed_input_channels=4,
    )
    return AudioLDM2Pipeline(
        vae=mel_autoencoder(),
        text_encoder=ClapModel(
            ClapConfig(
                text_config=clap_text_config(LETTERS).to_dict(),
                audio_config=audio.to_dict(),
                projection_dim=16,
            )
        ),
        text_encoder_2=t5(vocabulary=LETTERS),
        projection_model=AudioLDM2ProjectionModel(
            text_encoder_dim=16, text_encoder_1_dim=16, langauge_model_dim=16
        ),
        language_model=GPT2LMHeadModel(
            GPT2Config(
                n_embd=16, n_head=2, n_layer=1, n_ctx=99, n_positions=99, vocab_size=64, max_new_tokens=8
            )
        ),
        tokenizer=roberta_tokenizer(),
        tokenizer_2=t5_tokenizer(),
        feature_extractor=ClapFeatureExtractor(feature_size=64),
        unet=AudioLDM2UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=(16, 16),
            attention_head_dim=4,
        ),
        scheduler=schedule(),
        vocoder=vocoder(),
    )


def stable_audio() -> StableAudioPipeline:
    return StableAudioPipeline(
        vae=AutoencoderOobleck(
            encoder_hidden_size=6,
            downsampling_ratios=[8, 16],
            decoder_channels=4,
            decoder_input_channels=4,
            audio_channels=2,
            channel_multiples=[2, 4],
            sampling_rate=44100,
        ),
        text_encoder=t5(),
        projection_model=StableAudioProjectionModel(
            text_encoder_dim=16, conditioning_dim=16, min_value=0, max_value=512
        ),
        tokenizer=tokenizer(max_length=32),
        transformer=StableAudioDiTModel(
            sample_size=128,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            num_key_value_attention_heads=2,
            out_channels=4,
            cross_attention_dim=16,
            time_proj_dim=8,
            global_states_input_dim=32,
            cross_attention_input_dim=16,
        ),
        # The published one, CosineDPMSolverMultistepScheduler, needs torchsde; this is its quiet sibling.
        scheduler=EDMDPMSolverMultistepScheduler(
            solver_order=2, prediction_type="v_prediction", sigma_data=1.0, sigma_schedule="exponential"
        ),
    )


def ace_step() -> AceStepPipeline:
    made = AceStepPipeline(
        vae=AutoencoderOobleck(
            encoder_hidden_size=6,
            downsampling_ratios=[20, 96],
            decoder_channels=4,
            decoder_input_channels=8,
            audio_channels=2,
            channel_multiples=[1, 2],
            sampling_rate=48000,
        ),
        text_encoder=Qwen3Model(
            Qwen3Config(
                vocab_size=VOCABULARY,
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=8,
            )
        ),
        tokenizer=tokenizer(max_length=512),
        transformer=AceStepTransformer1DModel(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            in_channels=24,
            audio_acoustic_hidden_dim=8,
            sliding_window=16,
            is_turbo=True,
        ),
        condition_encoder=AceStepConditionEncoder(
            hidden_size=16,
            intermediate_size=16,
            text_hidden_dim=16,
            timbre_hidden_dim=8,
            num_lyric_encoder_hidden_layers=1,
            num_timbre_encoder_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
    )
    with torch.no_grad():  # the reference for silence, without which the pipeline refuses to run
        made.condition_encoder.silence_latent.normal_()
    return made


BUILDERS = {
    "audioldm": audio_ldm,
    "audioldm2": audio_ldm_2,
    "stable-audio-open": stable_audio,
    "ace-step-1.5": ace_step,
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "audioldm": {"audio_length_in_s": 0.2},
    "audioldm2": {"audio_length_in_s": 0.2},
    "stable-audio-open": {"audio_end_in_s": 0.2},
    "ace-step-1.5": {"audio_duration": 0.4},
}
