"""The KL estimators: worked by hand, zero for equal policies, and near the exact value."""

import math
from pathlib import Path

import pytest
import torch

from rlaif_dagster.generation.dialogues import Dialogue, encode_dialogues
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.training.kl import KlEstimate, compute_log_probs, estimate_kl, measure_log_ratios
from tests.training.tiny_models import cut, whole

ANSWERS = [whole("say red", "red red."), whole("sing moon", "moon."), cut("write sea", "sea sea sea")]


def test_worked_by_hand() -> None:
    # Two responses: log-ratios (ln 2, ln 2) and (-ln 2,); k1 = 2 ln 2 and -ln 2; k3 of a token is 1/r - 1 + log r.
    policy = [torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25]).log()]
    reference = [torch.tensor([0.25, 0.25]).log(), torch.tensor([0.5]).log()]
    kl = KlEstimate.from_log_probs(policy, reference)
    ln2 = math.log(2)
    assert kl.k1 == pytest.approx(0.5 * ln2)
    assert kl.k1_standard_error == pytest.approx(1.5 * ln2)
    assert kl.k3 == pytest.approx(((2 * (ln2 - 0.5)) + (1 - ln2)) / 2)
    assert kl.num_responses == 2


def test_both_estimators_near_the_exact_divergence() -> None:
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.4, 0.4, 0.2])
    exact = float((policy * (policy / reference).log()).sum())
    drawn = torch.multinomial(policy, 20_000, replacement=True, generator=torch.Generator().manual_seed(0))
    kl = KlEstimate.from_log_probs(list(policy.log()[drawn][:, None]), list(reference.log()[drawn][:, None]))
    assert kl.k1_standard_error is not None
    assert kl.k1 == pytest.approx(exact, abs=4 * kl.k1_standard_error)
    assert kl.k3 == pytest.approx(exact, abs=4 * kl.k1_standard_error)


def test_a_policy_does_not_differ_from_itself(policy_path: Path, device: torch.device) -> None:
    kl = estimate_kl(policy_path, policy_path, ANSWERS, device=device)
    assert (kl.k1, kl.k3) == (0.0, 0.0)


def test_no_response_gives_no_estimate() -> None:
    with pytest.raises(ValueError, match="at least one"):
        KlEstimate.from_log_probs([], [])


def test_log_probabilities_are_those_of_each_answer_token_alone(
    policy_path: Path, device: torch.device
) -> None:
    model, _ = open_causal_lm(policy_path, dtype="float32")
    dialogues = [
        Dialogue(prompt_ids=[2, 10, 11], completion_ids=[12, 1]),
        Dialogue(prompt_ids=[2, 20], completion_ids=[21, 22, 23, 1]),
    ]
    batched = compute_log_probs(model, dialogues, batch_size=2)
    for dialogue, log_probs in zip(dialogues, batched, strict=True):
        for position, token in enumerate(dialogue.completion_ids):
            context = torch.tensor([dialogue.prompt_ids + dialogue.completion_ids[:position]])
            with torch.no_grad():
                expected = model(input_ids=context).logits[0, -1].log_softmax(-1)[token]
            assert float(log_probs[position]) == pytest.approx(float(expected), abs=1e-5)


def test_log_ratios_are_the_terms_of_the_estimate_the_policy_first(
    policy_path: Path, device: torch.device, tmp_path: Path
) -> None:
    """The reference says every token with the same probability: log q of n tokens is -n ln(vocabulary)."""
    policy, tokenizer = open_causal_lm(policy_path, dtype="float32")
    dialogues = encode_dialogues(tokenizer, ANSWERS)
    own = [float(terms.sum()) for terms in compute_log_probs(policy, dialogues, batch_size=1)]
    uniform, _ = open_causal_lm(policy_path, dtype="float32")
    uniform.get_output_embeddings().weight.data.zero_()
    uniform.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    nats = math.log(policy.config.vocab_size)
    expected = [
        own_log_prob + len(dialogue.completion_ids) * nats
        for own_log_prob, dialogue in zip(own, dialogues, strict=True)
    ]
    assert min(expected) > 1.0  # a policy that was trained on such answers does better than chance
    ratios = measure_log_ratios(policy_path, tmp_path, ANSWERS, device=device)
    assert ratios == pytest.approx(expected, abs=1e-4)
    assert measure_log_ratios(tmp_path, policy_path, ANSWERS, device=device) == [-ratio for ratio in ratios]
    assert estimate_kl(policy_path, tmp_path, ANSWERS, device=device).k1 == pytest.approx(sum(ratios) / 3)


def test_log_probabilities_of_a_bfloat16_model_are_computed_in_float32(policy_path: Path) -> None:
    """Logits have the 8 bits of the model; what is summed over a vocabulary of them has not."""
    model, _ = open_causal_lm(policy_path, dtype="bfloat16")
    dialogue = Dialogue(prompt_ids=[2, 20], completion_ids=[21, 22, 23, 1])
    (log_probs,) = compute_log_probs(model, [dialogue], batch_size=1)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([dialogue.input_ids])).logits[0]
    assert logits.dtype == torch.bfloat16
    expected = [
        float(logits[place].double().log_softmax(-1)[token])
        for place, token in zip(range(1, 5), dialogue.completion_ids, strict=True)
    ]
    assert log_probs.dtype == torch.float32
    assert log_probs.tolist() == pytest.approx(expected, abs=1e-5)
    assert logits[1].log_softmax(-1)[21].item() != pytest.approx(expected[0], abs=1e-5)
