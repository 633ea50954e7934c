"""From a profile to what measures it: the LLM and the encoder, without generators."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modaverse.assembly import LazyMask, TrunkEncoder, load_language, media_limits, pick_device
from modaverse.context import Media
from modaverse.data.calls import calls_of
from modaverse.embeddings import Embeddings
from modaverse.evaluation.measuring import Measurer
from modaverse.generators.weights import fingerprint
from modaverse.interfaces import Encoder, Sampling
from modaverse.metaresponse import Limits, Vocabulary
from modaverse.settings import Profile
from modaverse.toybox.evaluation.answering import Answerer

if TYPE_CHECKING:
    import torch


def open_measurer(profile: Profile, folder: Path, *, constrained: bool, seed: int) -> Measurer:
    """Load the LLM; `folder` is the run's. `constrained` puts the token mask over the answers.

    Raises:
        ModelNotFound, CheckpointError: something of the profile is not there, or cannot be used.
    """
    device = pick_device(profile.device)
    calls = calls_of(profile)
    language = load_language(profile, device, calls=calls.values())
    trunks = TrunkEncoder(profile.encoder, device, media_limits(profile), dim=language.config.embedding_dim)
    encoder = Remembering(trunks)
    vocabulary = Vocabulary.from_tokenizer(language.tokenizer, ends=sorted(language.script.ends))
    answer = profile.answer
    answerer = Answerer(
        language,
        encoder,
        calls,
        folder / "media",
        sampling=Sampling(answer.temperature, answer.top_p, answer.max_new_tokens),
        mask=LazyMask(vocabulary, calls, answer.grammar) if constrained else None,
        grammar=answer.grammar,
        limits=Limits(max_calls=answer.max_calls),
    )
    return Measurer(answerer, encoder, calls, seed=seed)


def weights_of(profile: Profile, *, constrained: bool, seed: int) -> str:
    """Changes with everything that answers depend on beside the case."""
    folders = [profile.llm.path, profile.llm.adapter, profile.encoder.path]
    files = [fingerprint(path if path.is_dir() else path.parent) for path in folders if path is not None]
    spelled = [profile.llm.model_dump_json(exclude={"path", "adapter"}), profile.answer.model_dump_json()]
    spelled += [",".join(profile.generators.cards), str(constrained), str(seed)]
    return hashlib.sha256("\0".join(files + spelled).encode()).hexdigest()[:16]


class Remembering:
    """An encoder that is asked once for each medium and text of late."""

    def __init__(self, encoder: Encoder) -> None:
        self.dim = encoder.dim
        self._known = Embeddings(encoder)

    def encode(self, media: Sequence[Media]) -> torch.Tensor:
        import torch

        return torch.stack(self._known.media(media)) if media else torch.zeros(0, self.dim)

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        import torch

        return torch.stack(self._known.texts(texts)) if texts else torch.zeros(0, self.dim)
