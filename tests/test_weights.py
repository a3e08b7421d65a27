"""A model folder whose weights do not fit is refused in every use, with the names of the tensors."""

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, set_seed

from rlaif_dagster.errors import ModelError
from rlaif_dagster.judging.calls import Call
from rlaif_dagster.judging.providers.local import LocalJudge, LocalJudgeSettings
from rlaif_dagster.judging.templates import load_template
from rlaif_dagster.models import copy_causal_lm, embedded_path, find_model, open_causal_lm
from rlaif_dagster.training.rewards import RewardModel, open_reward_model
from rlaif_dagster.weights import CAUSAL_LM, REWARD_BASE_USE, REWARD_MODEL_USE, inspect_model, open_model
from tests.misfits import (
    EMBEDDING,
    MISFITS,
    NORM,
    WEIGHTS,
    change_config,
    change_weights,
    copy_policy,
    make_misfit,
    with_more,
)

CPU = torch.device("cpu")
HEAD = torch.ones(1, 128)


def ask_judge(folder: Path) -> None:
    template = load_template("pairwise")
    settings = LocalJudgeSettings(provider="local", model="models/judge", template="pairwise")
    call = Call(call_id="1", texts={"prompt": "x", "first": "a", "second": "b", "principle": "c"}, repeat=0)
    list(chain.from_iterable(LocalJudge(settings, template, folder=folder).ask([call])))


def take_into_a_project(folder: Path) -> None:
    """As base policy, judge, critic and independent judge are."""
    file = folder.parent / "pipeline.yaml"
    source = find_model(folder.parent, folder.name, None, file=file, field="base_policy.model")
    copy_causal_lm(source, folder.with_name("version"))


USES: dict[str, Callable[[Path], Any]] = {
    "policy": lambda folder: open_causal_lm(folder, dtype="float32"),
    "chat": lambda folder: open_causal_lm(folder, dtype="auto"),
    "judge": ask_judge,
    "source": take_into_a_project,
    "reward base": lambda folder: open_reward_model(folder, dtype="float32"),
    "reward base, named": lambda folder: inspect_model(folder, REWARD_BASE_USE, name="the model models/base"),
    "reward model": lambda folder: RewardModel.open(folder, dtype="float32", device=CPU),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_is_refused_in_every_use(name: str, use: str, tmp_path: Path) -> None:
    folder = make_misfit(name, tmp_path / "model")
    if use == "reward model" and (folder / WEIGHTS).is_file() and name not in ("cut short", "empty file"):
        with_more(score__weight=HEAD)(folder)  # so that the head is not what it lacks
    with pytest.raises(ModelError) as error:
        USES[use](folder)
    message = str(error.value)
    assert "\n  remedy: " in message
    assert "model" in message.partition(":")[0]
    for words in MISFITS[name].words:
        assert re.search(words, message), message


@pytest.mark.parametrize("use", ["policy", "reward base", "reward model"])
def test_numbers_that_are_not_finite_are_refused(use: str, tmp_path: Path) -> None:
    """A judge's are not: each of its answers says so (tests/judging/test_local.py)."""
    folder = copy_policy(tmp_path / "model")
    broken = torch.full((128,), float("inf"))
    change_weights(folder, lambda held: held | {NORM: broken, "score.weight": HEAD})
    if use != "reward model":
        change_weights(folder, lambda held: {key: held[key] for key in held if key != "score.weight"})
    with pytest.raises(ModelError, match=r"not finite.*1 tensor \(model\.norm\.weight\)[\s\S]*remedy"):
        USES[use](folder)


def test_a_number_that_float16_cannot_hold_is_refused_there_alone(tmp_path: Path) -> None:
    folder = copy_policy(tmp_path / "model")
    change_weights(folder, lambda held: held | {NORM: torch.full((128,), 1e6)})
    open_causal_lm(folder, dtype="bfloat16")
    with pytest.raises(ModelError, match=r"not finite.*read as float16.*[\s\S]*another `dtype`"):
        open_causal_lm(folder, dtype="float16")


def _tie_twice(folder: Path) -> None:
    change_weights(folder, lambda held: held | {"lm_head.weight": held[EMBEDDING].clone()})


def _name_the_tied_weight_otherwise(folder: Path) -> None:
    change_weights(
        folder,
        lambda held: {("lm_head.weight" if key == EMBEDDING else key): value for key, value in held.items()},
    )


def _save_bare(folder: Path) -> None:
    """As the architecture's base model is saved."""
    change_weights(folder, lambda held: {key.removeprefix("model."): value for key, value in held.items()})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: None, id="as it is"),
        pytest.param(_tie_twice, id="tied weight saved twice"),
        pytest.param(_name_the_tied_weight_otherwise, id="tied weight under its other name"),
        pytest.param(_save_bare, id="no prefix"),
        pytest.param(
            with_more(model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(16)), id="frequencies"
        ),
        pytest.param(with_more(model__rotary_pos_emb__inv_freq=torch.ones(16)), id="other frequencies"),
        pytest.param(with_more(model__layers__0__attn__bias=torch.ones(1, 1, 4, 4)), id="causal mask"),
        pytest.param(lambda folder: change_config(folder, quantization_config=None), id="no quantization"),
    ],
)
def test_what_transformers_computes_again_or_ties_is_not_missed(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = copy_policy(tmp_path / "model")
    change(folder)
    assert inspect_model(folder, CAUSAL_LM, name="it") == ()
    model, _ = open_causal_lm(folder, dtype="float32")
    plain, _ = open_causal_lm(embedded_path("policy"), dtype="float32")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_a_new_reward_models_head_is_drawn_from_the_seed_and_named() -> None:
    folder = embedded_path("policy")
    assert inspect_model(folder, REWARD_BASE_USE, name="it") == ("score.weight",)
    heads = []
    for seed in (1, 1, 2):
        set_seed(seed)
        opened = open_model(folder, REWARD_BASE_USE, dtype="float32")
        assert opened.new_weights == ("score.weight",)
        heads.append(opened.model.score.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.slow
def test_a_reward_model_must_have_its_head_and_is_no_policy(tmp_path: Path) -> None:
    folder = copy_policy(tmp_path / "model")
    with pytest.raises(ModelError, match=r"missing, of 39: 1 tensor \(score\.weight\)"):
        open_model(folder, REWARD_MODEL_USE, dtype="float32")
    with_more(score__weight=HEAD)(folder)
    for use in (REWARD_MODEL_USE, REWARD_BASE_USE):
        assert open_model(folder, use, dtype="float32").new_weights == ()
    with pytest.raises(ModelError, match=r"not in the model: 1 tensor \(score\.weight\)"):
        open_causal_lm(folder, dtype="float32")
    with_more(lm_head__weight=torch.ones(1664, 128))(folder)  # some tools leave it there
    open_model(folder, REWARD_MODEL_USE, dtype="float32")


def test_a_head_of_which_a_part_is_missing_is_refused(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=1664, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    config.num_labels = 1
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(embedded_path("policy")).save_pretrained(tmp_path)
    assert inspect_model(tmp_path, REWARD_BASE_USE, name="it") == ()
    held = load_file(tmp_path / WEIGHTS)
    save_file({k: v for k, v in held.items() if k != "classifier.bias"}, tmp_path / WEIGHTS)
    with pytest.raises(ModelError, match=r"1 tensor \(classifier\.bias\)"):
        inspect_model(tmp_path, REWARD_BASE_USE, name="it")
    save_file({k: v for k, v in held.items() if not k.startswith("classifier.")}, tmp_path / WEIGHTS)
    new = inspect_model(tmp_path, REWARD_BASE_USE, name="it")
    assert new == ("classifier.bias", "classifier.weight")


def test_a_token_that_nothing_uses_may_lie_beyond_the_embedding(tmp_path: Path) -> None:
    """As the image placeholder of a text model does; one that the chat template writes may not."""
    folder = copy_policy(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    open_causal_lm(folder, dtype="float32")
    tokenizer.chat_template += "<image>"
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"ids up to 1664.*1664 rows[\s\S]*resize_token_embeddings"):
        open_causal_lm(folder, dtype="float32")


def test_a_shard_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    """Its bytes would be in no digest."""
    folder = make_misfit("lost shard", tmp_path / "model")
    other = tmp_path / "other.safetensors"
    index = folder / f"{WEIGHTS}.index.json"
    (folder / "model-00001-of-00002.safetensors").rename(other)
    index.write_text(re.sub(r"model-0000\d-of-00002\.safetensors", "../other.safetensors", index.read_text()))
    (folder / "some.safetensors").write_bytes(other.read_bytes())
    with pytest.raises(ModelError, match=r"\.\./other\.safetensors\), not in this folder"):
        open_causal_lm(folder, dtype="float32")
    index.write_text("[]")
    with pytest.raises(ModelError, match=r"no `weight_map`"):
        open_causal_lm(folder, dtype="float32")


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": "x"},
        {"num_attention_heads": 0},
        {"vocab_size": 0},
        {"dtype": "nosuch"},
        {"hidden_act": "nosuch"},
        {"num_key_value_heads": 3},
        {"quantization_config": {"quant_method": "awq"}},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_whatever_transformers_raises_is_an_error_of_this_package(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    folder = copy_policy(tmp_path / "model")
    change_config(folder, **fields)
    with pytest.raises(ModelError, match=r"\n  remedy: "):
        open_causal_lm(folder, dtype="auto")
