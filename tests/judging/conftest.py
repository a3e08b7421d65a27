"""A tiny chat model with random weights, a template and a constitution."""

from pathlib import Path
from typing import Any, cast

import pytest

from rlaif_dagster.judging.constitution import Constitution, Principle
from rlaif_dagster.judging.providers.local import LocalJudge, LocalJudgeSettings
from rlaif_dagster.judging.templates import Template, load_template
from rlaif_dagster.numerics import prepare_torch

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights, and a byte-level tokenizer of one token a byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    specials = ["<|end|>", "<|user|>", "<|system|>", "<|assistant|>"]
    core.train_from_iterator(
        [],
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = cast(
        "Any", PreTrainedTokenizerFast
    )(
        tokenizer_object=core,
        eos_token="<|end|>",  # noqa: S106 (a token of text)
        additional_special_tokens=specials[1:],
        chat_template=CHAT_TEMPLATE,
    )
    prepare_torch(num_threads=1, device="cpu")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            initializer_range=0.3,
        )
    )
    folder = tmp_path_factory.mktemp("judge")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def compact() -> Template:
    return load_template("compact")


@pytest.fixture
def constitution() -> Constitution:
    return Constitution(
        principles=(
            Principle(id="brief", text="Be brief.", weight=1.0),
            Principle(id="kind", text="Be kind.", weight=3.0),
        )
    )


def make_local_judge(
    folder: Path, template: Template, *, batch_size: int = 8, **settings: object
) -> LocalJudge:
    return LocalJudge(
        LocalJudgeSettings.model_validate({"provider": "local", "model": "tiny", **settings}),
        template,
        folder=folder,
        batch_size=batch_size,
    )
