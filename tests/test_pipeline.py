"""Requests, replies and chats: on scripts, and end to end on tiny models through the real loading code."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modaverse.assembly import assemble, text_tokenizer
from modaverse.context import Done, GenerationFailed, MediaReady, MetaResponse, Modality, Text, TextDelta
from modaverse.errors import (
    CheckpointError,
    GenerationError,
    InputError,
    MediaError,
    ModelNotFound,
    SettingsError,
)
from modaverse.generation import GeneratorPool
from modaverse.interfaces import Frames, Pixels, Waveform
from modaverse.media import write_media
from modaverse.orchestrator import Orchestrator
from modaverse.pipeline import Chat, ModaVerse
from modaverse.settings import LoraSettings, Profile, ProjectorSettings
from modaverse.testing import (
    VOCABULARY,
    ScriptedEncoder,
    ScriptedGenerator,
    ScriptedLanguageModel,
    save_tiny_llm,
    tiny_tokenizer,
)

CAT = '<meta>{"Model": "T-to-I", "Input": "a cat"}</meta>'
PROFILE = Profile.model_validate(
    {"name": "scripted", "llm": {"path": "x", "adapter": "y"}, "encoder": {"path": "z"}}
)


def pictures() -> ScriptedGenerator:
    shades = (Pixels(np.full((4, 4, 3), shade, np.uint8)) for shade in range(50, 60))
    return ScriptedGenerator("T-to-I", Modality.IMAGE, *shades)


Make = Callable[..., ModaVerse]


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Make]:
    made: list[ModaVerse] = []

    def make(*answers: str, generator: ScriptedGenerator | None = None) -> ModaVerse:
        def parts(folder: Path) -> Orchestrator:
            return Orchestrator(
                ScriptedLanguageModel(*answers),
                ScriptedEncoder(),
                GeneratorPool([generator or pictures()], folder),
                vocabulary=VOCABULARY,
            )

        made.append(ModaVerse(PROFILE, parts, folder=tmp_path / "media"))
        return made[-1]

    yield make
    for each in made:
        each.close()


def log(mv: ModaVerse) -> list[Any]:
    language = mv.orchestrator.language
    assert isinstance(language, ScriptedLanguageModel)
    return [entry[:3] for entry in language.transcripts[-1].log if entry[0] != "token"]


# -------------------------------------------------------------------------------------------- replies


def test_run_collects_what_stream_tells(scripted: Make) -> None:
    reply = scripted(f"Here: {CAT} A cat.").run("Draw a cat", seed=5)
    assert reply.text == "Here:  A cat."
    (medium,) = reply.media
    call = MetaResponse("T-to-I", "a cat")
    assert reply.meta_responses == [call]
    assert reply.parts == [Text("Here: "), call, medium, Text(" A cat.")]
    assert medium.path.is_file()
    assert (medium.modality, medium.mime, reply.seed, reply.profile) == (
        Modality.IMAGE,
        "image/png",
        5,
        "scripted",
    )
    events = list(scripted(f"Here: {CAT} A cat.").stream("Draw a cat", seed=5))
    assert [type(event) for event in events if isinstance(event, (MetaResponse, MediaReady, Done))] == [
        MetaResponse, MediaReady, Done,
    ]  # fmt: skip
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == reply.text


def test_a_seed_is_drawn_and_reported(scripted: Make) -> None:
    seeds = {scripted("Hi").run("Hello").seed for _ in range(4)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_reply_is_complete_only_at_the_end(scripted: Make) -> None:
    stream = scripted("Hello").stream("Hi")
    next(stream)
    with pytest.raises(InputError, match="not complete"):
        stream.reply()
    assert list(stream)
    assert stream.reply().text == "Hello"


def test_a_saved_reply_is_whole_without_the_originals(scripted: Make, tmp_path: Path) -> None:
    failing = ScriptedGenerator(
        "T-to-I", Modality.IMAGE, GenerationError("no paint", hint="Buy <some>."), pictures_one()
    )
    mv = scripted(f"A {CAT} b {CAT}<meta>oops</meta> c", generator=failing)
    given = write_media(Pixels(np.zeros((4, 4, 3), np.uint8)), tmp_path / "given")
    reply = mv.run("Draw <b>it</b>", [given.path], seed=1)
    page = reply.save(tmp_path / "saved")
    given.path.unlink()
    for medium in reply.media:
        medium.path.unlink()

    value = json.loads((tmp_path / "saved" / "reply.json").read_text())
    assert [part["type"] for part in value["request"]] == ["media", "text"]
    assert [part["type"] for part in value["parts"]] == [
        "text", "meta_response", "failed", "text", "meta_response", "media", "malformed", "text",
    ]  # fmt: skip
    assert (value["seed"], value["finish_reason"], value["profile"]) == (1, "stop", "scripted")
    media = [part for part in value["request"] + value["parts"] if part["type"] == "media"]
    assert [part["number"] for part in media] == [1, 2]
    for part in media:
        assert (tmp_path / "saved" / part["path"]).is_file()
    html = page.read_text()
    assert page == tmp_path / "saved" / "reply.html"
    assert all(part["path"] in html for part in media)
    assert "no paint" in html
    assert "<b>it</b>" not in html


def pictures_one() -> Pixels:
    return Pixels(np.full((4, 4, 3), 7, np.uint8))


def test_saving_when_the_media_are_gone_names_the_file(scripted: Make, tmp_path: Path) -> None:
    reply = scripted(CAT).run("Draw")
    reply.media[0].path.unlink()
    with pytest.raises(MediaError, match="no longer there"):
        reply.save(tmp_path / "saved")


def test_without_splices_media_stand_beside_their_calls(scripted: Make) -> None:
    reply = scripted(f"One {CAT} two {CAT} three").run("Draw", splice="none")
    kinds = [type(part).__name__ for part in reply.parts]
    assert kinds == ["Text", "MetaResponse", "Media", "Text", "MetaResponse", "Media", "Text"]


def test_a_reply_says_how_its_media_were_chosen(scripted: Make) -> None:
    reply = scripted(f"{CAT} One.").run("Draw", candidates=3, seed=1)
    assert {number: choice.drawn for number, choice in reply.choices.items()} == {1: 3}
    assert scripted(f"{CAT} One.").run("Draw", seed=1).choices == {}


def test_a_chat_keeps_its_failures(scripted: Make, tmp_path: Path) -> None:
    failing = ScriptedGenerator("T-to-I", Modality.IMAGE, GenerationError("no paint", hint="Buy some."))
    mv = scripted(f"A {CAT} b", generator=failing)
    chat = mv.chat()
    reply = chat.run("Draw")
    failed = GenerationFailed(0, "no paint", "Buy some.")
    assert reply.failures == [failed]
    assert [type(part) for part in reply.parts] == [Text, MetaResponse, Text]
    assert chat.context.turns[1].parts[2] == failed
    chat.save(tmp_path / "chat")
    assert mv.load_chat(tmp_path / "chat").context == chat.context


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"splice": "later"}, "no splice 'later'"),
        ({"candidates": 0}, "0 candidates"),
        ({"min_agreement": 2}, "agreement of 2"),
        ({"max_retries": -1}, "-1 retries"),
    ],
)
def test_options_that_make_no_sense(scripted: Make, option: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        scripted("Hm").run("Hi", **option)
    assert caught.value.hint


# -------------------------------------------------------------------------------------------- requests


def test_media_can_be_given_as_anything(scripted: Make, tmp_path: Path) -> None:
    array = np.full((6, 5, 3), 30, np.uint8)
    path = write_media(Pixels(array), tmp_path / "in").path
    sound = Waveform(np.zeros((800, 1), np.float32), 16000)
    clip = Frames(np.zeros((4, 16, 16, 3), np.uint8), 8.0)
    mv = scripted("Hm")
    mv.run(
        ["One:", path, "two:", path.read_bytes(), Image.fromarray(array), array, sound, clip, Text("done")],
        media=[str(path)],
    )
    shown = [
        entry[1] if entry[0] == "text" else entry[2] for entry in log(mv) if entry[0] in ("text", "media")
    ]
    image = Modality.IMAGE
    assert shown == [
        image, "One:", image, "two:", image, image, image, Modality.AUDIO, Modality.VIDEO, "done",
    ]  # fmt: skip
    numbers = [entry[1] for entry in log(mv) if entry[0] == "media"]
    assert numbers == list(range(1, 8))


@pytest.mark.parametrize(
    ("prompt", "media", "message"),
    [
        ("", [], "request is empty"),
        (["", ""], [], "request is empty"),
        ("Hi", "bell.wav", "media must be a list"),
        (["Hi", 3], [], "cannot be made of int"),
        ("Hi", ["nowhere.wav"], "nowhere.wav"),
    ],
)
def test_requests_that_cannot_be_read(scripted: Make, prompt: Any, media: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        scripted("Hm").run(prompt, media)
    assert caught.value.hint


def test_one_thread_at_a_time(scripted: Make) -> None:
    painter = pictures()
    painter._gate = gate = threading.Event()
    mv = scripted(f"{CAT}", "Hi", generator=painter)
    thread = threading.Thread(target=mv.run, args=("Draw",))
    thread.start()
    assert painter.started.wait(10)
    with pytest.raises(InputError, match="another thread"):
        mv.run("Hello")
    gate.set()
    thread.join(10)
    assert mv.run("Hello").text == "Hi"


def test_nothing_is_loaded_before_it_is_needed() -> None:
    calls: list[Path] = []

    def parts(folder: Path) -> Orchestrator:
        calls.append(folder)
        pool = GeneratorPool([], folder)
        return Orchestrator(ScriptedLanguageModel("A", "B"), ScriptedEncoder(), pool, vocabulary=VOCABULARY)

    mv = ModaVerse(PROFILE, parts)
    chat = mv.chat()
    assert calls == []
    mv.load()
    assert chat.run("Hi").text == "A"
    assert calls == [mv.folder]


def test_the_temporary_folder_vanishes_with_its_owner(scripted: Make) -> None:
    mv = ModaVerse(PROFILE, lambda folder: None)  # type: ignore[arg-type,return-value]
    folder = mv.folder
    assert folder.is_dir()
    del mv
    assert not folder.exists()


# ------------------------------------------------------------------------------------------------ chat


def test_a_chat_goes_on_and_numbers_its_media(scripted: Make, tmp_path: Path) -> None:
    chat = scripted(f"Here: {CAT}", "A cat.", "Bye").chat()
    first = chat.run("Draw a cat")
    second = chat.run("What is it?", [pictures_one()])
    assert chat.context.media[0] == first.media[0]
    assert second.first_number == 2
    value = json.loads(second.save(tmp_path).with_name("reply.json").read_text())
    assert value["request"][0]["number"] == 2
    assert len(chat.context.turns) == 4


def test_closing_a_stream_leaves_the_chat_as_it_was(scripted: Make) -> None:
    mv = scripted("Hello", f"Here: {CAT} and more", "Bye")
    chat = mv.chat()
    chat.run("Hi")
    before = chat.context
    with chat.stream("Draw a cat") as stream:
        for event in stream:
            if isinstance(event, MediaReady):
                break
    assert chat.context == before
    assert [entry[0] for entry in log(mv)] == ["user", "text", "answer"]


def test_a_chat_is_saved_and_goes_on_elsewhere(scripted: Make, tmp_path: Path) -> None:
    mv = scripted(f"Here: {CAT}", "More")
    chat = mv.chat()
    made = chat.run("Draw a cat").media[0]
    chat.save(tmp_path / "chat")
    made.path.unlink()

    other = scripted("It is a cat.")
    loaded = other.load_chat(tmp_path / "chat")
    assert [turn.role for turn in loaded.context.turns] == ["user", "assistant"]
    assert loaded.context.turns[1].parts[:2] == (Text("Here: "), MetaResponse("T-to-I", "a cat"))
    assert loaded.context.media[0].sha256 == made.sha256
    assert log(other)[:3] == [("user",), ("text", "Draw a cat"), ("answer",)]
    assert loaded.run("What is it?").text == "It is a cat."
    empty = Chat(other)
    empty.save(tmp_path / "empty")
    assert other.load_chat(tmp_path / "empty").context.turns == ()


def test_chats_that_cannot_be_loaded(scripted: Make, tmp_path: Path) -> None:
    mv = scripted(CAT)
    chat = mv.chat()
    chat.run("Draw")
    chat.save(tmp_path)
    file = tmp_path / "chat.json"
    saved = json.loads(file.read_text())

    def broken(**changes: Any) -> None:
        file.write_text(json.dumps({**saved, **changes}))
        mv.load_chat(tmp_path)

    with pytest.raises(InputError, match="profile 'other', not 'scripted'"):
        broken(profile="other")
    with pytest.raises(InputError, match="no chat that can be read"):
        broken(turns=3)
    with pytest.raises(InputError, match="no chat that can be read"):
        mv.load_chat(tmp_path / "nothing")
    climbing = {"type": "media", "path": "../../secret.png", "sha256": "0"}
    with pytest.raises(MediaError, match="leads out"):
        broken(turns=[{"role": "user", "parts": [climbing]}])
    medium = next(p for p in saved["turns"][1]["parts"] if p["type"] == "media")
    write_media(pictures_one(), tmp_path / "x").path.replace(tmp_path / medium["path"])
    with pytest.raises(MediaError, match="is not the file"):
        broken()


# ------------------------------------------------------------------- tiny models, real loading code


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
