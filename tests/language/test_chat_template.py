"""Schemes read off templates in the style of several families, on tokenizers with their control tokens."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, processors
from transformers import PreTrainedTokenizerFast

from modaverse.context import Context, MetaResponse, Role, Text
from modaverse.errors import SettingsError
from modaverse.language.chat_template import scheme_of
from modaverse.language.prompt import Script, Tokens
from modaverse.settings import TranscriptSettings
from modaverse.testing import tiny_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}<|head|>{{ m['role'] }}<|/head|>\n\n"
    "{{ m['content'] | trim }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|/head|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<|turn|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<|/turn|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>model\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
CONTROL = (
    "<|im_start|>",
    "<|im_end|>",
    "<|head|>",
    "<|/head|>",
    "<|eot|>",
    "<|turn|>",
    "<|/turn|>",
    "<|bos|>",
)


def tokenizer_with(template: str | None, *, begins: bool = False) -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken(token, special=True) for token in CONTROL], special_tokens=True)
    tokenizer.add_tokens(
        [AddedToken(m, special=True) for m in TranscriptSettings().markers], special_tokens=True
    )
    tokenizer.bos_token = "<|bos|>"
    tokenizer.chat_template = template
    if begins:
        pair = ("<|bos|>", tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[pair]
        )
    return tokenizer


@pytest.mark.parametrize(("template", "system"), [
    (CHATML, ""), (CHATML, "Be kind."), (HEADERS, ""), (HEADERS, "Be kind."), (GEMMA, ""), (INST, ""),
])  # fmt: skip
def test_a_transcript_reads_as_the_template_renders(template: str, system: str) -> None:
    tokenizer = tokenizer_with(template)
    script = Script(tokenizer, scheme_of(tokenizer, system=system))
    turns = [("user", "Hello"), ("assistant", "Good day"), ("user", "Draw a cat"), ("assistant", "Here")]
    context = Context()
    for role, text in turns:
        context = context.with_turn(Role(role), Text(text))
    spans = script.context(context)
    ours = tokenizer.decode([i for span in spans if isinstance(span, Tokens) for i in span.ids])
    messages = [{"role": role, "content": text} for role, text in turns]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    theirs = tokenizer.apply_chat_template(messages, tokenize=False)
    # A template may pad an answer with spaces, and write more after the last one than was ever sampled.
    squeezed = theirs.replace("Good day ", "Good day").replace("Here ", "Here").replace("] Good", "]Good")
    squeezed = squeezed.replace("] Here", "]Here")
    assert squeezed.startswith(ours)
    assert squeezed[len(ours) :].strip() == ""
    sampled = [tokenizer.decode(span.ids) for span in spans if isinstance(span, Tokens) and span.sampled]
    assert [text.removesuffix(script.settings.assistant_end) for text in sampled] == ["Good day", "Here"]


def test_a_template_without_a_system_role_gets_it_before_the_question() -> None:
    scheme = scheme_of(tokenizer_with(GEMMA), system="Be kind.")
    assert scheme.start == "<|bos|><|turn|>user\nBe kind.\n\n"
    assert scheme.between == "\n<|turn|>user\n"
    assert scheme.assistant_end == "<|/turn|>"


def test_a_template_that_passes_over_the_system_prompt_gets_it_as_well() -> None:
    deaf = CHATML.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
    assert deaf != CHATML
    assert scheme_of(tokenizer_with(deaf), system="Be kind.").start == "<|im_start|>user\nBe kind.\n\n"


def test_the_token_that_begins_every_text_is_not_lost() -> None:
    assert scheme_of(tokenizer_with(CHATML, begins=True)).start == "<|bos|><|im_start|>user\n"
    assert scheme_of(tokenizer_with(CHATML)).start == "<|im_start|>user\n"
    assert scheme_of(tokenizer_with(HEADERS, begins=True)).start.count("<|bos|>") == 1


@pytest.mark.parametrize(("template", "message"), [
    (None, "has no chat template"),
    ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "is no control token"),
    ("{{ messages[0]['content'] }}", "does not render each turn once"),
    ("{{ raise_exception('Tools only') }}", "renders no conversation: Tools only"),
    ("{% for m in messages %}", "renders no conversation: Unexpected end of template"),
])  # fmt: skip
def test_templates_that_do_not_serve(template: str | None, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        scheme_of(tokenizer_with(template))
    assert "transcript" in caught.value.hint


def test_a_call_fits_into_the_scheme() -> None:
    tokenizer = tokenizer_with(CHATML)
    script = Script(tokenizer, scheme_of(tokenizer))
    context = (
        Context().with_turn(Role.USER, Text("Draw")).with_turn(Role.ASSISTANT, MetaResponse("T-to-I", "x"))
    )
    shown = tokenizer.decode(
        [i for span in script.context(context) if isinstance(span, Tokens) for i in span.ids]
    )
    assert shown.endswith('<|im_start|>assistant\n<meta>{"Model": "T-to-I", "Input": "x"}</meta><|im_end|>')
