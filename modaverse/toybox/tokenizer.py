"""Mini's tokenizer: a byte-level BPE of 3,072 tokens, made from Toybox's language and common English words.

Control tokens stand at the end of the vocabulary, in this order:

    <pad>  <s>  <|user|>  <|assistant|>  <|end|>

`<|end|>` ends an answer, a document and a caption (eos). It has the highest id on purpose: a CLIP-like text
encoder reads its output at the highest id of a sequence. Conversations are written

    <|user|>Draw a cat<|assistant|>Here it is.<|end|><|user|>Thanks<|assistant|>You are welcome!<|end|>

and the markers of calls and media (`<meta>` and so on) are added behind, by `modaverse.language`. The LLM,
the generators' text encoders and the encoder's text side all use this one tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, USER, ASSISTANT, EOS = CONTROL = ("<pad>", "<s>", "<|user|>", "<|assistant|>", "<|end|>")
VOCABULARY = 3072
MAX_LENGTH = 2048

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<|user|>{{ message['content'] }}"
    "{% else %}<|assistant|>{{ message['content'] }}<|end|>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(
    seed: int = 0, vocab_size: int = VOCABULARY, *, lines: int = 150_000
) -> PreTrainedTokenizerFast:
    """A fresh tokenizer, the same for the same arguments and library versions (about 10 s)."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    # Digits stand alone, so that numbers of media are always the same tokens.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    backend.train_from_iterator(training_lines(seed, lines), trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def training_lines(seed: int, count: int) -> Iterator[str]:
    """What the merges are learnt from: captions, calls, requests as people type them, and English."""
    from modaverse.toybox.wordings import vocabulary

    yield from vocabulary.lines(seed, count)


def load_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer as it ships with mini, to which every trained part is bound."""
    from transformers import PreTrainedTokenizerFast

    folder = resources.files("modaverse.profiles").joinpath("mini", "llm")
    return PreTrainedTokenizerFast.from_pretrained(str(folder))
