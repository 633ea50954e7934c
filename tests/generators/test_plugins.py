"""Plug-ins: found without being imported, imported when they are named, and blamed by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from modaverse.assembly import open_generators as open_profile
from modaverse.cli.card_check import check_card
from modaverse.cli.card_text import described, overview
from modaverse.context import Modality
from modaverse.errors import GenerationError, ModaVerseError, ModelError, SettingsError
from modaverse.generation import GeneratorPool
from modaverse.generators.opening import open_generators
from modaverse.generators.plugins import find_plugin, plugins
from modaverse.interfaces import Decoded, GenerationRequest, Generator, Place
from modaverse.media import decode
from modaverse.settings import load_profile

EXAMPLE = Path(__file__).parents[2] / "examples" / "abc-tunes"
PATIENCE = 30.0

GOOD = """
from modaverse.context import Modality
from modaverse.interfaces import CallSpec
from modaverse.testing import ScriptedGenerator

def open_them(place):
    return [ScriptedGenerator("T-to-" + place.device, Modality.IMAGE)]

def open_wrong_schema(place):
    return [ScriptedGenerator("T-to-I", Modality.IMAGE, options_schema={"type": "colour"})]

def open_texts(place):
    return ["T-to-I"]

def open_nothing(place):
    return []

def open_with_a_fault(place):
    return {}["weights"]

def open_without_files(place):
    from modaverse.errors import ModelNotFound
    raise ModelNotFound("no weights here", hint="Fetch them.")
"""

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with one plug-in where Python finds it, as pip would leave it."""

    def put(name: str = "painter", target: str = "open_them", code: str = GOOD, module: str = "") -> Path:
        module = module or f"plugin_of_{name.replace('-', '_')}"
        folder = tmp_path / module
        info = folder / f"{module}-1.2.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[modaverse.generators]\n{name} = {module}:{target}\n")
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return folder

    return put


def test_what_is_installed_is_listed_and_not_imported(install: Install) -> None:
    install(code="raise SystemExit('imported')")
    assert [(p.name, p.distribution, p.version) for p in plugins()] == [
        ("painter", "plugin_of_painter", "1.2")
    ]
    lines = list(overview())
    assert any(line.startswith("painter ") and "plug-in of plugin_of_painter 1.2" in line for line in lines)
    open_generators_of_the_rest = [check_card("no-such-thing", Place()), find_plugin("other")]
    assert open_generators_of_the_rest[1] is None
    assert "painter" in open_generators_of_the_rest[0].hint
    assert "plugin_of_painter" not in sys.modules


def test_a_name_imports_it_and_it_learns_where_it_runs(install: Install) -> None:
    install()
    (generator,) = open_generators("painter", Place(device="cuda:1"))
    assert generator.spec.model == "T-to-cuda:1"
    assert "plugin_of_painter" in sys.modules
    assert check_card("painter", Place()) is None
    assert "T-to-cpu: makes image" in list(described("painter", Place()))


# (what the package holds, the function that it names, what the error says)
FAULTS: list[tuple[str, str, type[ModaVerseError], str]] = [
    (
        "import no_such_thing",
        "open_them",
        ModelError,
        "cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'$",
    ),
    (
        "from modaverse import no_such_name",
        "open_them",
        ModelError,
        "cannot be imported: ImportError: cannot import name 'no_such_name' from 'modaverse'",
    ),
    ("1 / 0", "open_them", ModelError, "cannot be imported: ZeroDivisionError: division by zero"),
    (GOOD, "open_none_such", ModelError, "cannot be imported: AttributeError: .*'open_none_such'"),
    (GOOD, "open_with_a_fault", ModelError, "cannot be opened: KeyError: 'weights'"),
    (GOOD, "open_without_files", ModelError, "^no weights here$"),
    (GOOD, "open_texts", SettingsError, "returns str, which is no generator"),
    (GOOD, "open_nothing", SettingsError, "returns no generators"),
    (GOOD, "open_wrong_schema", SettingsError, "the options of T-to-I are no JSON Schema"),
]


@pytest.mark.parametrize(("code", "target", "kind", "message"), FAULTS)
def test_a_plugin_that_fails_is_shown_as_what_it_is(
    code: str, target: str, kind: type[ModaVerseError], message: str, install: Install
) -> None:
    install(target=target, code=code)
    with pytest.raises(kind, match=message) as failure:
        open_generators("painter", Place())
    assert failure.value.hint
    if "cannot be" in message:
        assert "plug-in painter of plugin_of_painter 1.2 cannot be" in failure.value.message
    found = check_card("painter", Place())
    assert found is not None
    assert found.message == failure.value.message


def test_a_name_that_two_packages_offer_is_refused(install: Install) -> None:
    install(module="one")
    install(module="two")
    with pytest.raises(SettingsError, match=r"one 1\.2 and two 1\.2 both offer a generator painter"):
        open_generators("painter", Place())


def test_a_card_that_ships_is_not_displaced(install: Install, tmp_path: Path) -> None:
    install(name="mini-image")
    with pytest.raises(ModelError, match="mini-image: no weights in"):
        open_generators("mini-image", Place(root=tmp_path))
    assert "plugin_of_mini_image" not in sys.modules


# --------------------------------------------------------------------------- the package in examples/

PROFILE = """
extends = "mini"
[generators]
cards = ["abc-tunes"]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("abc")
    shutil.copytree(EXAMPLE, folder / "source")  # pip leaves things behind where it builds
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run(
        [*command, "--no-deps", "--no-build-isolation", "--target", folder / "site", folder / "source"],
        check=True,
        timeout=120,
    )
    return folder / "site"


@pytest.fixture
def tunes(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Generator]:
    """The generators of a profile that names the example."""
    monkeypatch.syspath_prepend(installed)
    for name in [name for name in sys.modules if name.startswith("modaverse_abc")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "own.toml").write_text(PROFILE)
    return open_profile(load_profile(tmp_path / "own.toml"), torch.device("cpu"))


def pitch(sound: Decoded, start: float, end: float) -> float:
    """The strongest frequency between two moments, in Hz."""
    rate = sound.sample_rate  # type: ignore[union-attr]
    part = sound.array[int(start * rate) : int(end * rate), 0]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 8 * len(part)))
    return float(np.argmax(spectrum) * rate / (8 * len(part)))


@pytest.mark.slow
def test_the_example_plays_what_is_written(tunes: list[Generator], tmp_path: Path) -> None:
    with GeneratorPool(tunes, tmp_path / "made") as pool:
        assert list(pool.catalogue) == ["ABC-to-A"]
        request = GenerationRequest("ABC-to-A", "L:1/4\nQ:1/4=60\nK:D\nA f | z", 1, {"instrument": "organ"})
        call = pool.submit(request)
        media = call.result(PATIENCE)
        assert list(call.events()) == [(1, 2), (2, 2)]
        assert pool.submit(request).done  # it says what it is, so its results are kept
        sound = decode(media)
        assert media.modality is Modality.AUDIO
        assert len(sound.array) / 24_000 == pytest.approx(2.05, abs=0.01)
        assert pitch(sound, 0.1, 0.9) == pytest.approx(440.0, abs=2)
        assert pitch(sound, 1.1, 1.9) == pytest.approx(739.99, abs=2)  # in D, F is sharp
        quick = GenerationRequest("ABC-to-A", request.prompt, 1, {"tempo": 120})
        assert len(decode(pool.submit(quick).result(PATIENCE)).array) < 0.6 * len(sound.array)


# What is written, and the notes that it stands for: pitch (69 is A) and length in quarters of a second.
MUSIC = [
    ("C D E", [(60, 1), (62, 1), (64, 1)]),
    ("c c' c,", [(72, 1), (84, 1), (60, 1)]),
    ("A2 A/2 A//", [(69, 2), (69, 0.5), (69, 0.25)]),
    ("^F _B =F", [(66, 1), (70, 1), (65, 1)]),
    ("^c c | c", [(73, 1), (73, 1), (72, 1)]),
    ("K:Em\nF C", [(66, 1), (60, 1)]),
    ("K:Bb\nB e", [(70, 1), (75, 1)]),
    ("[CEG]2", [(60, 2), (64, 2), (67, 2)]),
    ("C-C C", [(60, 2), (60, 1)]),
    ("A>B c<d", [(69, 1.5), (71, 0.5), (72, 0.5), (74, 1.5)]),
    ("(3abc", [(81, 2 / 3), (83, 2 / 3), (72, 2 / 3)]),
    ("|: A :| B", [(69, 1), (69, 1), (71, 1)]),
    ('T:A tune\n"Am"A !trill!{g}~B %c', [(69, 1), (71, 1)]),
]

# What cannot be played, and what the error says of it.
NO_MUSIC = [
    ("", "there is no note in it"),
    ("A H", "'H' at place 3 of 'A H' is no music"),
    ("A [1 B", "first and second endings are not read"),
    ("V:1\nA", "there are several voices"),
    ("Q:fast\nA", "the tempo 'fast' is none"),
    ("K:H\nA", "the key 'H' is none"),
    ("L:1/0\nA", "'1/0' is no length"),
    ("[CE", "a chord is not closed"),
    ("A999", "the tune takes 250 s, and 60 s are the most"),
    ("A" * 2001, "there are more than 2000 notes"),
    ("C" * 1500 + ":|", "there are more than 2000 notes"),
]


@pytest.mark.slow
@pytest.mark.usefixtures("tunes")
def test_the_example_reads_the_notation() -> None:
    from modaverse_abc.notation import read

    for text, expected in MUSIC:
        found = [(note.pitch, note.seconds * 4) for note in read(text)]
        assert found == [(pitch, pytest.approx(length)) for pitch, length in expected], text


@pytest.mark.slow
@pytest.mark.parametrize(("text", "message"), NO_MUSIC)
def test_the_example_says_what_it_cannot_read(text: str, message: str, tunes: list[Generator]) -> None:
    with pytest.raises(GenerationError, match=f"ABC-to-A: {message}") as failure:
        tunes[0].generate(
            GenerationRequest("ABC-to-A", text, 1), progress=lambda *_: None, cancelled=lambda: False
        )
    assert failure.value.hint
