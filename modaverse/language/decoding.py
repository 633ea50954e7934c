"""A transcript by itself, with the KV cache of the positions that the LLM has read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from modaverse.interfaces import Sampling
from modaverse.language.transcript import GrowingTranscript

if TYPE_CHECKING:
    from transformers import DynamicCache

    from modaverse.language.model import MultimodalLM


class CachedTranscript(GrowingTranscript):
    """Implements `interfaces.Transcript` with a KV cache of its own, for any kind of LLM."""

    def __init__(self, model: MultimodalLM, *, seed: int, sampling: Sampling) -> None:
        super().__init__(model, seed=seed, sampling=sampling)
        self._cache: DynamicCache | None = None

    def logits(self) -> torch.Tensor:
        return self._read_on() + self._model.token_bias

    @torch.inference_mode()
    def _read_on(self) -> torch.Tensor:
        total = len(self._ids)
        if self._read == total:  # after a rewind: the last position must be read once more
            self._crop(total - 1)
        if self._cache is None:
            from transformers import DynamicCache

            self._cache = DynamicCache(config=self._model.core.config)
        inputs = self._inputs(self._read)
        try:
            output = self._model.core(**inputs, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
            self._read = total
        except BaseException:  # also Ctrl-C: some layers have read what others have not
            self._cache, self._read = None, 0
            raise
        return output.logits[0, -1].float()  # type: ignore[no-any-return]

    def _inputs(self, start: int) -> dict[str, torch.Tensor]:
        """Model inputs for the positions from `start` on: ids, or embeddings where media are among them."""
        ids = torch.tensor([self._ids[start:]], device=self._model.device)
        parts = list(self._parts(start, len(self._ids)))
        if not parts:
            return {"input_ids": ids}
        embeddings = self._model.core.get_input_embeddings()(ids.clamp(min=0))
        for place, part in parts:
            embeddings[0, place] = part.to(embeddings.dtype)
        return {"inputs_embeds": embeddings}

    def _crop(self, length: int) -> None:
        """Keep the cache of the first `length` positions. Caches that cannot be cut (sliding windows,
        recurrent states) are dropped, and the LLM reads the transcript again.
        """
        if self._cache is None or self._read <= length:
            return
        try:
            self._cache.crop(length - self._read)
        except (RuntimeError, ValueError, NotImplementedError):
            self._cache, length = None, 0
        self._read = length
