"""A profile, taken apart: what is there, where it lies, and what identifies it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modaverse.context import Modality
from modaverse.errors import ModelNotFound, SettingsError
from modaverse.interfaces import Sampling
from modaverse.settings import Profile
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.judge import Judge, new_net


def put(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)


def test_what_is_missing(empty: Profile, tmp_path: Path) -> None:
    parts = Parts(empty, tmp_path / "run")
    wanted = {
        "language": ["llm/config.json", "adapter/config.json"],
        "encoder": ["encoder/model.safetensors"],
        "image": ["image/model_index.json"],
        "judge-audio": ["judge/audio.safetensors"],
    }
    for name, files in wanted.items():
        assert parts.missing([name]) == [tmp_path / file for file in files]
        put(tmp_path, *files)
        assert parts.missing([name]) == []
        parts.require([name])
    assert parts.missing(["image", "video"]) == [tmp_path / "video" / "model_index.json"]
    with pytest.raises(ModelNotFound, match=r"video/model_index\.json"):
        parts.generator(Modality.VIDEO)


def test_what_the_profile_cannot_make(empty: Profile, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="makes audio"):
        Parts(empty, tmp_path).require(["audio"])


def test_parts_elsewhere(empty: Profile, tmp_path: Path) -> None:
    folders = {name: tmp_path / f"other-{name}" for name in ("llm", "adapter", "encoder", "image", "judge")}
    parts = Parts(empty, tmp_path, elsewhere=folders)
    missing = parts.missing(["language", "encoder", "image", "video", "judge-image"])
    assert [path.parent.name for path in missing] == [
        "other-llm", "other-adapter", "other-encoder", "other-image", "video", "other-judge",
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="imagee"):
        Parts(empty, tmp_path, elsewhere={"imagee": tmp_path})


def test_fingerprints_follow_the_files(empty: Profile, tmp_path: Path) -> None:
    put(tmp_path, "encoder/model.safetensors", "image/model_index.json")
    before = Parts(empty, tmp_path)
    encoder, image = before.fingerprint(["encoder"]), before.fingerprint(["image"])
    assert encoder != image
    assert before.fingerprint(["image", "encoder"]) == before.fingerprint(["encoder", "image"])
    put(tmp_path, "image/transformer/config.json")
    (tmp_path / "image" / "transformer" / "config.json").write_text("{}")
    after = Parts(empty, tmp_path)
    assert after.fingerprint(["encoder"]) == encoder
    assert after.fingerprint(["image"]) != image


def test_each_network_of_the_judge_has_a_fingerprint_of_its_own(empty: Profile, tmp_path: Path) -> None:
    put(tmp_path, "judge/image.safetensors", "judge/audio.safetensors")
    before = Parts(empty, tmp_path)
    image, audio = before.fingerprint(["judge-image"]), before.fingerprint(["judge-audio"])
    (tmp_path / "judge" / "audio.safetensors").write_text("trained on")
    assert Parts(empty, tmp_path).fingerprint(["judge-image"]) == image
    assert Parts(empty, tmp_path).fingerprint(["judge-audio"]) != audio


def test_how_the_profile_answers_belongs_to_the_fingerprint(empty: Profile, tmp_path: Path) -> None:
    put(tmp_path, "llm/config.json", "adapter/config.json")
    warmer = empty.model_copy(update={"answer": empty.answer.model_copy(update={"temperature": 0.9})})
    one, other = Parts(empty, tmp_path), Parts(warmer, tmp_path)
    assert one.fingerprint(["language"]) != other.fingerprint(["language"])


def test_the_judge_that_is_there(empty: Profile, tmp_path: Path) -> None:
    Judge({Modality.AUDIO: new_net(Modality.AUDIO)}).save_net(tmp_path / "judge", Modality.AUDIO)
    assert list(Parts(empty, tmp_path).judge.nets) == [Modality.AUDIO]


def test_answers_as_the_profile_does(empty: Profile, tmp_path: Path) -> None:
    from modaverse.imagebind import ImageBind, ImageBindEncoder
    from modaverse.language.model import MultimodalLM
    from modaverse.settings import LoraSettings, ProjectorSettings
    from modaverse.testing import save_tiny_llm
    from modaverse.toybox.evaluation.answering import Request
    from modaverse.toybox.evaluation.making import nothing
    from modaverse.toybox.recipes.encoder import mini_encoder_config
    from modaverse.toybox.tokenizer import load_tokenizer

    base = save_tiny_llm(tmp_path / "llm")
    lora = LoraSettings(r=2, target_modules="all-linear")
    projector = ProjectorSettings(k=2)
    model = MultimodalLM.build(base, embedding_dim=256, projector=projector, lora=lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(tmp_path / "adapter")
    net = ImageBind(mini_encoder_config(load_tokenizer()), modalities=("vision", "audio", "text"))
    ImageBindEncoder(net).save_pretrained(tmp_path / "encoder")
    parts = Parts(empty, tmp_path / "run")
    assert parts.answerer.sampling == Sampling(0.5, 1.0, 7)
    assert parts.answerer.limits.max_calls == 3
    assert set(parts.catalogue) == {"T-to-I", "TI-to-I", "T-to-V", "TV-to-V", "I-to-V"}
    asked = [Request((), seed) for seed in range(4)]
    whole = parts.answerer.answer(asked, nothing)
    apart = parts.answerer_apart
    with apart.language.without_adapter():
        bare = apart.answer(asked, nothing)
    assert [answer.text for answer in apart.answer(asked, nothing)] == [answer.text for answer in whole]
    assert [answer.text for answer in bare] != [answer.text for answer in whole]
