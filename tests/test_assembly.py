"""A profile on disk becomes a `ModaVerse`: tiny models, through the real loading code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from worlds import CAT, pictures

from modaverse.assembly import assemble, text_tokenizer
from modaverse.context import MetaResponse, Modality
from modaverse.errors import CheckpointError, ModelNotFound, SettingsError
from modaverse.generation import GeneratorPool
from modaverse.interfaces import Frames, Pixels, Waveform
from modaverse.orchestrator import Orchestrator
from modaverse.pipeline import ModaVerse
from modaverse.settings import LoraSettings, Profile, ProjectorSettings
from modaverse.testing import ScriptedGenerator, save_tiny_llm, tiny_tokenizer

REQUESTS = (("Draw what you hear.", Modality.AUDIO), ("Draw what you see.", Modality.VIDEO))


@pytest.fixture(scope="module")
def tiny_profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of tiny models on disk, whose LLM was taught one answer: a call, then text."""
    from modaverse.imagebind import ImageBind, ImageBindConfig
    from modaverse.imagebind.encoder import ImageBindEncoder
    from modaverse.language.batch import Example
    from modaverse.language.model import MultimodalLM

    folder = tmp_path_factory.mktemp("profile")
    sizes = {f"{name}_embed_dim": 16 for name in ("vision", "text", "audio", "depth", "thermal", "imu")}
    sizes |= {f"{name}_num_blocks": 1 for name in ("vision", "text", "audio", "depth", "thermal", "imu")}
    sizes |= {f"{name}_num_heads": 2 for name in ("vision", "text", "audio", "depth", "thermal", "imu")}
    torch.manual_seed(0)
    config = ImageBindConfig(
        out_embed_dim=12, image_size=32, vision_patch=16, video_clips=2, video_clip_seconds=0.5,
        video_crops=1, audio_clips=1, **sizes,
    )  # fmt: skip
    ImageBindEncoder(ImageBind(config, modalities=("vision", "audio"))).save_pretrained(folder / "encoder")

    base = save_tiny_llm(folder / "llm", hidden_size=64, intermediate_size=128)
    model = MultimodalLM.build(
        base,
        embedding_dim=12,
        projector=ProjectorSettings(k=2),
        lora=LoraSettings(r=16, alpha=32, dropout=0.0, target_modules="all-linear"),
    )
    script = model.script
    answer = [
        *script.text("Here: ", sampled=True),
        *script.call(MetaResponse("T-to-I", "a cat"), sampled=True),
        *script.media(2, Modality.IMAGE),
        *script.text(" A cat.", sampled=True),
        *script.assistant_end(sampled=True),
    ]
    examples = []
    for prompt, given in REQUESTS * 3:
        asked = [*script.user_start(first=True), *script.media(1, given)]
        asked += [*script.text(prompt), *script.user_end()]
        examples.append(Example([*asked, *answer], {n: torch.zeros(12) for n in (1, 2)}))
    batch = model.collate(examples)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(50):
        optimizer.zero_grad()
        batch["features"] = torch.randn(batch["features"].shape)  # whatever the media look like
        loss = model.train()(**batch).loss
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder / "adapter")
    (folder / "profile.toml").write_text(
        'name = "tiny"\ndevice = "cpu"\n[llm]\npath = "llm"\nadapter = "adapter"\n'
        '[encoder]\npath = "encoder"\n[answer]\nmax_new_tokens = 60\n'
    )
    return folder


def tiny(folder: Path, media: Path, *generators: ScriptedGenerator) -> ModaVerse:
    """The tiny profile as it is loaded for anybody, with scripted generators in its pool."""

    def parts(folder_of_media: Path) -> Orchestrator:
        own = assemble(profile, folder_of_media)
        return Orchestrator(
            own.language,
            own.encoder,
            GeneratorPool(generators, folder_of_media),
            vocabulary=own.vocabulary,
        )

    profile = ModaVerse.from_profile(folder).profile
    return ModaVerse(profile, parts, folder=media)


def test_from_media_to_media_on_tiny_models(tiny_profile: Path, tmp_path: Path) -> None:
    sound = Waveform(np.sin(np.arange(16000, dtype=np.float32))[:, None] / 3, 16000)
    replies = []
    for attempt in range(2):
        with tiny(tiny_profile, tmp_path / str(attempt), pictures()) as mv:
            replies.append(mv.run("Draw what you hear.", [sound], seed=3))
    reply = replies[0]
    assert reply.text == "Here:  A cat."
    assert reply.meta_responses == [MetaResponse("T-to-I", "a cat")]
    assert [type(part).__name__ for part in reply.parts] == ["Text", "MetaResponse", "Media", "Text"]
    # The same request and seed: the same tokens and the same bytes.
    assert replies[1].parts[:2] == reply.parts[:2]
    assert [m.sha256 for m in replies[1].media] == [m.sha256 for m in reply.media]
    assert replies[1].usage == reply.usage


def test_many_requests_at_once_are_answered_as_each_alone(tiny_profile: Path, tmp_path: Path) -> None:
    sound = Waveform(np.sin(np.arange(16000, dtype=np.float32))[:, None] / 3, 16000)
    asked: list[tuple[str, list[Any], int]] = [("Draw what you hear.", [sound], 3), ("Draw a cat.", [], 4)]
    with tiny(tiny_profile, tmp_path / "alone", pictures()) as mv:
        alone = [mv.run(prompt, media, seed=seed) for prompt, media, seed in asked]
    with tiny(tiny_profile, tmp_path / "together", pictures()) as mv:
        together = mv.together()
        streams = [mv.stream(prompt, media, seed=seed) for prompt, media, seed in asked]
        for stream in streams:
            together.admit(stream.steps, stream.transcript)
        while together:
            together.step()
        for stream, expected in zip(streams, alone, strict=True):
            reply = stream.reply()
            assert (reply.text, reply.usage) == (expected.text, expected.usage)
            assert reply.meta_responses == expected.meta_responses
        assert mv.run(*asked[0][:2], seed=0).text == alone[0].text  # one at a time goes on as before


def test_a_saved_chat_goes_on_as_it_would_have(tiny_profile: Path, tmp_path: Path) -> None:
    sound = Waveform(np.sin(np.arange(16000, dtype=np.float32))[:, None] / 3, 16000)
    answers = []
    for reloaded in (False, True):
        with tiny(tiny_profile, tmp_path / str(reloaded), pictures()) as mv:
            chat = mv.chat()
            chat.run("Draw what you hear.", [sound], seed=3)
            if reloaded:
                chat.save(tmp_path / "chat")
                chat = mv.load_chat(tmp_path / "chat")
            answers.append(chat.run("And now?", seed=4, temperature=1.0, max_new_tokens=20))
    assert answers[0].text == answers[1].text
    assert answers[0].usage == answers[1].usage


def test_only_the_trunks_in_use_are_loaded(tiny_profile: Path, tmp_path: Path) -> None:
    with ModaVerse.from_profile(tiny_profile, folder=tmp_path) as mv:
        encoder: Any = mv.orchestrator.encoder
        assert encoder._trunks == {}
        mv.run(["?", Pixels(np.zeros((32, 32, 3), np.uint8))], max_new_tokens=2)
        assert list(encoder._trunks) == ["vision"]
        assert encoder._trunks["vision"].net.modalities == ("vision",)
        mv.run(["?", Frames(np.zeros((8, 32, 32, 3), np.uint8), 8.0)], max_new_tokens=2)
        assert list(encoder._trunks) == ["vision"]


def test_a_profile_without_generators_makes_text_only(tiny_profile: Path, tmp_path: Path) -> None:
    """Constrained, the LLM that was taught to call cannot, as there is nothing to call."""
    sound = Waveform(np.zeros((16000, 1), np.float32), 16000)
    with ModaVerse.from_profile(tiny_profile / "profile.toml", folder=tmp_path) as mv:
        reply = mv.run("Draw what you hear.", [sound])
        assert (reply.meta_responses, reply.malformed) == ([], [])
        free = mv.run("Draw what you hear.", [sound], constrained=False)
        assert free.malformed[0].raw == CAT


def test_the_encoder_reads_text_with_the_tokenizer_of_the_profile(tiny_profile: Path, tmp_path: Path) -> None:
    assert text_tokenizer(None) is None
    ids = text_tokenizer(tiny_profile / "llm")
    assert ids is not None
    both, one = ids(["Draw what you hear.", "a"]), ids(["a"])
    assert (both.shape[0], one.shape) == (2, (1, 1))
    assert both[1, 0] == one[0, 0]
    assert set(both[1, 1:].tolist()) == {tiny_tokenizer().pad_token_id}
    with pytest.raises(ModelNotFound, match="no tokenizer lies in"):
        text_tokenizer(tmp_path / "nowhere")


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(SettingsError, match="no token to pad with"):
        text_tokenizer(tmp_path)


def test_parts_that_are_missing_or_do_not_fit_are_named(tiny_profile: Path, tmp_path: Path) -> None:
    def profile(**changes: dict[str, Any]) -> Profile:
        values = ModaVerse.from_profile(tiny_profile).profile.model_dump()
        for table, change in changes.items():
            values[table] = change if isinstance(change, str) else {**values[table], **change}
        return Profile.model_validate(values)

    with pytest.raises(ModelNotFound, match="No LLM lies in"):
        ModaVerse.from_profile(profile(llm={"path": tmp_path / "no"})).load()
    changes = {"cards": ["mini-image"], "root": tmp_path}
    with pytest.raises(ModelNotFound, match="mini-image: no weights"):
        ModaVerse.from_profile(profile(generators=changes)).load()
    with pytest.raises(SettingsError, match="no device"):
        ModaVerse.from_profile(profile(device="abacus")).load()  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="has no cuda:99"):
        ModaVerse.from_profile(profile(device="cuda:99")).load()  # type: ignore[arg-type]
    path = tmp_path / "adapter"
    path.mkdir()
    for file in (tiny_profile / "adapter").iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "embedding_dim": 13}))
    with pytest.raises(CheckpointError, match="does not fit"):
        ModaVerse.from_profile(profile(llm={"adapter": path})).load()
