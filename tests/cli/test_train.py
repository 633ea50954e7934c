"""`modaverse train` on tiny models: its settings, a run that goes on, a result that is a profile."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from modaverse.cli.train_settings import described, leaves, settings_for, trained_profile
from modaverse.errors import SettingsError
from modaverse.settings import load_profile
from modaverse.testing import save_tiny_llm
from modaverse.training.settings import TrainSettings


def rows(path: Path) -> Path:
    """Rows of words and calls; the features of media are tested elsewhere."""
    call = {"type": "meta_response", "model": "T-to-I", "input": "a cat"}
    answers = ([{"type": "text", "text": "Hello."}], [{"type": "text", "text": "Here: "}, call])
    with path.open("w") as file:
        for index in range(12):
            user = {"role": "user", "parts": [{"type": "text", "text": f"Request {index}"}]}
            answer = {"role": "assistant", "parts": answers[index % 2]}
            file.write(json.dumps({"turns": [user, answer]}) + "\n")
    return path


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A folder with a profile of a tiny LLM and a tiny encoder."""
    import torch

    from modaverse.imagebind import ImageBind, ImageBindConfig, ImageBindEncoder

    sizes: dict[str, Any] = {"out_embed_dim": 8, "image_size": 16, "vision_patch": 8, "text_vocab_size": 8}
    for trunk in ("vision", "audio", "text"):
        sizes |= {f"{trunk}_embed_dim": 8, f"{trunk}_num_blocks": 1, f"{trunk}_num_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ImageBind(ImageBindConfig(**sizes), modalities=("vision", "audio"))
    ImageBindEncoder(net).save_pretrained(tmp_path / "own" / "encoder")
    save_tiny_llm(tmp_path / "own" / "llm")
    (tmp_path / "own" / "profile.toml").write_text(
        '[llm]\npath = "llm"\nadapter = "none-yet"\n[encoder]\npath = "encoder"\n'
    )
    return tmp_path / "own"


QUICK = "--precision float32 --batch-size 4 --lora.r 2 --lora.alpha=2 --log-every 1 --feature-cache cache"


@pytest.fixture
def train(modaverse, profile: Path, tmp_path: Path) -> Callable[..., Any]:
    """Train into trained/ with these further options."""
    data = rows(tmp_path / "rows.jsonl")
    fixed = ("train", "--data", data, "--profile", profile, "--out", "trained", *QUICK.split())
    return lambda *options: modaverse(*fixed, *options)


def test_what_was_trained_on_an_instruct_llm_speaks_its_turns_and_reads_media(
    train, profile: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(profile / "llm")
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% if m['role'] == 'assistant' %}<|end|>"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer.save_pretrained(profile / "llm")
    untrained = '[answer]\ngrammar = "tool_call"\nsplice = "none"\n'
    (profile / "profile.toml").write_text(f'[llm]\npath = "llm"\n[encoder]\npath = "encoder"\n{untrained}')
    result = train("--steps", "1")
    assert result.returncode == 0, result.stderr
    made = load_profile(tmp_path / "trained")
    assert (made.answer.grammar, made.answer.splice) == ("meta_response", "wait")
    turns = json.loads((tmp_path / "trained" / "config.json").read_text())["transcript"]
    assert (turns["start"], turns["user_start"], turns["between"]) == ("<|user|>", "", "<|user|>")


def test_a_run_makes_a_profile(train, profile: Path, tmp_path: Path) -> None:
    result = train("--steps", "3")
    assert result.returncode == 0, result.stderr
    assert re.match(r"trains [\d,]+ parameters, [\d.]+% of the LLM's [\d,]+: lora ", result.stdout)
    assert "all 3 of 3  loss " in result.stdout
    assert result.stdout.endswith("trained: trained  (modaverse run --profile trained ...)\n")
    made = load_profile(tmp_path / "trained")
    assert made.llm.adapter.resolve() == (tmp_path / "trained").resolve()
    assert made.llm.path is not None
    assert made.llm.path.resolve() == (profile / "llm").resolve()
    again = train("--steps", "3")
    assert again.returncode == 2
    assert "trained holds a training run already" in again.stderr
    assert train("--steps", "3", "--resume").returncode == 0


def test_what_would_train_is_said_without_training(modaverse, train, profile: Path, tmp_path: Path) -> None:
    result = modaverse("train", "--profile", profile, "--parameters", "--lora.r", "2")
    assert result.returncode == 0, result.stderr
    each = result.stdout.partition(": ")[2]
    assert each.startswith("lora ")
    assert each in train("--steps", "1").stdout
    for missing, complaint in (("--out", "no folder for the result"), ("--data", "no rows to train on")):
        options = {"--out": tmp_path / "new", "--data": tmp_path / "rows.jsonl"}
        del options[missing]
        given = [word for pair in options.items() for word in pair]
        result = modaverse("train", "--profile", profile, *given)
        assert result.returncode == 2
        assert complaint in result.stderr
        assert missing in result.stderr


@contextmanager
def terminated_after(log: Path, lines: int) -> Iterator[None]:
    """Send SIGTERM to this process once the log has so many lines; by then the command listens for it."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            if log.exists() and log.read_text().count("\n") >= lines:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def test_a_run_that_is_told_to_end_goes_on_later(train, tmp_path: Path) -> None:
    log = tmp_path / "trained" / "log.jsonl"
    with terminated_after(log, 2):
        first = train("--steps", "500")
    assert first.returncode == 130, first.stderr
    assert "of 500; --resume goes on from there" in first.stdout
    assert not (tmp_path / "trained" / "profile.toml").exists()
    with terminated_after(log, log.read_text().count("\n") + 2):
        second = train("--steps", "500", "--resume")
    assert second.returncode == 130, second.stderr
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))  # none twice, none missing


# ---------------------------------------------------------------------------------------- settings


def test_help_has_every_setting(modaverse) -> None:
    text = modaverse("train", "--help").stdout
    for name, field in leaves():
        assert f"--{name} " in text
        assert field.description
    assert len(described()) > 40


def test_options_come_before_the_file_and_the_file_before_the_profile(tmp_path: Path) -> None:
    file = tmp_path / "more.toml"
    file.write_text('data = ["rows"]\nsteps = 7\nseed = 3\nencoder = "enc"\n[lora]\nr = 8\nalpha = 4\n')
    settings = settings_for("mini", [], file, ["--seed", "5", "--lora.r=2", "--eval-data", "a,b"])
    mini = load_profile("mini")
    assert settings.llm == mini.llm.place
    assert settings.data == (tmp_path / "rows",)
    assert settings.encoder == tmp_path / "enc"
    assert (settings.steps, settings.seed, settings.lora.r, settings.lora.alpha) == (7, 5, 2, 4)
    assert settings.eval_data == (Path("a"), Path("b"))
    assert settings_for("mini", [Path("other")], file, []).data == (Path("other"),)
    file.write_text('llm = "own/llm"\n')  # a repository, unless there is such a folder
    assert settings_for("mini", [Path("rows")], file, []).llm == "own/llm"
    (tmp_path / "own" / "llm").mkdir(parents=True)
    assert settings_for("mini", [Path("rows")], file, []).llm == str(tmp_path / "own" / "llm")


@pytest.mark.parametrize(
    ("value", "targets"),
    [("all-linear", "all-linear"), ("q_proj,v_proj", ("q_proj", "v_proj")), ("x", ("x",))],
)
def test_lists_are_separated_by_commas(value: str, targets: object) -> None:
    settings = settings_for("mini", [Path("rows")], None, ["--lora.target-modules", value])
    assert settings.lora.target_modules == targets


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["--lora.rr", "3"], "there is no training setting --lora.rr", "Did you mean --lora.r?"),
        (["rows"], "rows is no option", "--NAME VALUE"),
        (["--data=x"], "there is no training setting --data=x", ""),
        (["--steps"], "--steps has no value", "--steps VALUE"),
        (["--epochs", "--steps", "3"], "--epochs has no value", "--epochs VALUE"),
        (["--steps", "many"], "steps: ", "--help"),
        (["--steps", "2", "--epochs", "1"], "epochs and steps exclude each other", "--help"),
        (["--lora.r", "0"], "lora.r: ", "--help"),
    ],
)
def test_a_wrong_setting_is_named(options: list[str], message: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_for("mini", [Path("rows")], None, options)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_no_data_at_all(modaverse) -> None:
    result = modaverse("train", "--out", "x")
    assert result.returncode == 2
    assert "error: there are no rows to train on  hint: Name a file" in result.stderr


def test_a_result_names_only_what_differs(tmp_path: Path) -> None:
    def written(**changes: Any) -> str:
        values = {"data": ("rows",), "llm": load_profile("mini").llm.place}
        values |= {"encoder": load_profile("mini").encoder.path}
        return trained_profile("mini", TrainSettings.parse({**values, **changes}), tmp_path / "out")

    assert written() == ('extends = "mini"\ndescription = "mini, trained further"\n\n[llm]\nadapter = "."\n')
    other = written(llm="owner/name", revision="abc", encoder=tmp_path / "enc")
    assert 'repository = "owner/name"\nrevision = "abc"\n' in other
    assert '[encoder]\npath = "../enc"\n' in other
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "profile.toml").write_text(other)
    made = load_profile(tmp_path / "out")
    assert made.llm.repository == "owner/name"
    assert made.llm.path is None
    assert made.encoder.path.resolve() == (tmp_path / "enc").resolve()
    assert made.generators == load_profile("mini").generators
