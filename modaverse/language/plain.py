"""Outside text as token ids, with no way to a control token.

Users, file names, captions, metadata and error messages may spell `<meta>`, `</s>` or `<|im_end|>`. Two
roads lead from such a spelling to the control token: the tokenizer's list of added tokens, which is
matched before anything else, and the model's own vocabulary, where some tokenizers list their control
tokens a second time. `plain_tokenizer` closes both, and leaves every other id as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from modaverse.errors import SettingsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

_UNSPELLABLE = "\ufdd0"  # a Unicode noncharacter; `encode_plain` keeps it out of texts


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The tokens that steer a conversation and are no text: those that the tokenizer calls special."""
    added = tokenizer.added_tokens_decoder
    tokens = {str(token): int(index) for index, token in added.items() if token.special}
    named = (str(token) for token in tokenizer.all_special_tokens)
    return tokens | {token: int(tokenizer.convert_tokens_to_ids(token)) for token in named}


def plain_tokenizer(tokenizer: PreTrainedTokenizerBase, markers: Iterable[str] = ()) -> Tokenizer:
    """A copy of `tokenizer` without its added tokens, special or not. Ids of ordinary pieces stay.

    `markers` are tokens to keep out of reach although the tokenizer does not call them special.

    Raises:
        SettingsError: the tokenizer is not backed by the tokenizers library.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise SettingsError(
            f"The tokenizer {type(tokenizer).__name__} cannot be stripped of its control tokens",
            hint="Use an LLM whose tokenizer comes as tokenizer.json.",
        )
    description = json.loads(backend.to_str())
    hidden = {*special_tokens(tokenizer), *markers}
    description.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
    _hide(description["model"], hidden)
    return Tokenizer.from_str(json.dumps(description))


def encode_plain(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of `text` alone: nothing is put before or after it. Halves of surrogate pairs, as file names
    in error messages can have them, are no text and become U+FFFD.
    """
    whole = text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    ids: list[int] = tokenizer.encode(whole.replace(_UNSPELLABLE, "\ufffd"), add_special_tokens=False).ids
    return ids


def _hide(model: dict[str, Any], hidden: set[str]) -> None:
    """Give control tokens in the model's vocabulary names that no text can spell; their ids stay."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):  # Unigram: [piece, score], where the id is the place in the list
        model["vocab"] = [
            [f"{_UNSPELLABLE}{index}" if piece in hidden else piece, score]
            for index, (piece, score) in enumerate(vocabulary)
        ]
        return
    model["vocab"] = {
        f"{_UNSPELLABLE}{index}" if piece in hidden else piece: index for piece, index in vocabulary.items()
    }
    unknown = model.get("unk_token")
    if unknown in hidden:
        model["unk_token"] = f"{_UNSPELLABLE}{vocabulary[unknown]}" if unknown in vocabulary else None
    if model.get("merges"):
        pairs = (merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"])
        model["merges"] = [[a, b] for a, b in pairs if hidden.isdisjoint((a, b, a + b))]
