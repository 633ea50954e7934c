"""mini's three, smaller still."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    AutoencoderSAME,
    FlowMatchEulerDiscreteScheduler,
    StableAudio3DiTModel,
    StableAudio3Pipeline,
    WanPipeline,
    WanTransformer3DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.stable_audio_3 import StableAudio3DurationEmbedder
from transformers import (
    Qwen3Config,
    Qwen3Model,
    T5GemmaConfig,
    T5GemmaEncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from .common import VOCABULARY, tokenizer


def z_image() -> ZImagePipeline:
    autoencoder = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=4,
        shift_factor=0.0,
        scaling_factor=1.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder,
        text_encoder=Qwen3Model(
            Qwen3Config(
                vocab_size=VOCABULARY,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=8,
            )
        ),
        tokenizer=tokenizer(template="{{ messages[0]['content'] }}"),
        transformer=ZImageTransformer2DModel(
            in_channels=8,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[4, 6, 6],
            axes_lens=[128, 32, 32],
        ),
    )


def wan_autoencoder(z_dim: int = 16) -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=z_dim,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * z_dim,
        latents_std=[1.0] * z_dim,
    )


def umt5() -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )


def wan_transformer(**other: Any) -> WanTransformer3DModel:
    settings = {"in_channels": 16, "out_channels": 16, **other}
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=16,
        freq_dim=16,
        ffn_dim=16,
        num_layers=1,
        rope_max_seq_len=32,
        **settings,
    )


def wan() -> WanPipeline:
    return WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=umt5(),
        vae=wan_autoencoder(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        transformer=wan_transformer(),
    )


def stable_audio_3() -> StableAudio3Pipeline:
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    return StableAudio3Pipeline(
        vae=AutoencoderSAME(
            audio_channels=1,
            patch_size=16,
            encoder_channels=16,
            encoder_c_mults=(2,),
            encoder_strides=(20,),
            encoder_transformer_depths=(1,),
            latent_dim=8,
            dim_heads=16,
            sampling_rate=16000,
        ),
        text_encoder=T5GemmaEncoderModel(
            T5GemmaConfig(encoder=text, decoder=text, is_encoder_decoder=False, vocab_size=VOCABULARY)
        ),
        tokenizer=tokenizer(max_length=32),
        duration_embedder=StableAudio3DurationEmbedder(output_dim=16, fourier_dim=8, max_val=8.0),
        transformer=StableAudio3DiTModel(
            io_channels=8,
            embed_dim=32,
            depth=1,
            num_heads=2,
            cond_token_dim=16,
            global_cond_dim=16,
            local_add_cond_dim=9,
            timestep_features_dim=16,
            num_memory_tokens=2,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


BUILDERS = {"mini-image": z_image, "mini-video": wan, "mini-audio": stable_audio_3}
ARGUMENTS: dict[str, dict[str, Any]] = {"mini-audio": {"duration": 0.5}}
