"""The recipe of mini's encoder: ImageBind at a small size, trained on pictures, clips, sounds and captions.

The loss is ImageBind's own, InfoNCE between paired modalities (arXiv 2305.05665, eq. 1), here between each
medium and its caption, so that text binds the three media to each other. Toybox knows the truth, which gives
two helps that a web crawl does not: what means the same is a positive wherever in the batch it stands, and
linear readouts of every attribute from the *normalised* embedding steer it towards what a projector needs.
The readout of the thing is one for all modalities, so that a cat looks like it sounds. Combinations
that training lacks are no wrong answers (`alternatives`): no white rocket is shown, and nothing says that
there is none.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from modaverse.context import Modality
from modaverse.imagebind import ImageBind, ImageBindConfig
from modaverse.imagebind.audio import audio_features
from modaverse.imagebind.encoder import ImageBindEncoder
from modaverse.imagebind.vision import MEAN, STD, clip_frames
from modaverse.toybox.recipes.alternatives import lacking_answers, lacking_pairs
from modaverse.toybox.recipes.encoder_views import Views, draw_views, show_pixels, show_spectra
from modaverse.toybox.recipes.pools import Pool
from modaverse.toybox.recipes.registry import PoolReport
from modaverse.toybox.recipes.renders import TRAIN_SEED, Truth, Unknown, known_pool, unknown_pool
from modaverse.toybox.recipes.trainer import Measures, Recipe, Schedule
from modaverse.toybox.tokenizer import load_tokenizer
from modaverse.toybox.wordings.captions import caption_of
from modaverse.toybox.wordings.wishes import VALUES, Wish, partial_wish
from modaverse.toybox.world import THINGS

FPS = 8.0
UNKNOWN = "unknown"
# Known and unknown media in a batch.
BATCH = {Modality.IMAGE: (38, 10), Modality.VIDEO: (11, 3), Modality.AUDIO: (13, 5)}

READOUTS: Mapping[str, tuple[str, ...]] = {"thing": (*THINGS, UNKNOWN), **VALUES}
UNKNOWN_CAPTIONS = ("something unknown", "nothing I know", "an unknown thing", "something else")


def mini_encoder_config(tokenizer: PreTrainedTokenizerBase) -> ImageBindConfig:
    """64 × 64 pictures in 64 patches, clips as two pairs of frames, two seconds of sound in 96 patches."""
    return ImageBindConfig(
        out_embed_dim=256,
        vision_embed_dim=192,
        vision_num_blocks=6,
        vision_num_heads=4,
        audio_embed_dim=160,
        audio_num_blocks=5,
        audio_num_heads=4,
        text_embed_dim=128,
        text_num_blocks=3,
        text_num_heads=4,
        audio_drop_path=0.0,
        image_size=64,
        vision_patch=8,
        video_clips=2,
        video_clip_seconds=0.625,
        video_crops=1,
        audio_clips=1,
        audio_stride=16,
        text_vocab_size=len(tokenizer),
        text_pad_id=tokenizer.pad_token_id,
        text_context_length=40,
        text_pool="last",
    )


class EncoderTraining(nn.Module):
    """The net, and the readouts that only training has."""

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = ImageBind(config, modalities=("vision", "audio", "text"))
        self.readouts = nn.ModuleDict(
            {q: nn.Linear(config.out_embed_dim, len(a)) for q, a in READOUTS.items()}
        )

    def forward(self, media: Mapping[Modality, Tensor], ids: Tensor) -> tuple[dict[Modality, Tensor], Tensor]:
        """Normalised embeddings of each modality's media, and of the text with its learned scale."""
        embedded = {}
        for modality, x in media.items():
            name = "audio" if modality is Modality.AUDIO else "vision"
            embedded[modality] = F.normalize(self.net({name: x})[name], dim=-1)
        return embedded, self.net({"text": ids})["text"]

    def read(self, question: str, embedding: Tensor) -> Tensor:
        """(b, d) unit embeddings → (b, answers); unit length is too short for a confident softmax."""
        logits: Tensor = self.readouts[question](embedding * 16)
        return logits


# ------------------------------------------------------------------------------------------- recipe


def encoder_recipes(runs: Path, report: PoolReport) -> list[Recipe]:
    tokenizer = load_tokenizer()
    config = mini_encoder_config(tokenizer)
    known = {m: known_pool(m, runs, report) for m in Modality}
    unknown = {m: unknown_pool(m, runs, report) for m in Modality}
    checks: list[tuple[Modality, Pool[Any]]] = [
        *((m, known_pool(m, runs, report, held_out=True)) for m in Modality),
        *((m, unknown_pool(m, runs, report, check=True)) for m in Modality),
    ]

    def batch(step: int) -> dict[Modality, tuple[Tensor, list[Truth], list[Wish | None]]]:
        rng = np.random.default_rng([TRAIN_SEED, step])
        words = random.Random(f"{TRAIN_SEED}:{step}")
        out = {}
        for modality, (some, none) in BATCH.items():
            renders, scenes = known[modality].sample(rng, some)
            others, unknowns = unknown[modality].sample(rng, none)
            truths = [*scenes, *unknowns]
            wishes = [None if isinstance(t, Unknown) else partial_wish(t, words) for t in truths]
            out[modality] = (torch.from_numpy(np.concatenate([renders, others])), truths, wishes)
        return out

    def loss(
        module: nn.Module, data: Mapping[Modality, tuple[Tensor, list[Truth], list[Wish | None]]]
    ) -> tuple[Tensor, Measures]:
        if not isinstance(module, EncoderTraining):
            raise TypeError(f"not the encoder: {type(module)}")
        views = {m: draw_views(m, len(truths)) for m, (_, truths, _) in data.items()}
        with torch.autocast("cpu", enabled=False):  # a spectrum does not survive eight bits
            media = {m: _shown(m, renders, views[m], config) for m, (renders, _, _) in data.items()}
        words = random.Random(int(torch.randint(2**31, ())))
        texts = [_caption(wish, words) for _, _, wishes in data.values() for wish in wishes]
        embedded, text = module(media, token_ids(tokenizer, texts, config))
        parts: dict[str, Tensor] = {}
        start = 0
        for modality, (_, truths, wishes) in data.items():
            rows = text[start : start + len(truths)]
            start += len(truths)
            whole = ~views[modality].altered
            if whole.any():
                fits, lacking = (pairs(truths, wishes)[whole][:, whole] for pairs in (fitting, lacking_pairs))
                parts[f"nce_{modality}"] = info_nce(embedded[modality][whole], rows[whole], fits, lacking)
            hidden = views[modality].hidden
            for question, target in targets(truths).items():
                logits = module.read(question, embedded[modality]).float()
                logits = logits.masked_fill(lacking_answers(question, READOUTS[question], truths), -torch.inf)
                if question in hidden:
                    target = target.masked_fill(hidden[question], -1)
                if (target >= 0).any():
                    parts[f"{modality}_{question}"] = F.cross_entropy(logits, target, ignore_index=-1)
        total = torch.stack(list(parts.values())).sum()  # a loss that is not finite ends the run
        return total, {k: v.item() for k, v in parts.items() if k.startswith("nce") or "thing" in k}

    def export(module: nn.Module, folder: Path) -> None:
        if not isinstance(module, EncoderTraining):
            raise TypeError(f"not the encoder: {type(module)}")
        ImageBindEncoder(module.net).save_pretrained(folder)

    recipe = Recipe(
        name="encoder",
        schedule=Schedule(
            steps=4700, learning_rate=2e-3, warmup=300, weight_decay=0.05, ema=0.998, muon=True
        ),
        build=lambda: EncoderTraining(config),
        batch=batch,
        loss=loss,
        evaluate=lambda module: measure(module, checks, config),
        export=export,
        evaluate_every=500,
    )
    return [recipe]


def _caption(wish: Wish | None, rng: random.Random) -> str:
    return rng.choice(UNKNOWN_CAPTIONS) if wish is None else caption_of(wish, rng)


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], config: ImageBindConfig) -> Tensor:
    """(b, context) ids, padded at the end."""
    ids = torch.full((len(texts), config.text_context_length), config.text_pad_id)
    for row, text in enumerate(texts):
        some = tokenizer(text, add_special_tokens=False)["input_ids"][: config.text_context_length]
        ids[row, : len(some)] = torch.tensor(some)
    return ids


def network_input(modality: Modality, renders: Tensor, config: ImageBindConfig) -> Tensor:
    """Renders as the pools keep them → what the trunk reads.

    uint8 (b, h, w, 3) → (b, 3, s, s); uint8 (b, t, h, w, 3) → (b, clips, 3, frames, s, s); int16 (b, n) →
    (b, 1, 1, mel bins, frames).
    """
    match modality:
        case Modality.IMAGE:
            return _normalised(renders.permute(0, 3, 1, 2))
        case Modality.VIDEO:
            frames = _normalised(renders.permute(0, 1, 4, 2, 3))
            clips = clip_frames(renders.shape[1], FPS, config)
            return torch.stack([frames[:, clip].transpose(1, 2) for clip in clips], 1)
        case Modality.AUDIO:
            return audio_features(renders.float() / 32767, config)[:, None]


def _normalised(channels: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (MEAN, STD))
    return (channels.float() - mean) / std


def _shown(modality: Modality, renders: Tensor, views: Views, config: ImageBindConfig) -> Tensor:
    """What the trunk reads in training: renders as their views show them, roughened."""
    if modality is Modality.AUDIO:
        return _roughen(show_spectra(network_input(modality, renders, config), views))
    return _roughen(network_input(modality, show_pixels(renders, views), config))


def _roughen(x: Tensor) -> Tensor:
    """Noise, contrast and, for every second picture, blur: generated media are never as clean as renders."""
    flat = x.reshape(-1, 1, *x.shape[-2:])
    blurred = F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, 1).view_as(x)
    shape = (len(x),) + (1,) * (x.ndim - 1)
    amount = torch.rand(shape) * (torch.rand(shape) < 0.5) * 0.7
    contrast = 1 + 0.05 * torch.randn(shape)
    return torch.lerp(x, blurred, amount) * contrast + 0.25 * torch.rand(shape) * (torch.rand_like(x) - 0.5)


def fitting(truths: Sequence[Truth], wishes: Sequence[Wish | None]) -> Tensor:
    """(media, captions) bool: which caption is true of which medium; unknown media share theirs."""
    return torch.tensor(
        [
            [w is None if isinstance(t, Unknown) else w is not None and w.fits(t) for w in wishes]
            for t in truths
        ]
    )


def info_nce(media: Tensor, text: Tensor, fits: Tensor, lacking: Tensor) -> Tensor:
    """Symmetric InfoNCE of (b, d) and (b, d), where every pair that fits is a positive one.

    `fits` and `lacking` are (b, b) bool; what is lacking is no negative one either.
    """
    with torch.autocast("cpu", enabled=False):  # a scale of up to 100 leaves bfloat16 no decimals
        logits = (media.float() @ text.float().T).masked_fill(lacking, -1e4)  # finite: 0 · -inf is nan
        goal = fits.float()
        rows = F.cross_entropy(logits, goal / goal.sum(1, keepdim=True))
        columns = F.cross_entropy(logits.T, goal.T / goal.T.sum(1, keepdim=True))
    return 0.5 * (rows + columns)


def targets(truths: Sequence[Truth]) -> dict[str, Tensor]:
    """Index of the right answer for each attribute that these truths have; -1 where one has none."""
    scene = next((truth for truth in truths if not isinstance(truth, Unknown)), None)
    out = {}
    for question in ["thing"] if scene is None else [entry.name for entry in fields(scene)]:
        answers = READOUTS[question]
        unknown = answers.index(UNKNOWN) if question == "thing" else -1
        out[question] = torch.tensor(
            [unknown if isinstance(t, Unknown) else answers.index(getattr(t, question)) for t in truths]
        )
    return out


@torch.inference_mode()
def measure(
    module: nn.Module, checks: Sequence[tuple[Modality, Pool[Any]]], config: ImageBindConfig
) -> Measures:
    """Share of right readouts on fresh renders of held-out scenes, and of "unknown" on unknown media."""
    if not isinstance(module, EncoderTraining):
        raise TypeError(f"not the encoder: {type(module)}")
    right: dict[str, list[bool]] = {}
    for modality, pool in checks:
        for start in range(0, len(pool), 100):
            renders, truths = pool.take(range(start, start + 100))
            trunk = "audio" if modality is Modality.AUDIO else "vision"
            x = network_input(modality, torch.from_numpy(renders), config)
            embedded = F.normalize(module.net({trunk: x})[trunk], dim=-1)
            for question, target in targets(truths).items():
                chosen = module.read(question, embedded).argmax(1)
                pairs = zip(chosen.tolist(), target.tolist(), strict=True)
                name = UNKNOWN if isinstance(truths[0], Unknown) else question
                right.setdefault(f"{modality}_{name}", []).extend(a == b for a, b in pairs)
    return {question: sum(values) / len(values) for question, values in right.items()}
