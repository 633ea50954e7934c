"""ImageBind: one embedding space for pictures, video, text, sound, depth, heat and motion.

Girdhar et al., arXiv 2305.05665. Written for the published checkpoint `imagebind_huge`, whose state dict
loads key for key. The published *weights* are for non-commercial use (CC BY-NC-SA 4.0); this code is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modaverse.errors import CheckpointError, InputError, SettingsError
from modaverse.imagebind.checkpoint import open_checkpoint
from modaverse.imagebind.config import MODALITIES, ImageBindConfig
from modaverse.imagebind.layers import EPS, Trunk
from modaverse.imagebind.stems import MotionTokens, PictureTokens, TextTokens

# Axes of one input without a clip axis. A vision input of five axes is pictures on a clip axis, of six video.
_AXES = {"vision": 4, "text": 2, "audio": 4, "depth": 4, "thermal": 4, "imu": 3}


class Scale(nn.Module):
    """Multiplies by exp(log scale), at most `maximum`. The logarithm is learned, or a constant buffer."""

    log_logit_scale: Tensor

    def __init__(self, start: float, maximum: float, *, learned: bool) -> None:
        super().__init__()
        self.maximum = maximum
        log_scale = torch.tensor(math.log(start))
        if learned:
            self.log_logit_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_logit_scale", log_scale)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.log_logit_scale.exp().clamp(max=self.maximum)


class Normalise(nn.Module):
    """Unit length, in float32 whatever autocast says."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.dtype in (torch.bfloat16, torch.float16)
        return F.normalize(x.float() if half else x, dim=-1)


class TextHead(nn.Module):
    """LayerNorm and a linear layer at the position that stands for the whole sentence."""

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        self.pool, self.pad_id = config.text_pool, config.text_pad_id
        width = config.text_embed_dim
        self.proj = nn.Sequential(
            nn.LayerNorm(width, eps=EPS), nn.Linear(width, config.out_embed_dim, bias=False)
        )

    def position(self, ids: Tensor) -> Tensor:
        """(b, s) ids -> (b,) index of the position where the sentence is read."""
        if self.pool == "highest_id":
            return ids.argmax(dim=-1)
        count = torch.arange(ids.shape[1], device=ids.device)
        return torch.where(ids != self.pad_id, count, 0).amax(dim=-1)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        rows = torch.arange(x.shape[0], device=x.device)
        out: Tensor = self.proj(x[rows, self.position(ids)])
        return out


class ImageBind(nn.Module):
    """All six trunks, or only the `modalities` asked for; nothing is held for the others.

    Everything is trainable as built, except the constant scales; call `requires_grad_(False)` to freeze it.

    Raises:
        SettingsError: an unknown or repeated modality, or none at all.
    """

    def __init__(
        self, config: ImageBindConfig | None = None, *, modalities: Iterable[str] | None = None
    ) -> None:
        super().__init__()
        self.config = config or ImageBindConfig()
        self.modalities = _checked_modalities(modalities)
        self.modality_preprocessors = nn.ModuleDict({name: self._make_stem(name) for name in self.modalities})
        self.modality_trunks = nn.ModuleDict({name: self._make_trunk(name) for name in self.modalities})
        self.modality_heads = nn.ModuleDict({name: self._make_head(name) for name in self.modalities})
        self.modality_postprocessors = nn.ModuleDict(
            {name: self._make_post(name) for name in self.modalities}
        )

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.config.out_embed_dim

    # ------------------------------------------------------------------------------------- parts

    def _make_stem(self, modality: str) -> nn.Module:
        if modality == "text":
            return TextTokens(self.config)
        if modality == "imu":
            return MotionTokens(self.config)
        return PictureTokens(modality, self.config)

    def _make_trunk(self, modality: str) -> nn.Module:
        return Trunk(
            *self.config.trunk(modality),
            extra_bias=modality not in ("vision", "text"),
            norm_first=modality == "vision",
            drop_path=getattr(self.config, f"{modality}_drop_path"),
        )

    def _make_head(self, modality: str) -> nn.Module:
        if modality == "text":
            return TextHead(self.config)
        width = self.config.trunk(modality)[0]
        # The checkpoint counts the choice of the class token as a step of its own; here it is made before the
        # LayerNorm, which spares the norm of all other positions.
        steps: list[nn.Module] = [nn.LayerNorm(width, eps=EPS), nn.Identity()]
        if modality == "imu":
            steps.append(nn.Dropout(self.config.imu_head_dropout))
        return nn.Sequential(*steps, nn.Linear(width, self.config.out_embed_dim, bias=False))

    def _make_post(self, modality: str) -> nn.Module:
        if modality == "vision":
            return nn.Sequential(Normalise())
        start: float = getattr(self.config, f"{modality}_scale")
        return nn.Sequential(Normalise(), Scale(start, self.config.max_scale, learned=modality == "text"))

    # ----------------------------------------------------------------------------------- forward

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings by modality, scaled as published; a clip axis is encoded clip by clip and averaged.

        Legend: b batch, n clips (may be left out), t frames of a clip, d `out_embed_dim`.

        Args:
            inputs: any of vision (b, 3, size, size), (b, n, 3, size, size) or (b, n, 3, t, size, size);
                audio (b, n, 1, mel bins, frames); text (b, s) ids; depth and thermal (b, n, 1, size, size);
                imu (b, n, channels, samples).

        Returns:
            {modality: (b, d)}, float32 under autocast.

        Raises:
            InputError: a modality that is not held, or a wrong shape.
        """
        return {modality: self._embed(modality, value) for modality, value in inputs.items()}

    def _embed(self, modality: str, x: Tensor) -> Tensor:
        if modality not in self.modalities:
            raise InputError(
                f'this ImageBind holds no "{modality}"',
                hint=f"It holds {', '.join(self.modalities)}; name more when it is loaded.",
            )
        axes = _AXES[modality]
        if x.ndim <= axes:
            return self._embed_clips(modality, x)
        b, n = x.shape[:2]
        out = self._embed_clips(modality, x.flatten(0, 1))
        return out.view(b, n, -1).mean(dim=1)

    def _embed_clips(self, modality: str, x: Tensor) -> Tensor:
        tokens = self.modality_preprocessors[modality](x)
        head = self.modality_heads[modality]
        if modality == "text":
            s = x.shape[1]
            mask = cast(TextTokens, self.modality_preprocessors["text"]).mask[:s, :s]
            pooled = head(self.modality_trunks["text"](tokens, mask), x)
        else:
            pooled = head(self.modality_trunks[modality](tokens)[:, 0])
        out: Tensor = self.modality_postprocessors[modality](pooled)
        return out

    # ----------------------------------------------------------------------------------- loading

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As `torch.nn.Module.load_state_dict`; keys of modalities that are not held here are passed over.

        Raises:
            CheckpointError: (strict) a key is missing or unknown, or a shape differs.
        """
        wanted = {key: value for key, value in state_dict.items() if self._concerns(key)}
        try:
            return super().load_state_dict(wanted, strict=strict, assign=assign)
        except RuntimeError as error:
            raise CheckpointError(
                f"these weights are not of this ImageBind: {error}",
                hint="Check that the configuration and the modalities are those of the weights.",
            ) from error

    def _concerns(self, key: str) -> bool:
        """False for a key of a modality that this net does not hold. Unknown keys are faults, so they do."""
        part = key.split(".")
        return len(part) < 2 or part[1] not in MODALITIES or part[1] in self.modalities

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        config: ImageBindConfig | None = None,
        modalities: Iterable[str] | None = None,
        dtype: torch.dtype | None = torch.float32,
        device: str | torch.device = "cpu",
    ) -> ImageBind:
        """A net in eval mode from a `.safetensors` file or the published `imagebind_huge.pth`.

        Only the tensors of the modalities asked for are read (safetensors) or kept (.pth, which torch maps
        into memory with `weights_only=True`); without `modalities`, those that the file holds. Without
        `config`, the one in the file's metadata holds, or else the published one. `dtype` None keeps the
        file's types.

        Raises:
            ModelNotFound: there is no such file.
            CheckpointError: the file is damaged, holds more than tensors, or is of another architecture.
        """
        with open_checkpoint(Path(path)) as weights:
            if config is None:
                config = ImageBindConfig.from_dict(weights.config or {})
            parts = {key.split(".")[1] for key in weights.keys if key.count(".")}
            found = [name for name in MODALITIES if name in parts]
            if modalities is None:
                modalities = found or None
            elif found:
                _check_held(path, _checked_modalities(modalities), found)
            with torch.device("meta"):
                net = cls(config, modalities=modalities)
            state = {key: weights.tensor(key) for key in weights.keys if net._concerns(key)}
            state = {key: value.to(device=device, dtype=dtype or value.dtype) for key, value in state.items()}
            net.load_state_dict(state, assign=True)
        return net.eval()


def _check_held(path: str | Path, asked: Sequence[str], found: Sequence[str]) -> None:
    lacking = [name for name in asked if name not in found]
    if lacking:
        raise CheckpointError(
            f"{path} has no weights for {' and '.join(lacking)}",
            hint=f"It has those for {', '.join(found)}. Take weights that have all that is needed.",
        )


def _checked_modalities(modalities: Iterable[str] | None) -> tuple[str, ...]:
    """The modalities in the published order, so that equal sets give equal nets."""
    if modalities is None:
        return MODALITIES
    asked = (modalities,) if isinstance(modalities, str) else tuple(modalities)
    unknown = [name for name in asked if name not in MODALITIES]
    if unknown or not asked:
        raise SettingsError(
            f"ImageBind has no modality {', '.join(map(repr, unknown))}"
            if unknown
            else "no modality was named",
            hint=f"Choose from {', '.join(MODALITIES)}.",
        )
    return tuple(name for name in MODALITIES if name in asked)
