"""A dialect is two files: those that are shipped, the one in the documentation, and ones that are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modaverse.context import (
    Malformed,
    MetaResponse,
    MetaResponseOpened,
    Modality,
    ParserEvent,
    TextDelta,
    WrappedText,
)
from modaverse.errors import GrammarError
from modaverse.metaresponse import Catalogue, StreamParser, TokenMask, Vocabulary
from modaverse.metaresponse.grammar import load_dialect

DOCS = Path(__file__).parents[2] / "docs" / "dialects.md"


def read(grammar: str | Path, text: str, **arguments: object) -> list[ParserEvent]:
    parser = StreamParser(grammar, **arguments)  # type: ignore[arg-type]
    events = [*parser.feed(text), *parser.close()]
    assert "".join(event.raw for event in events) == text
    return events


def test_tool_calls(catalogue: Catalogue) -> None:
    text = (
        'Sure.\n<tool_call>\n{"name": "TI-to-I", "arguments": {"prompt": "bluer", "seed": 3, "source": 1}}\n'
        "</tool_call>\nDone."
    )
    assert read("tool_call", text, catalogue=catalogue, sources={1: Modality.IMAGE}) == [
        TextDelta("Sure.\n"),
        MetaResponseOpened("TI-to-I"),
        MetaResponse("TI-to-I", "bluer", {"seed": 3}, 1),
        TextDelta("\nDone."),
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"name": "T-to-I", "arguments": {"seed": 1}}', "prompt is missing"),
        ('{"name": "T-to-I", "arguments": {"prompt": "a", "prompt": "b"}}', "the key prompt stands twice"),
        ('{"name": "T-to-I", "arguments": {"prompt": "a", "size": 1}}', "the options do not fit T-to-I"),
        ('{"name": "T-to-I", "arguments": {"prompt": "a"}, "id": 1}', "the key id means nothing in a call"),
        ('{"name": "T-to-I", "arguments": "a"}', "prompt is missing"),
        ('{"name": "TI-to-I", "arguments": {"prompt": "a"}}', "TI-to-I needs a source"),
    ],
)
def test_faults_speak_the_dialect(body: str, reason: str, catalogue: Catalogue) -> None:
    malformed = read("tool_call", f"<tool_call>{body}</tool_call>", catalogue=catalogue)[-1]
    assert isinstance(malformed, Malformed)
    assert malformed.reason.startswith(reason)


@pytest.mark.parametrize("end", [" ###", "###", " ", "", " # ##"])
def test_the_released_checkpoint(end: str) -> None:
    prompt = f"A photo of a cat.{end.removesuffix('###')}".strip()
    assert read("modaverse_v0", f"Modality: [IMAGE] Prompt: A photo of a cat.{end}") == [
        MetaResponseOpened("T-to-I"),
        MetaResponse("T-to-I", prompt),
    ]


def test_the_released_checkpoint_answers_in_words_and_with_several_media() -> None:
    assert read("modaverse_v0", "Modality: [TEXT] Prompt: It is a cat. ###") == [WrappedText("It is a cat.")]
    assert read("modaverse_v0", "Modality: [TEXT][IMAGE] [AUDIO] Prompt: A cat. ### M") == [
        MetaResponseOpened("T-to-I"),
        MetaResponseOpened("T-to-A"),
        WrappedText("A cat."),
        MetaResponse("T-to-I", "A cat."),
        MetaResponse("T-to-A", "A cat."),
        TextDelta(" "),
        TextDelta("M"),
    ]


def test_an_unfinished_answer_of_the_released_checkpoint_is_malformed() -> None:
    for text in ("Modality: ", "Modality: [IMAGE]", "Modality: [IMAGE] Promp"):
        malformed = read("modaverse_v0", text)[-1]
        assert isinstance(malformed, Malformed)
        assert malformed.reason == "the answer ended inside a call"


def test_half_a_surrogate_pair_is_no_part_of_an_input_in_plain_words() -> None:
    (_, call) = read("modaverse_v0", "Modality: [IMAGE] Prompt: a \ud83d cat ###")
    assert call == MetaResponse("T-to-I", "a \ufffd cat")


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("", "Input is missing"),
        ("###", "Input is missing"),
        (" ###", "Input is empty"),
        (" \n", "Input is empty"),
    ],
)
def test_the_released_checkpoint_must_say_what_it_wants(prompt: str, reason: str) -> None:
    malformed = read("modaverse_v0", f"Modality: [IMAGE] Prompt:{prompt}")[-1]
    assert isinstance(malformed, Malformed)
    assert malformed.reason == reason


def test_a_marker_is_a_token_where_the_tokenizer_has_it(make_tokenizer) -> None:
    call = '<tool_call>{"name": "T-to-I", "arguments": {"prompt": "a"}}</tool_call>'
    for markers, opened in (((), True), (("<tool_call>", "</tool_call>"), False)):
        vocabulary = Vocabulary.from_tokenizer(make_tokenizer("byte-level", markers))
        parser = StreamParser("tool_call", vocabulary=vocabulary)
        events = parser.feed_ids([vocabulary.single(byte) for byte in call.encode()])
        assert any(isinstance(event, MetaResponse) for event in events) is opened


# ------------------------------------------------------------------------------- one's own dialects


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """The dialect of the documentation, as it stands there."""
    blocks = dict(re.findall(r"```(lark|toml)\n(.*?)```", DOCS.read_text(), flags=re.DOTALL))
    for kind, block in blocks.items():
        (tmp_path / f"brackets.{kind}").write_text(block)
    return tmp_path / "brackets.lark"


def test_the_documented_dialect_works(documented: Path) -> None:
    assert read(documented, "Look: [[image: a brown dog]] [nice] [[sound") == [
        TextDelta("Look: "),
        MetaResponseOpened("T-to-I"),
        MetaResponse("T-to-I", "a brown dog"),
        TextDelta(" [nice] "),
        Malformed(
            "[[sound", "the answer ended inside a call", "Allow more tokens, or shorter prompts.", 1, 44
        ),
    ]


def test_the_documentation_lists_what_is_shipped() -> None:
    folder = Path(__file__).parents[2] / "grammars"
    rows = set(re.findall(r"^\| `(\w+)` \|", DOCS.read_text(), flags=re.MULTILINE))
    assert (
        rows == {file.stem for file in folder.glob("*.lark")} == {file.stem for file in folder.glob("*.toml")}
    )


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('open: "[["', "open: /x+/", "the rule `open` is not one fixed string"),
        ('close: "]]"', 'close: "]]" | "}}"', "the rule `close` is not one fixed string"),
        ('text: PROSE | "["', "text: PROSE", "does not take every character"),
        ("call: open", 'call: "!" open', "a part can begin with"),
        ("[a-z]+", "(?=a)[a-z]+", "cannot be read as a stream"),
        ("[a-z]+", r"\\w+", "which lark and llguidance read differently"),
        ("[a-z]+", "a+?", "cannot be read as a stream"),
        ("[a-z]+", "a{1,900}", "more than 256 repeats"),
        ("prompt: WORDS", "prompt: NOTHING", "brackets.lark"),
        ("NAME: /[a-z]+/", "NAME /[a-z]+/", "brackets.lark"),
    ],
)
def test_a_wrong_grammar_says_what_is_wrong(documented: Path, old: str, new: str, complaint: str) -> None:
    source = documented.read_text()
    assert old in source
    documented.write_text(source.replace(old, new.replace("\\\\", "\\")))
    with pytest.raises(GrammarError, match=re.escape(complaint)) as error:
        read(documented, "a")
    assert error.value.hint


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ('model = "model"', "input is missing"),
        ('model = "model"\ninput = 3', "input is no field, or not in quotes"),
        ('model = "model"\ninput = "prompt"\nsize = "x"', "size is no field"),
        ('model = "model"\ninput = "answer"', "there is no rule `answer`"),
        ("model = ", "brackets.toml"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(documented: Path, table: str, complaint: str) -> None:
    documented.with_suffix(".toml").write_text(table)
    with pytest.raises(GrammarError, match=re.escape(complaint)):
        read(documented, "a")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(GrammarError, match=r"there is no grammar 'klingon'") as error:
        load_dialect("klingon")
    assert "meta_response" in error.value.hint
    with pytest.raises(GrammarError, match=r"lacks the file .*none\.lark"):
        load_dialect(tmp_path / "none.lark")


def test_what_llguidance_cannot_read_is_a_grammar_error(tmp_path: Path, make_tokenizer) -> None:
    source = load_dialect("meta_response").source.replace("text: PROSE", "text.2: PROSE")
    (tmp_path / "odd.lark").write_text(source)
    (tmp_path / "odd.toml").write_text('model = "object.Model"\ninput = "object.Input"\n')
    vocabulary = Vocabulary.from_tokenizer(make_tokenizer("byte-level", ("<meta>", "</meta>")))
    with pytest.raises(GrammarError, match=r"llguidance does not read odd\.lark"):
        TokenMask.compile(vocabulary, Catalogue([]), grammar=tmp_path / "odd.lark")
