"""Tiny versions of the clip generators' pipelines."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    TextToVideoSDPipeline,
    UNet3DConditionModel,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
)
from transformers import CLIPImageProcessorPil, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

from .common import tokenizer
from .images import autoencoder, clip_config, t5
from .mini import umt5, wan_autoencoder, wan_transformer

SMALL = {"width": 64, "height": 64, "num_frames": 9}


def text_to_video() -> TextToVideoSDPipeline:
    return TextToVideoSDPipeline(
        vae=autoencoder(levels=4),
        text_encoder=CLIPTextModel(clip_config()),
        tokenizer=tokenizer(),
        unet=UNet3DConditionModel(
            block_out_channels=(4, 8),
            layers_per_block=1,
            sample_size=32,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=2,
        ),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
    )


def flow_scheduler() -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def wan_2_1() -> WanPipeline:
    return WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=umt5(),
        vae=wan_autoencoder(),
        scheduler=flow_scheduler(),
        transformer=wan_transformer(),
    )


def wan_2_1_image() -> WanImageToVideoPipeline:
    """The kind that reads the picture twice: as channels beside the noise, and through CLIP."""
    return WanImageToVideoPipeline(
        tokenizer=tokenizer(),
        text_encoder=umt5(),
        vae=wan_autoencoder(),
        scheduler=flow_scheduler(),
        image_encoder=CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=4,
                intermediate_size=8,
                projection_dim=4,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=32,
                patch_size=16,
            )
        ),
        image_processor=CLIPImageProcessorPil(
            crop_size={"height": 32, "width": 32}, size={"shortest_edge": 32}
        ),
        transformer=wan_transformer(in_channels=36, image_dim=4, added_kv_proj_dim=24),
    )


def wan_2_2() -> WanPipeline:
    return WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=umt5(),
        vae=wan_autoencoder(),
        scheduler=flow_scheduler(),
        transformer=wan_transformer(),
        expand_timesteps=True,
    )


def ltx() -> LTXPipeline:
    return LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
            patch_size=1,
            spatial_compression_ratio=8,
            temporal_compression_ratio=8,
        ),
        text_encoder=t5(),
        tokenizer=tokenizer(max_length=128),
        transformer=LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            num_layers=1,
            caption_channels=16,
        ),
    )


def cog_video_x() -> CogVideoXPipeline:
    return CogVideoXPipeline(
        tokenizer=tokenizer(max_length=226),
        text_encoder=t5(),
        vae=AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2
        ),
        transformer=CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=4,
            time_embed_dim=2,
            text_embed_dim=16,
            num_layers=1,
            sample_width=8,
            sample_height=8,
            sample_frames=9,
            max_text_seq_length=32,
        ),
        scheduler=CogVideoXDDIMScheduler(),
    )


BUILDERS = {
    "text-to-video-ms-1.7b": text_to_video,
    "wan2.1-t2v-1.3b": wan_2_1,
    "wan2.1-i2v-14b": wan_2_1_image,
    "wan2.2-ti2v-5b": wan_2_2,
    "ltx-video": ltx,
    "cogvideox-2b": cog_video_x,
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(BUILDERS, SMALL),
    "cogvideox-2b": {**SMALL, "max_sequence_length": 32},
}
