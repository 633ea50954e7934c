"""What media and texts are to the encoder: each is encoded once, whoever asks for it how often."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, TypeVar

from modaverse.context import Media
from modaverse.interfaces import Encoder

if TYPE_CHECKING:
    import torch

_REMEMBERED = 256  # of each kind, a few kilobytes each

T = TypeVar("T")


class Embeddings:
    """The embeddings of one encoder, which is used by one thread at a time."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        self._media: OrderedDict[Hashable, torch.Tensor] = OrderedDict()
        self._texts: OrderedDict[Hashable, torch.Tensor] = OrderedDict()

    def media(self, media: Sequence[Media]) -> list[torch.Tensor]:
        """The embedding (dim,) of each medium.

        Raises:
            MediaError: one cannot be decoded.
        """
        return self._known(media, lambda medium: medium.sha256, self._encoder.encode, self._media)

    def texts(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """The embedding (dim,) of each text.

        Raises:
            InputError: the encoder reads no text.
        """
        return self._known(texts, str, self._encoder.encode_text, self._texts)

    def agreement(self, media: Sequence[Media], text: str) -> list[float]:
        """The cosine between each medium and `text`."""
        import torch

        wanted = self.texts([text])[0]
        return [float(torch.cosine_similarity(each, wanted, dim=0)) for each in self.media(media)]

    def _known(
        self,
        items: Sequence[T],
        key: Callable[[T], Hashable],
        encode: Callable[[Sequence[T]], torch.Tensor],
        store: OrderedDict[Hashable, torch.Tensor],
    ) -> list[torch.Tensor]:
        with self._lock:
            new = {key(item): item for item in items if key(item) not in store}
            known = {key(item): store[key(item)] for item in items if key(item) not in new}
            if new:
                known.update(zip(new, encode(list(new.values())), strict=True))
            for each, embedding in known.items():
                store[each] = embedding
                store.move_to_end(each)
            while len(store) > _REMEMBERED:
                store.popitem(last=False)
            return [known[key(item)] for item in items]
