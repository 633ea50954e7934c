"""The encoder of the system: media in, ImageBind embeddings out.

Legend: n media, v views of one medium (its clips × crops), d width of the shared space.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from modaverse.context import Media, Modality
from modaverse.errors import CheckpointError, InputError, ModelNotFound, SettingsError, StorageError
from modaverse.imagebind.audio import audio_tensor
from modaverse.imagebind.config import ImageBindConfig
from modaverse.imagebind.network import ImageBind
from modaverse.imagebind.tokenizer import CONTEXT_LENGTH, clip_tokenizer
from modaverse.imagebind.vision import image_tensor, video_tensor
from modaverse.interfaces import Decoded, Frames, Pixels
from modaverse.media import MediaLimits, decode

Tokenizer = Callable[[Sequence[str]], Tensor]
"""Texts to (n, s) token ids, s ≤ the configuration's context length."""

_CONFIG, _WEIGHTS, _PUBLISHED = "config.json", "model.safetensors", "imagebind_huge.pth"

# Media of one kind share a batch; pictures and films have different shapes, although one trunk reads them.
_TRUNKS = {Modality.IMAGE: "vision", Modality.VIDEO: "vision", Modality.AUDIO: "audio"}


class ImageBindEncoder:
    """Embeds media and text with an `ImageBind`; implements `modaverse.interfaces.Encoder`.

    The embeddings come without gradient, from the net in evaluation mode whatever mode it is in, and as the
    network scales them: the norm is 1 for pictures, about 1 for video, about 20 for the published audio.

    Args:
        net: the network; its configuration decides how media are prepared.
        tokenizer: for `encode_text`; CLIP's, where the net's vocabulary is CLIP's.
        limits: what decoding a file may cost.
        views_per_batch: how many views go through the network at once, which bounds memory.
    """

    def __init__(
        self,
        net: ImageBind,
        *,
        tokenizer: Tokenizer | None = None,
        limits: MediaLimits | None = None,
        views_per_batch: int = 32,
    ) -> None:
        if views_per_batch < 1:
            raise SettingsError(f"views_per_batch is {views_per_batch}", hint="It must be at least 1.")
        self.net = net
        self.config = net.config
        self.limits = limits or MediaLimits()
        self.views_per_batch = views_per_batch
        self._tokenizer = tokenizer

    @property
    def dim(self) -> int:
        return self.config.out_embed_dim

    # ------------------------------------------------------------------------------------ encoding

    def encode(self, media: Sequence[Media]) -> Tensor:
        """Embeddings of files, in order: (n, d) float32.

        Raises:
            MediaError: a file cannot be decoded.
            InputError: the net does not hold the trunk for a medium.
        """
        # Each file is decoded and shrunk before the next is opened: only one is held at full size.
        return self._encode(
            (item.modality, self._views(item.modality, decode(item, self.limits))) for item in media
        )

    def encode_decoded(self, decoded: Iterable[Decoded]) -> Tensor:
        """Embeddings of media that are in memory already, as generators give them: (n, d) float32.

        Raises:
            MediaError: a shape or type that cannot be encoded.
            InputError: the net does not hold the trunk for a medium.
        """
        return self._encode((item.modality, self._views(item.modality, item)) for item in decoded)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of texts, in order: (n, d) float32.

        Raises:
            InputError: the net holds no text trunk.
            SettingsError: there is no tokenizer for the net's vocabulary.
        """
        self._require("text")
        if not texts:
            return torch.zeros(0, self.dim)
        ids = self._text_ids(texts)
        return torch.cat([self._run("text", part) for part in torch.split(ids, self.views_per_batch)])

    def _views(self, modality: Modality, decoded: Decoded) -> Tensor:
        """(v, …): what the trunk reads of one medium."""
        self._require(_TRUNKS[modality])
        if isinstance(decoded, Pixels):
            return image_tensor(decoded, self.config).unsqueeze(0)
        if isinstance(decoded, Frames):
            # A clip axis of one tells a film from clips of pictures.
            return video_tensor(decoded, self.config).unsqueeze(1)
        return audio_tensor(decoded, self.config)

    def _encode(self, media: Iterable[tuple[Modality, Tensor]]) -> Tensor:
        """Views of each medium, as they come, to (n, d); at most a batch of each kind waits at a time."""
        done: dict[int, Tensor] = {}
        waiting: dict[Modality, dict[int, Tensor]] = {}
        for index, (modality, views) in enumerate(media):
            batch = waiting.setdefault(modality, {})
            batch[index] = views
            if sum(map(len, batch.values())) >= self.views_per_batch:
                done |= self._encode_batch(modality, waiting.pop(modality))
        for modality, batch in waiting.items():
            done |= self._encode_batch(modality, batch)
        return torch.stack([done[index] for index in sorted(done)]) if done else torch.zeros(0, self.dim)

    def _encode_batch(self, modality: Modality, batch: dict[int, Tensor]) -> dict[int, Tensor]:
        """Views (v, …) by index, all of one kind, to the mean embedding (d,) of each."""
        parts = torch.split(torch.cat(list(batch.values())), self.views_per_batch)
        embedded = torch.cat([self._run(_TRUNKS[modality], part) for part in parts])
        per_medium = torch.split(embedded, [len(views) for views in batch.values()])
        return {index: rows.mean(dim=0) for index, rows in zip(batch, per_medium, strict=True)}

    @torch.no_grad()
    def _run(self, modality: str, batch: Tensor) -> Tensor:
        parameter = next(self.net.parameters())
        dtype = parameter.dtype if batch.is_floating_point() else batch.dtype
        training = self.net.training
        self.net.eval()
        try:
            embedded: Tensor = self.net({modality: batch.to(parameter.device, dtype)})[modality]
            return embedded.float()
        finally:
            self.net.train(training)

    def _require(self, modality: str) -> None:
        if modality not in self.net.modalities:
            raise InputError(
                f"this encoder was loaded without its {modality} trunk",
                hint=f"Name it in `modalities`; it holds {', '.join(self.net.modalities)}.",
            )

    def _text_ids(self, texts: Sequence[str]) -> Tensor:
        if self._tokenizer is not None:
            return self._tokenizer(texts)[:, : self.config.text_context_length]
        clip = clip_tokenizer()
        if (self.config.text_vocab_size, self.config.text_context_length) != (
            clip.vocab_size,
            CONTEXT_LENGTH,
        ):
            raise SettingsError(
                f"no tokenizer was given for a vocabulary of {self.config.text_vocab_size}",
                hint="Pass `tokenizer=`; only the published vocabulary has one built in.",
            )
        return clip(texts)

    # ------------------------------------------------------------------------------------- storage

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        *,
        modalities: Iterable[str] | None = None,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        tokenizer: Tokenizer | None = None,
        limits: MediaLimits | None = None,
    ) -> ImageBindEncoder:
        """An encoder from what `save_pretrained` wrote, or from the published weights.

        Args:
            directory: a folder with `config.json` and `model.safetensors`, a folder with
                `imagebind_huge.pth`, or a file of weights.
            modalities: the trunks to load (vision, text, audio, …); all that the weights hold by default.
            dtype: of the weights in memory.

        Raises:
            ModelNotFound: nothing lies there.
            CheckpointError: the files are damaged or of another architecture.
        """
        directory = Path(directory)
        path = directory
        config = None
        if directory.is_dir():
            path = next((p for p in (directory / _WEIGHTS, directory / _PUBLISHED) if p.is_file()), path)
            if path is directory:
                raise ModelNotFound(
                    f"there is no {_WEIGHTS} in {directory}", hint=f"A published {_PUBLISHED} there would do."
                )
            if (directory / _CONFIG).is_file():
                config = _read_config(directory / _CONFIG)
        net = ImageBind.from_checkpoint(
            path, config=config, modalities=modalities, dtype=dtype, device=device
        )
        net.requires_grad_(False)
        return cls(net, tokenizer=tokenizer, limits=limits)

    def save_pretrained(self, directory: str | Path) -> None:
        """Writes `config.json` and `model.safetensors` (half precision), each whole or not at all.

        Raises:
            StorageError: the folder cannot be written.
        """
        directory = Path(directory)
        text = json.dumps(self.config.to_dict(), indent=1) + "\n"
        weights = {name: _compact(value) for name, value in self.net.state_dict().items()}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _write_whole(directory / _WEIGHTS, lambda path: save_file(weights, path, {"format": "pt"}))
            _write_whole(directory / _CONFIG, lambda path: path.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise StorageError(
                f"{directory} cannot be written: {error.strerror or error}",
                hint="Check the free space and the permissions.",
            ) from error


def _compact(value: Tensor) -> Tensor:
    """Half precision, except for what it cannot hold well: single numbers (log scales) and large values."""
    value = value.detach().cpu().contiguous()
    if value.ndim == 0 or not value.is_floating_point():
        return value.clone()
    half = value.half()
    return half if torch.equal(half.isfinite(), value.isfinite()) else value.clone()


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read_config(path: Path) -> ImageBindConfig:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", hint="Get the folder again.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is no JSON object", hint="Get the folder again.")
    try:
        return ImageBindConfig.from_dict(values)
    except SettingsError as error:
        raise CheckpointError(f"{path}: {error.message}", hint=error.hint) from error
