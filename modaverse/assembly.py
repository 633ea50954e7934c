"""From a profile to an orchestrator: which class of each protocol runs, and where its files lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modaverse.context import Media, Modality
from modaverse.errors import CheckpointError, ModelNotFound, SettingsError
from modaverse.generation import GeneratorPool
from modaverse.interfaces import CallSpec, Generator, Matcher, Place, Pool
from modaverse.media import MediaLimits
from modaverse.metaresponse import Catalogue, Limits, TokenMask, Vocabulary
from modaverse.orchestrator import Orchestrator
from modaverse.settings import EncoderSettings, Profile

if TYPE_CHECKING:
    import torch

    from modaverse.imagebind.encoder import ImageBindEncoder, Tokenizer
    from modaverse.language.model import MultimodalLM


def assemble(profile: Profile, folder: Path, pool: Pool | None = None) -> Orchestrator:
    """Load the LLM of `profile`, and make ready what is loaded when it is needed. Media go to `folder`.
    `pool` stands in for the profile's generators, which need not be on this machine then.

    Raises:
        ModelNotFound: files of a model are not there; CheckpointError: they cannot be used.
        SettingsError: the parts do not fit each other.
    """
    device = pick_device(profile.device)
    limits = media_limits(profile)
    # Generators come first: a card or weights that are missing are found before anything large is loaded.
    pool = pool or open_pool(profile, folder)
    language = load_language(profile, device, calls=pool.catalogue.values())
    vocabulary = Vocabulary.from_tokenizer(language.tokenizer, ends=sorted(language.script.ends))
    return Orchestrator(
        language,
        TrunkEncoder(profile.encoder, device, limits, dim=language.config.embedding_dim),
        pool,
        vocabulary=vocabulary,
        mask=LazyMask(vocabulary, Catalogue(pool.catalogue.values()), profile.answer.grammar),
        grammar=profile.answer.grammar,
        limits=Limits(max_calls=profile.answer.max_calls),
    )


def open_pool(profile: Profile, folder: Path) -> GeneratorPool:
    """The profile's generators, which are loaded when they are called. What they make goes to `folder`.

    Raises:
        ModelNotFound: weights are not on this machine.
        SettingsError: there is no such card, or a number makes no sense.
    """
    settings = profile.generators
    return GeneratorPool(
        open_generators(profile, pick_device(profile.device)),
        folder,
        memory_budget=_bytes(settings.memory_gb),
        parking=_bytes(settings.parking_gb),
        workers=settings.workers,
        batch=settings.batch,
        deadline=settings.deadline,
        cache=settings.cache,
    )


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else round(gigabytes * 1e9)


def load_language(
    profile: Profile, device: torch.device, *, merge: bool = True, calls: Iterable[CallSpec] = ()
) -> MultimodalLM:
    """The LLM with its adapter. `merge` folds the adapter in, which decodes faster, unless the LLM is
    quantised. An LLM without an adapter is told of `calls` in its system prompt.

    Raises:
        ModelNotFound, CheckpointError, SettingsError: see `MultimodalLM.from_pretrained`, `load_instruct`.
    """
    import torch

    from modaverse.language.instruct import load_instruct
    from modaverse.language.model import MultimodalLM

    settings = profile.llm
    automatic = "float32" if device.type == "cpu" else "bfloat16"
    dtype: torch.dtype = getattr(torch, automatic if settings.dtype == "auto" else settings.dtype)
    # What is quantised is so while it is loaded, on the device where it stays.
    device_map = settings.device_map or ({"": str(device)} if settings.quantized else None)
    if settings.adapter is None:
        model = load_instruct(
            settings.place,
            calls,
            grammar=profile.answer.grammar,
            revision=settings.revision,
            dtype=dtype,
            quantized=settings.quantized,
            device_map=device_map,
        )
    else:
        model = MultimodalLM.from_pretrained(
            settings.place,
            settings.adapter,
            revision=settings.revision,
            dtype=dtype,
            merge=merge and settings.quantized is None,
            quantized=settings.quantized,
            device_map=device_map,
        )
    return model.place(device if device_map is None else None)


def open_generators(profile: Profile, device: torch.device) -> list[Generator]:
    """A generator for each call of the profile's cards and plug-ins; no weights are loaded.

    Raises:
        SettingsError: there is no such card; ModelNotFound: its weights are not on this machine.
    """
    from modaverse.generators.opening import open_generators as open_one

    settings = profile.generators
    place = Place(str(device), settings.root, settings.precision)
    return [generator for name in settings.cards for generator in open_one(name, place)]


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is the first GPU, or else the CPU.

    Raises:
        SettingsError: there is no such device here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"{name!r} is no device", hint="Say auto, cpu, cuda or cuda:1.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"this machine has no {name}", hint="Set device to auto or cpu.")
    return device


def media_limits(profile: Profile) -> MediaLimits:
    """What a single file may cost."""
    media = profile.media
    return MediaLimits(media.max_bytes, media.max_pixels, media.max_frames, media.max_seconds)


class TrunkEncoder:
    """An ImageBind of which each trunk is loaded when the first medium of its kind comes; implements
    `interfaces.Encoder`.

    Args:
        dim: the width that the projectors expect; 0 where there are none, and any will do.
    """

    def __init__(
        self, settings: EncoderSettings, device: torch.device, limits: MediaLimits, *, dim: int
    ) -> None:
        self.dim = dim
        self._settings, self._device, self._limits = settings, device, limits
        self._trunks: dict[str, ImageBindEncoder] = {}

    def encode(self, media: Sequence[Media]) -> torch.Tensor:
        """Embeddings of files, in order: (n, dim) float32.

        Raises:
            MediaError: a file cannot be decoded.
            ModelNotFound, CheckpointError: the weights cannot be used.
        """
        import torch

        rows: dict[int, torch.Tensor] = {}
        kinds = {
            index: "audio" if m.modality is Modality.AUDIO else "vision" for index, m in enumerate(media)
        }
        for kind in dict.fromkeys(kinds.values()):
            places = [index for index, own in kinds.items() if own == kind]
            embeddings = self.trunk(kind).encode([media[index] for index in places])
            rows.update(zip(places, embeddings.float().cpu(), strict=True))
        return torch.stack([rows[index] for index in range(len(media))]) if rows else torch.zeros(0, self.dim)

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of texts, in order: (n, dim) float32.

        Raises:
            CheckpointError: the weights hold no text side.
            ModelNotFound: they, or its tokenizer, are not there.
            SettingsError: its vocabulary is not CLIP's, and the profile names no tokenizer.
        """
        return self.trunk("text").encode_text(texts).float().cpu()

    def trunk(self, name: str) -> ImageBindEncoder:
        """The encoder that holds the trunk `name` alone, loaded."""
        import torch

        from modaverse.imagebind.encoder import ImageBindEncoder

        if name not in self._trunks:
            encoder = ImageBindEncoder.from_pretrained(
                self._settings.path,
                modalities=[name],
                dtype=getattr(torch, self._settings.dtype),
                device=self._device,
                tokenizer=text_tokenizer(self._settings.tokenizer) if name == "text" else None,
                limits=self._limits,
            )
            if encoder.dim != (self.dim or encoder.dim):
                raise CheckpointError(
                    f"The encoder in {self._settings.path} gives embeddings of width {encoder.dim}, "
                    f"and the projectors take {self.dim}",
                    hint="Use the encoder that the adapter was trained with.",
                )
            self._trunks[name] = encoder
        return self._trunks[name]


def text_tokenizer(folder: Path | None) -> Tokenizer | None:
    """What turns texts into ids (n, s), padded behind, with the tokenizer in `folder`; None without one.

    Raises:
        ModelNotFound: none lies there.
        SettingsError: it cannot pad.
    """
    if folder is None:
        return None
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelNotFound(
            f"no tokenizer lies in {folder}", hint="Correct encoder.tokenizer of the profile."
        ) from error
    if tokenizer.pad_token is None:
        raise SettingsError(
            f"the tokenizer in {folder} has no token to pad with",
            hint="Correct encoder.tokenizer of the profile: it is the one that the encoder was trained with.",
        )

    def ids(texts: Sequence[str]) -> torch.Tensor:
        padded = tokenizer(list(texts), add_special_tokens=False, padding=True, return_tensors="pt")
        return padded["input_ids"]  # type: ignore[no-any-return]

    return ids


class LazyMask:
    """The token mask, compiled when the first answer is constrained; implements `interfaces.Mask`."""

    def __init__(self, vocabulary: Vocabulary, catalogue: Catalogue, grammar: str) -> None:
        self._vocabulary, self._catalogue, self._grammar = vocabulary, catalogue, grammar
        self._mask: TokenMask | None = None

    def start(self, sources: Mapping[int, Modality], tokens_left: int, *, calls_left: int) -> Matcher:
        return self._compiled.start(sources, tokens_left, calls_left=calls_left)

    def allow(self, matchers: Sequence[Any], logits: torch.Tensor) -> torch.Tensor:
        return self._compiled.allow(matchers, logits)

    @property
    def _compiled(self) -> TokenMask:
        if self._mask is None:
            self._mask = TokenMask.compile(self._vocabulary, self._catalogue, grammar=self._grammar)
        return self._mask
