"""The tokenizer that both embedded models share. Imports transformers when called."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.world import lexicon
from rlaif_dagster.world.ground_truth import WORDINGS
from rlaif_dagster.world.questions import compose_prompt, list_known_sentences, list_questions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCAB_SIZE: Final = 1664
PAD, BOS, END = "<|pad|>", "<|begin|>", "<|end|>"
ROLE_TOKENS: Final = ("<|system|>", "<|user|>", "<|assistant|>")
MAX_TOKENS: Final = 1024

CHAT_TEMPLATE: Final = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ('system', 'user', 'assistant') %}"
    "{{ raise_exception('a role is one of system, user and assistant') }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def _iter_texts() -> Iterator[str]:
    """Yields the questions, sentences and wordings of the world, and the fixed text of the judge's prompt."""
    for index, question in enumerate(list_questions()):
        yield compose_prompt(lexicon.OPENINGS[index % len(lexicon.OPENINGS)], question)
    for sentence in list_known_sentences():
        yield f"{sentence} {sentence}"
    for wordings in WORDINGS.values():
        for wording in wordings:
            yield f"Rule: {wording} {wording}\nAsk: \nA: \nB: \nBetter:"


def build_tokenizer() -> "PreTrainedTokenizerFast":
    """Builds the byte-level BPE tokenizer: any text can be encoded, and most words of the world are one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core: Any = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        min_frequency=1,
        special_tokens=[PAD, BOS, END, *ROLE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_iter_texts(), trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLE_TOKENS),
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_TOKENS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
