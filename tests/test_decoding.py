"""The draw is exact, and a text depends on its own seed alone."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.decoding import choose_tokens
from rlaif_dagster.errors import ModelError
from rlaif_dagster.generation.dialogues import encode_prompt
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.generation.sampling import complete_prompts
from rlaif_dagster.models import open_causal_lm
from tests.training.tiny_models import PROMPTS

GREEDY = LocalSamplingSettings(num_samples=1, temperature=0.0, max_new_tokens=16)


def test_a_uniform_number_picks_the_token_whose_share_of_the_unit_interval_holds_it() -> None:
    scores = torch.tensor([[0.5, 0.0, 0.25, 0.25]]).log()
    picked = {
        u: int(choose_tokens(scores, torch.tensor([u], dtype=torch.float64)))
        for u in (0.0, 0.49, 0.51, 0.74, 0.76, 1 - 2**-53)
    }
    assert picked == {0.0: 0, 0.49: 0, 0.51: 2, 0.74: 2, 0.76: 3, 1 - 2**-53: 3}


@given(
    weights=st.lists(st.integers(0, 9), min_size=2, max_size=6).filter(any),
    u=st.floats(0, 1, exclude_max=True),
)
def test_a_token_without_probability_is_never_drawn(weights: list[int], u: float) -> None:
    scores = torch.tensor([weights], dtype=torch.float32).log()
    assert weights[int(choose_tokens(scores, torch.tensor([u], dtype=torch.float64)))] > 0


def test_shares_of_drawn_tokens_match_their_probabilities() -> None:
    probabilities = torch.tensor([0.6, 0.3, 0.1])
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    tokens = choose_tokens(probabilities.log().expand(20_000, 3), uniforms)
    shares = torch.bincount(tokens, minlength=3) / 20_000
    assert torch.allclose(shares, probabilities, atol=4 * (0.25 / 20_000) ** 0.5)


@pytest.mark.slow
def test_temperature_zero_equals_greedy_generate(policy_path: Path, device: torch.device) -> None:
    model, tokenizer = open_causal_lm(policy_path, dtype="float32")
    prompts = PROMPTS[::5]
    ours = complete_prompts(
        model, tokenizer, prompts, seeds=range(len(prompts)), settings=GREEDY, batch_size=4
    )
    for prompt, completion in zip(prompts, ours, strict=True):
        ids = torch.tensor([encode_prompt(tokenizer, prompt)])
        theirs = cast("Any", model).generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16
        )
        assert completion.text == tokenizer.decode(theirs[0, ids.shape[1] :], skip_special_tokens=True)


def test_nucleus_sampling_with_a_tiny_top_p_is_greedy(policy_path: Path, device: torch.device) -> None:
    model, tokenizer = open_causal_lm(policy_path, dtype="float32")
    nucleus = LocalSamplingSettings(top_p=1e-6, max_new_tokens=16)
    seeds = range(len(PROMPTS))
    assert complete_prompts(
        model, tokenizer, PROMPTS, seeds=seeds, settings=nucleus, batch_size=48
    ) == complete_prompts(model, tokenizer, PROMPTS, seeds=seeds, settings=GREEDY, batch_size=48)


def test_the_models_own_penalties_do_not_change_what_the_settings_say(
    policy_path: Path, device: torch.device, tmp_path: Path
) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(policy_path, folder)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**config, "repetition_penalty": 50.0}))
    texts = []
    for path in (policy_path, folder):
        model, tokenizer = open_causal_lm(path, dtype="float32")
        texts.append(
            complete_prompts(model, tokenizer, PROMPTS[:6], seeds=range(6), settings=GREEDY, batch_size=6)
        )
        assert model.generation_config.repetition_penalty == (None if path == policy_path else 50.0)
    assert texts[0] == texts[1]


def test_a_response_that_never_ends_is_cut_and_says_so(policy_path: Path, device: torch.device) -> None:
    model, tokenizer = open_causal_lm(policy_path, dtype="float32")
    short = LocalSamplingSettings(num_samples=1, temperature=0.0, max_new_tokens=1)
    (completion,) = complete_prompts(model, tokenizer, PROMPTS[:1], seeds=[0], settings=short, batch_size=1)
    assert (completion.num_tokens, completion.finish_reason) == (1, "length")


def test_a_prompt_beyond_the_context_is_refused(policy_path: Path, device: torch.device) -> None:
    model, tokenizer = open_causal_lm(policy_path, dtype="float32")
    with pytest.raises(ModelError, match=r"context of 64[\s\S]*remedy: shorten the prompt"):
        complete_prompts(model, tokenizer, ["say red " * 40], seeds=[0], settings=GREEDY, batch_size=1)


def test_a_tokenizer_without_chat_template_is_refused(policy_path: Path, device: torch.device) -> None:
    _, tokenizer = open_causal_lm(policy_path, dtype="float32")
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        encode_prompt(tokenizer, "say red")
