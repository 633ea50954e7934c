"""The turn scheme of an instruct LLM, read off its own chat template.

A template renders whole conversations, and renders earlier turns again each time; the transcript only grows.
So a template is used once: two conversations with known texts are rendered, and what stands between the
texts are the pieces of the scheme.

    <|im_start|>user\\n                     start
    ‖ the question ‖
    <|im_end|>\\n<|im_start|>assistant\\n    user_end
    ‖ the answer ‖
    <|im_end|>                              assistant_end
    \\n<|im_start|>user\\n                   between
    ‖ the next question ‖
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modaverse.errors import SettingsError
from modaverse.language.plain import special_tokens
from modaverse.settings import TranscriptSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_QUESTION, _ANSWER, _AGAIN = "Qfirst", "Areply", "Qsecond"


def scheme_of(tokenizer: PreTrainedTokenizerBase, *, system: str = "") -> TranscriptSettings:
    """How `tokenizer`'s chat template writes turns, with a system prompt where one is given.

    Raises:
        SettingsError: there is no chat template, or turns cannot be told apart in what it renders.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise SettingsError(
            "The LLM's tokenizer has no chat template",
            hint="Say in `transcript` how turns are to be written.",
        )
    first, longer = _rendered(tokenizer, system)
    if any(text.count(mark) != 1 for text, mark in ((first, _QUESTION), (longer, _ANSWER), (longer, _AGAIN))):
        raise SettingsError(
            "The LLM's chat template does not render each turn once",
            hint="Say in `transcript` how turns are to be written.",
        )
    start, user_end = first.split(_QUESTION)
    end, between = _split_end(tokenizer, longer.split(_ANSWER)[1].split(_AGAIN)[0])
    return TranscriptSettings(
        start=_with_begin(tokenizer, start),
        user_start="",
        user_end=user_end,
        assistant_end=end,
        between=between,
    )


def _rendered(tokenizer: PreTrainedTokenizerBase, system: str) -> tuple[str, str]:
    """What `_render` gives. Some templates know no system prompt, and say so or pass over it: it goes before
    the first question then.

    Raises:
        SettingsError: the template renders neither.
    """
    from jinja2 import TemplateError

    cause = "it leaves out what it is given"
    for prompt, before in ((system, ""), ("", f"{system}\n\n")):
        try:
            first, longer = _render(tokenizer, prompt, before)
        except TemplateError as error:
            cause = " ".join(str(error).split())
            continue
        if system.strip() in first:
            return first, longer
    raise SettingsError(
        f"The LLM's chat template renders no conversation: {cause}",
        hint="Say in `transcript` how turns are to be written.",
    )


def _render(tokenizer: PreTrainedTokenizerBase, system: str, before: str) -> tuple[str, str]:
    """A question alone, and a question, its answer and another question."""
    asked: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    asked.append({"role": "user", "content": before.lstrip() + _QUESTION})
    more = [{"role": "assistant", "content": _ANSWER}, {"role": "user", "content": _AGAIN}]
    first, longer = (
        tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        for turns in (asked, asked + more)
    )
    return str(first), str(longer)


def _split_end(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[str, str]:
    """The control token that ends an answer, and what follows it up to the next question."""
    stripped = text.lstrip()
    ends = [token for token in special_tokens(tokenizer) if stripped.startswith(token)]
    if not ends:
        raise SettingsError(
            f"The LLM's chat template ends an answer with {text[:20]!r}, which is no control token",
            hint="Say in `transcript` how turns are to be written.",
        )
    end = max(ends, key=len)
    return end, stripped[len(end) :]


def _with_begin(tokenizer: PreTrainedTokenizerBase, start: str) -> str:
    """`start` with the token that the tokenizer itself would put before every text."""
    begin = tokenizer.bos_token
    if begin is None or start.startswith(begin) or tokenizer.bos_token_id not in tokenizer("")["input_ids"]:
        return start
    return str(begin) + start
