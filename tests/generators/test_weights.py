"""Nothing in a checkpoint runs: a corpus of hostile ones, each of which would leave a mark if it did."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub.utils import filter_repo_objects

from modaverse.errors import CheckpointError, ModelNotFound
from modaverse.generators.card import Card, load_card, parse_card
from modaverse.generators.diffusers_adapter import PipelineWeights, open_card
from modaverse.generators.weights import check_safe, check_whole, fingerprint, locate, wanted_files

Tiny = Callable[[str], tuple[Card, Path]]
HUB_CARD = """
summary = "Pictures"
precision = "float32"
memory_gb = { float32 = 1.0 }
licence = { name = "Apache-2.0", commercial = true }
weights = { repository = "nobody/nothing-here", size_gb = 2.0 }
[[calls]]
model = "T-to-I"
makes = "image"
pipeline = "ZImagePipeline"
output = "images"
"""


class Marks:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def pickled_weights(folder: Path, mark: Path) -> None:
    for file in (folder / "transformer").glob("*.safetensors"):
        file.unlink()
    (folder / "transformer" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Marks(mark)))


def python_beside(folder: Path, mark: Path) -> None:
    (folder / "pipeline.py").write_text(f"open({str(mark)!r}, 'w')")


def python_component(folder: Path, mark: Path) -> None:
    (folder / "transformer" / "my_model.py").write_text(f"open({str(mark)!r}, 'w')")
    edit(folder / "model_index.json", transformer=["my_model", "Model"])


def custom_pipeline(folder: Path, mark: Path) -> None:
    edit(folder / "model_index.json", _class_name=["pipeline", "Mine"])


def named_custom_pipeline(folder: Path, mark: Path) -> None:
    edit(folder / "model_index.json", _custom_pipeline="nobody/theirs")


def auto_map_of_the_encoder(folder: Path, mark: Path) -> None:
    edit(folder / "text_encoder" / "config.json", auto_map={"AutoModel": "evil.Model"})


def auto_map_of_the_tokenizer(folder: Path, mark: Path) -> None:
    edit(folder / "tokenizer" / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})


def foreign_library(folder: Path, mark: Path) -> None:
    edit(folder / "model_index.json", transformer=["os", "system"])


def dotted_class(folder: Path, mark: Path) -> None:
    edit(folder / "model_index.json", transformer=["diffusers", "utils.deprecation_utils"])


def component_that_climbs(folder: Path, mark: Path) -> None:
    edit(folder / "model_index.json", **{"../elsewhere": ["diffusers", "AutoencoderKL"]})


def shard_that_climbs(folder: Path, mark: Path) -> None:
    index = {"metadata": {}, "weight_map": {"a": "../../elsewhere.safetensors"}}
    (folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def link_that_leads_out(folder: Path, mark: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    outside.write_bytes(b"")
    (folder / "transformer" / "more.safetensors").symlink_to(outside)


def auto_map_deep_in_a_configuration(folder: Path, mark: Path) -> None:
    edit(
        folder / "text_encoder" / "config.json",
        text_config={"parts": [{"auto_map": {"AutoModel": "evil.M"}}]},
    )


def kernel_from_elsewhere(folder: Path, mark: Path) -> None:
    edit(folder / "text_encoder" / "config.json", _attn_implementation="nobody/kernels")


def adapter_that_climbs(folder: Path, mark: Path) -> None:
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "../../elsewhere"}
    (folder / "text_encoder" / "adapter_config.json").write_text(json.dumps(adapter))


def pipeline_within_a_pipeline(folder: Path, mark: Path) -> None:
    inner = {"_class_name": "ZImagePipeline", "transformer": ["os", "system"]}
    (folder / "transformer" / "model_index.json").write_text(json.dumps(inner))
    edit(folder / "model_index.json", transformer=["diffusers", "ZImagePipeline"])


def library_that_is_no_module(folder: Path, mark: Path) -> None:
    edit(folder / "model_index.json", transformer=["__class__", "mro"])


def folder_that_leads_out(folder: Path, mark: Path) -> None:
    outside = folder.parent / "outside"
    shutil.move(folder / "transformer", outside)
    (folder / "transformer").symlink_to(outside)


def bottomless_settings(folder: Path, mark: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").write_text("[" * 100_000)


def broken_index(folder: Path, mark: Path) -> None:
    (folder / "model_index.json").write_text("{")


HOSTILE = [
    (pickled_weights, "is a pickle"),
    (python_beside, "is Python code"),
    (python_component, "is Python code"),
    (custom_pipeline, "names no pipeline class"),
    (named_custom_pipeline, "names a custom pipeline"),
    (auto_map_of_the_encoder, "auto_map"),
    (auto_map_of_the_tokenizer, "auto_map"),
    (foreign_library, "'os', which is no library of pipelines"),
    (dotted_class, "names a class that is none"),
    (component_that_climbs, "a component that is none"),
    (shard_that_climbs, "a shard outside of its folder"),
    (link_that_leads_out, "is a link out of the folder"),
    (auto_map_deep_in_a_configuration, "auto_map"),
    (kernel_from_elsewhere, "names a kernel to fetch"),
    (adapter_that_climbs, "names another model to load"),
    (pipeline_within_a_pipeline, "'os', which is no library of pipelines"),
    (library_that_is_no_module, "'__class__', which is no library of pipelines"),
    (folder_that_leads_out, "is a link out of the folder"),
    (bottomless_settings, "cannot be read"),
    (broken_index, "cannot be read"),
]


@pytest.mark.parametrize(("spoil", "message"), HOSTILE, ids=[spoil.__name__ for spoil, _ in HOSTILE])
def test_hostile_checkpoints_are_refused(
    spoil: Callable[[Path, Path], None], message: str, tiny: Tiny, tmp_path: Path
) -> None:
    card, good = tiny("mini-image")
    folder, mark = tmp_path / "image", tmp_path / "mark"
    shutil.copytree(good, folder)
    check_safe(folder)  # as it is, it may be loaded
    spoil(folder, mark)
    with pytest.raises(CheckpointError, match=message) as failure:
        PipelineWeights(card, folder).load()
    assert failure.value.hint
    assert not mark.exists()


def test_pickles_are_not_read_even_beside_safetensors(tiny: Tiny, tmp_path: Path) -> None:
    card, good = tiny("mini-image")
    folder, mark = tmp_path / "image", tmp_path / "mark"
    shutil.copytree(good, folder)
    (folder / "transformer" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Marks(mark)))
    PipelineWeights(card, folder).load()
    assert not mark.exists()


def test_a_vocabulary_may_hold_any_word(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("mini-image")[1], tmp_path / "image")
    (tmp_path / "image" / "tokenizer" / "vocab.json").write_text('{"auto_map": 1, "_custom_pipeline": 2}')
    check_safe(tmp_path / "image")


def test_parts_that_are_missing_are_named_without_loading(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "image"
    shutil.copytree(tiny("mini-image")[1], folder)
    check_whole(folder)
    weights = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "vae" / weights["a"]).touch()
    (folder / "vae" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    with pytest.raises(CheckpointError, match=r"vae/model-00002-of-00002\.safetensors is missing"):
        check_whole(folder)
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(CheckpointError, match="tokenizer is missing") as failure:
        check_whole(folder)
    assert failure.value.hint


@pytest.mark.parametrize("keep", [0, 100])
def test_torn_weights_say_so(keep: int, tiny: Tiny, tmp_path: Path) -> None:
    card, good = tiny("mini-image")
    folder = tmp_path / "image"
    shutil.copytree(good, folder)
    weights = next((folder / "transformer").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="cannot be loaded as ZImagePipeline"):
        PipelineWeights(card, folder).load()


def test_the_hub_s_cache_may_link_to_its_own_blobs(tiny: Tiny, tmp_path: Path) -> None:
    _, good = tiny("mini-image")
    repository = tmp_path / "models--owner--name"
    snapshot, blobs = repository / "snapshots" / ("0" * 40), repository / "blobs"
    shutil.copytree(good, snapshot)
    blobs.mkdir()
    file = next((snapshot / "transformer").glob("*.safetensors"))
    file.rename(blobs / "abc")
    file.symlink_to(blobs / "abc")
    check_safe(snapshot)
    assert fingerprint(snapshot) == "0" * 40


def test_the_fingerprint_is_that_of_the_content(tiny: Tiny, tmp_path: Path) -> None:
    _, good = tiny("mini-image")
    shutil.copytree(good, tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == fingerprint(good)
    edit(tmp_path / "copy" / "scheduler" / "scheduler_config.json", shift=3.0)
    assert fingerprint(tmp_path / "copy") != fingerprint(good)


@pytest.mark.parametrize(
    ("variant", "wanted", "unwanted"),
    [
        (None, ["unet/model.safetensors", "unet/model-00001-of-00002.safetensors"], ["whole.safetensors"]),
        (
            "fp16",
            ["unet/model.fp16.safetensors", "te/m.fp16-00001-of-00002.safetensors"],
            ["unet/m.safetensors"],
        ),
    ],
)
def test_only_what_is_loaded_is_fetched(variant: str | None, wanted: list[str], unwanted: list[str]) -> None:
    repository = ["model_index.json", "unet/config.json", *wanted, *unwanted, "unet/model.bin", "code.py"]
    fetched = list(filter_repo_objects(repository, allow_patterns=wanted_files(variant)))
    assert fetched == ["model_index.json", "unet/config.json", *wanted]


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="generator mini-image: no weights in") as failure:
        open_card(load_card("mini-image"), root=tmp_path)
    assert failure.value.hint


@pytest.mark.parametrize("download", [False, True])
def test_a_repository_that_is_not_there_says_how_to_get_it(download: bool) -> None:
    """HF_HUB_OFFLINE is set in tests, so a download must not even be tried."""
    card = parse_card(HUB_CARD, origin="x.toml", name="x")
    with pytest.raises(ModelNotFound, match="nobody/nothing-here at main is not on this machine") as failure:
        locate(card, None, download=download)
    assert "hf download nobody/nothing-here --revision main --include '*.json'" in failure.value.hint
    assert "--include '*/*.safetensors' (2 GB, licence Apache-2.0)" in failure.value.hint
