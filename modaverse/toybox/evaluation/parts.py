"""The parts of mini that rows measure, each loaded when it is first needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from modaverse.context import Modality
from modaverse.errors import ModelNotFound, SettingsError
from modaverse.generators.card import Card, load_card
from modaverse.generators.diffusers_adapter import DiffusersGenerator
from modaverse.generators.weights import fingerprint
from modaverse.interfaces import CallSpec, Generator, Sampling
from modaverse.metaresponse import Catalogue
from modaverse.toybox.evaluation.answering import Answerer
from modaverse.toybox.evaluation.making import Maker, by_generators
from modaverse.toybox.rows.chat import MODELS

if TYPE_CHECKING:
    from modaverse.imagebind import ImageBindEncoder
    from modaverse.language.model import MultimodalLM
    from modaverse.toybox.judge import Judge

# Each part: its folders below the weights, and a file without which it is not there.
_FOLDERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "language": (("llm", "model.safetensors"), ("adapter", "config.json")),
    "encoder": (("encoder", "model.safetensors"),),
    "image": (("image", "model_index.json"),),
    "video": (("video", "model_index.json"),),
    "audio": (("audio", "model_index.json"),),
    "judge-image": (("judge", "image.safetensors"),),
    "judge-video": (("judge", "video.safetensors"),),
    "judge-audio": (("judge", "audio.safetensors"),),
}


def weights_of(profile: str) -> Path:
    """The folder of a profile's weights: that of a profile which comes with ModaVerse, or a path.

    Raises:
        ModelNotFound: there is none.
    """
    named = Path(str(resources.files("modaverse.profiles"))) / profile
    for folder in (named, Path(profile)):
        if folder.is_dir():
            return folder
    raise ModelNotFound(
        f"there are no weights for the profile {profile}", hint="Give a profile's name, or its folder."
    )


class Parts:
    """Mini's parts below one folder of weights, and a folder for what the rows make.

    Args:
        weights: holds llm/, adapter/, encoder/, image/, video/, audio/ and judge/, as far as they are there.
        folder: of the run; media go to `media/` in it.
        elsewhere: folders of parts that lie in another place, by their name below `weights`.
    """

    def __init__(self, weights: Path, folder: Path, *, elsewhere: Mapping[str, Path] | None = None) -> None:
        known = {name for places in _FOLDERS.values() for name, _ in places}
        unknown = sorted(set(elsewhere or {}) - known)
        if unknown:
            raise SettingsError(
                f"mini has no part {', '.join(unknown)}", hint=f"It has {', '.join(sorted(known))}."
            )
        self._folders = {name: weights / name for name in known} | dict(elsewhere or {})
        self.media = folder / "media"
        self.sampling = Sampling(temperature=0.0, max_new_tokens=256)
        self._fingerprints: dict[str, str] = {}

    # ------------------------------------------------------------------------------- what is there

    def missing(self, names: Iterable[str]) -> list[str]:
        """Files that are not there, of those that the parts named need."""
        places = [self._folders[folder] / file for name in names for folder, file in _FOLDERS[name]]
        return [str(path) for path in places if not path.is_file()]

    def require(self, names: Iterable[str]) -> None:
        """
        Raises:
            ModelNotFound: one of the parts named is not there.
        """
        missing = self.missing(names)
        if missing:
            raise ModelNotFound(
                f"mini is not complete: there is no {missing[0]}",
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
        """Of everything in the part's folders; of the one file for a network of the judge."""
        places = _FOLDERS[name]
        if name.startswith("judge-"):
            return "".join(
                hashlib.sha256((self._folders[folder] / file).read_bytes()).hexdigest()
                for folder, file in places
            )
        return "".join(fingerprint(self._folders[folder]) for folder, _ in places)

    # ------------------------------------------------------------------------------------ the parts

    @cached_property
    def language(self) -> MultimodalLM:
        """The LLM with its adapter, as it is used: the adapter folded into the base."""
        return self._language(merge=True)

    @cached_property
    def language_apart(self) -> MultimodalLM:
        """The same with the adapter apart, so that it can be switched off."""
        return self._language(merge=False)

    def _language(self, *, merge: bool) -> MultimodalLM:
        from modaverse.language.model import MultimodalLM

        self.require(["language"])
        return MultimodalLM.from_pretrained(self._folders["llm"], self._folders["adapter"], merge=merge)

    @cached_property
    def encoder(self) -> ImageBindEncoder:
        from modaverse.imagebind import ImageBindEncoder

        self.require(["encoder"])
        return ImageBindEncoder.from_pretrained(self._folders["encoder"])

    @cached_property
    def judge(self) -> Judge:
        """Of those modalities whose weights are there."""
        from modaverse.toybox.judge import Judge

        there = [modality for modality in Modality if not self.missing([f"judge-{modality}"])]
        return Judge.from_pretrained(self._folders["judge"], modalities=there)

    @cached_property
    def cards(self) -> dict[Modality, Card]:
        return {modality: load_card(f"mini-{modality}") for modality in Modality}

    @cached_property
    def catalogue(self) -> Catalogue:
        """What may be called, whether or not the weights are there."""
        specs: list[CallSpec] = [call.spec() for card in self.cards.values() for call in card.calls]
        return Catalogue(specs)

    @cached_property
    def generators(self) -> dict[str, Generator]:
        """Those whose weights are there, by what calls them."""
        there = [modality for modality in Modality if not self.missing([modality])]
        return {g.spec.model: g for modality in there for g in self._open(modality)}

    def generator(self, modality: Modality) -> Generator:
        """What makes this modality from words.

        Raises:
            ModelNotFound: its weights are not there.
        """
        self.require([modality])
        return self.generators[MODELS[modality]]

    def _open(self, modality: Modality) -> list[Generator]:
        folder, card = self._folders[modality], self.cards[modality]
        first = DiffusersGenerator(card, folder)
        rest = (
            DiffusersGenerator(card, folder, model=c.model, weights=first.weights) for c in card.calls[1:]
        )
        return [first, *rest]

    @cached_property
    def answerer(self) -> Answerer:
        """Answers as the LLM with its adapter does, without the token mask."""
        return self._answerer(self.language)

    @cached_property
    def answerer_apart(self) -> Answerer:
        """The same with the adapter apart."""
        return self._answerer(self.language_apart)

    def _answerer(self, language: MultimodalLM) -> Answerer:
        return Answerer(language, self.encoder, self.catalogue, self.media, sampling=self.sampling)

    @property
    def maker(self) -> Maker:
        """Calls are answered by mini's own generators."""
        return by_generators(self.generators)
