"""The parts of a profile that rows measure, each loaded when it is first needed."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modaverse.assembly import load_language, media_limits, pick_device, text_tokenizer
from modaverse.context import Modality
from modaverse.errors import ModelNotFound, SettingsError
from modaverse.generators.card import Card, load_card
from modaverse.generators.diffusers_adapter import DiffusersGenerator
from modaverse.generators.weights import fingerprint
from modaverse.imagebind import ImageBindEncoder
from modaverse.interfaces import Generator, Sampling
from modaverse.metaresponse import Catalogue, Limits
from modaverse.settings import Profile
from modaverse.toybox.evaluation.answering import Answerer
from modaverse.toybox.evaluation.making import Maker, by_generators
from modaverse.toybox.judge import Judge

if TYPE_CHECKING:
    from modaverse.language.model import MultimodalLM

FOLDERS = ("llm", "adapter", "encoder", "image", "video", "audio", "judge")
"""What may lie elsewhere than the profile says."""


class Parts:
    """A profile, taken apart. Its weights need not all be there: a row says which it needs.

    Args:
        profile: one that knows Toybox. The judge is taken from `judge/` beside its generators' weights.
        folder: of the run; what generators make goes to `media/` in it.
        elsewhere: folders of parts that lie in another place (see `FOLDERS`).

    Raises:
        SettingsError: there is no such part, or a card of the profile is wrong.
    """

    def __init__(
        self, profile: Profile, folder: Path, *, elsewhere: Mapping[str, Path] | None = None
    ) -> None:
        elsewhere = elsewhere or {}
        unknown = sorted(set(elsewhere) - set(FOLDERS))
        if unknown:
            raise SettingsError(
                f"a profile has no part {', '.join(unknown)}", hint=f"It has {', '.join(FOLDERS)}."
            )
        self.profile = _moved(profile, elsewhere)
        self.media = folder / "media"
        root = profile.generators.root or Path()
        self._judge_folder = elsewhere.get("judge", root / "judge")
        self._cards = {call.makes: card for card in _cards(profile) for call in card.calls if not call.source}
        self._folders = {
            modality: elsewhere.get(modality, root / (card.weights.path or card.name))
            for modality, card in self._cards.items()
        }
        self._fingerprints: dict[str, str] = {}
        self._autoencoders: dict[str, Any] = {}

    # ------------------------------------------------------------------------------- what is there

    def _files(self, name: str) -> list[Path]:
        """Files without which a part is not there; what identifies it lies in their folders."""
        llm = self.profile.llm
        match name.partition("-"):
            case "language", _, _:
                base = [llm.path / "config.json"] if llm.path else []
                return [*base, *([llm.adapter / "config.json"] if llm.adapter else [])]
            case "encoder", _, _:
                path = self.profile.encoder.path
                return [path if path.is_file() else path / "model.safetensors"]
            case "judge", _, modality:
                return [self._judge_folder / f"{modality}.safetensors"]
            case "autoencoder", _, modality:
                folder = self._folder(modality)
                # Before its transformer is trained, an autoencoder lies alone.
                alone = not (folder / "vae").is_dir() and (folder / "config.json").is_file()
                return [(folder if alone else folder / "vae") / "config.json"]
            case modality, _, _:
                return [self._folder(modality) / "model_index.json"]

    def _folder(self, modality: str) -> Path:
        """Of what makes a modality.

        Raises:
            SettingsError: the profile has nothing that does.
        """
        if modality not in self._folders:
            raise SettingsError(
                f"nothing in the profile {self.profile.name} makes {modality}",
                hint="Add a generator card to the profile, or choose other rows.",
            )
        folder: Path = self._folders[Modality(modality)]
        return folder

    def missing(self, names: Iterable[str]) -> list[Path]:
        """Files that are not there, of those that the parts named need."""
        return [path for name in names for path in self._files(name) if not path.is_file()]

    def require(self, names: Iterable[str]) -> None:
        """
        Raises:
            ModelNotFound: one of the parts named is not there.
        """
        missing = self.missing(names)
        if missing:
            raise ModelNotFound(
                f"the profile {self.profile.name} is not complete: there is no {missing[0]}",
                hint="Train that part (`modaverse toybox train`), or choose other rows (`--rows`).",
            )

    def fingerprint(self, names: Iterable[str]) -> str:
        """Changes with the files of the parts named."""
        wanted = sorted(set(names))
        for name in wanted:
            if name not in self._fingerprints:
                self._fingerprints[name] = self._digest(name)
        spelled = "".join(f"{name}\0{self._fingerprints[name]}\0" for name in wanted)
        return hashlib.sha256(spelled.encode()).hexdigest()[:16]

    def _digest(self, name: str) -> str:
        """Of everything in the part's folders; of the one file for a network of the judge. The language side
        answers as the profile says, so that belongs to it."""
        files = self._files(name)
        if name.startswith("judge-"):
            return "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
        folders = "".join(fingerprint(file.parent) for file in files)
        if name != "language":
            return folders
        llm, answer = self.profile.llm, self.profile.answer
        return f"{folders}\0{llm.repository}\0{llm.revision}\0{llm.dtype}\0{answer.model_dump_json()}"

    # ------------------------------------------------------------------------------------ the parts

    @cached_property
    def answerer(self) -> Answerer:
        """Answers as the profile does, but for the token mask, which it goes without."""
        return self._answerer(merge=True)

    @cached_property
    def answerer_apart(self) -> Answerer:
        """The same with an adapter that can be switched off."""
        return self._answerer(merge=False)

    def _answerer(self, *, merge: bool) -> Answerer:
        self.require(["language", "encoder"])
        defaults = self.profile.answer
        language: MultimodalLM = load_language(self.profile, pick_device(self.profile.device), merge=merge)
        return Answerer(
            language,
            self.encoder,
            self.catalogue,
            self.media,
            sampling=Sampling(defaults.temperature, defaults.top_p, defaults.max_new_tokens),
            grammar=defaults.grammar,
            limits=Limits(max_calls=defaults.max_calls),
        )

    @cached_property
    def encoder(self) -> ImageBindEncoder:
        self.require(["encoder"])
        return ImageBindEncoder.from_pretrained(
            self.profile.encoder.path,
            device=pick_device(self.profile.device),
            tokenizer=text_tokenizer(self.profile.encoder.tokenizer),
            limits=media_limits(self.profile),
        )

    @cached_property
    def judge(self) -> Judge:
        """Of those modalities whose weights are there."""
        there = [modality for modality in Modality if not self.missing([f"judge-{modality}"])]
        return Judge.from_pretrained(self._judge_folder, modalities=there)

    @cached_property
    def catalogue(self) -> Catalogue:
        """What may be called, whether or not the weights are there."""
        return Catalogue(call.spec() for card in _cards(self.profile) for call in card.calls)

    @cached_property
    def generators(self) -> dict[str, Generator]:
        """Those whose weights are there, by what calls them."""
        there = [modality for modality in self._cards if not self.missing([modality])]
        return {g.spec.model: g for modality in there for g in self._open(modality)}

    def generator(self, modality: Modality) -> Generator:
        """What makes this modality from words.

        Raises:
            ModelNotFound: its weights are not there.
        """
        self.require([modality])
        calls = (call for call in self._cards[modality].calls if call.makes is modality and not call.source)
        return self.generators[next(calls).model]

    def autoencoder(self, modality: Modality) -> Any:
        """The autoencoder of what makes this modality, in single precision on the CPU.

        Raises:
            ModelNotFound: its weights are not there.
        """
        from diffusers import AutoModel

        name = f"autoencoder-{modality}"
        if name not in self._autoencoders:
            self.require([name])
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message=".*weight_norm.* is deprecated", category=FutureWarning
                )
                model = AutoModel.from_pretrained(str(self._files(name)[0].parent))
            self._autoencoders[name] = model.float().eval()
        return self._autoencoders[name]

    def _open(self, modality: Modality) -> list[Generator]:
        folder, card = self._folders[modality], self._cards[modality]
        device = str(pick_device(self.profile.device))
        first = DiffusersGenerator(card, folder, device=device)
        weights = first.weights
        others = (DiffusersGenerator(card, folder, model=c.model, weights=weights) for c in card.calls[1:])
        return [first, *others]

    @property
    def maker(self) -> Maker:
        """Calls are answered by the profile's own generators."""
        return by_generators(self.generators)


def _cards(profile: Profile) -> list[Card]:
    return [load_card(name) for name in profile.generators.cards]


def _moved(profile: Profile, elsewhere: Mapping[str, Path]) -> Profile:
    """The profile with the LLM, the adapter and the encoder from other folders."""
    llm: dict[str, Path | None] = {}
    if "llm" in elsewhere:
        llm |= {"path": elsewhere["llm"], "repository": None}
    if "adapter" in elsewhere:
        llm["adapter"] = elsewhere["adapter"]
    changes: dict[str, object] = {"llm": profile.llm.model_copy(update=llm)}
    if "encoder" in elsewhere:
        changes["encoder"] = profile.encoder.model_copy(update={"path": elsewhere["encoder"]})
    return profile.model_copy(update=changes)
