"""An answer that was cut at `max_new_tokens` is trained on and scored as it was sampled: without an end token."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from rlaif_dagster.decoding import end_tokens
from rlaif_dagster.generation.dialogues import AnsweredPrompt, Completion, encode_dialogues, encode_prompt
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.generation.sampling import complete_prompts
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.training.checkpoints import CheckpointProbe, choose_probe_questions
from rlaif_dagster.training.examples import show_dpo_pairs, show_reward_pairs
from rlaif_dagster.training.kl import estimate_kl, measure_log_likelihoods, measure_log_ratios
from rlaif_dagster.training.method import Material
from rlaif_dagster.training.methods.best_of_n import BestOfNSettings, plan_best_of_n, sample_and_score
from rlaif_dagster.training.methods.dpo import DpoSettings
from rlaif_dagster.training.methods.online import OnlineSettings, plan_online
from rlaif_dagster.training.pairs import encode_pairs
from rlaif_dagster.training.reward_model import evaluate_reward_model
from rlaif_dagster.training.rewards import RewardModel, open_reward_model, score_responses
from rlaif_dagster.training.supervised import encode_answers
from rlaif_dagster.training.trainers import training_arguments
from tests.training.preferences import make_row
from tests.training.tiny_models import PROMPTS, cut, whole

CPU = torch.device("cpu")
END = 1
"""The tiny tokenizer's end-of-turn token."""
FEW = 4
"""Most new tokens: some answers of the tiny policy end before, most do not."""
ENDS = ("length", "stop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny:
    """The tiny policy, and a reward model over it whose head is drawn at random."""

    policy_path: Path
    reward_path: Path
    policy: Any
    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without anything in front or behind."""
        token_ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return token_ids

    def by_hand(self, prompt: str, text: str, *, ends: bool) -> tuple[list[int], list[int]]:
        """The token ids of a prompt and of an answer."""
        return self.encode(f"<user>{prompt}<assistant>"), self.encode(text) + [END] * ends

    def log_probs(self, model: Any, prompt: str, text: str, *, ends: bool) -> torch.Tensor:
        """The log-probability of each token of an answer, by one forward pass."""
        start, completion = self.by_hand(prompt, text, ends=ends)
        with torch.inference_mode():
            logits = model(torch.tensor([start + completion])).logits[0].log_softmax(-1)
        rows = [logits[len(start) + place - 1, token] for place, token in enumerate(completion)]
        return torch.stack(rows)

    def reward(self, prompt: str, text: str, *, ends: bool) -> float:
        """The reward model's score, by one forward pass."""
        start, completion = self.by_hand(prompt, text, ends=ends)
        model, _ = open_reward_model(self.reward_path, dtype="float32")
        with torch.inference_mode():
            return float(model(torch.tensor([start + completion])).logits)

    def open_material(self) -> Material:
        rows = [make_row(prompt, "red.", "red red.") for prompt in PROMPTS[:8]]
        return Material(
            policy=open_causal_lm(self.policy_path, dtype="float32")[0],
            tokenizer=self.tokenizer,
            reward_model=RewardModel.open(self.reward_path, dtype="float32", device=CPU),
            rows=rows,
            seed=3,
        )


@pytest.fixture(scope="module")
def tiny(policy_path: Path, device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    policy, tokenizer = open_causal_lm(policy_path, dtype="float32")
    torch.manual_seed(0)
    reward_model, _ = open_reward_model(policy_path, dtype="float32")
    folder = tmp_path_factory.mktemp("models") / "reward_model"
    reward_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Tiny(policy_path=policy_path, reward_path=folder, policy=policy, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def sampled(tiny: Tiny) -> list[tuple[str, Completion]]:
    """Answers of few tokens; both kinds of end are there."""
    completions = complete_prompts(
        tiny.policy,
        tiny.tokenizer,
        PROMPTS,
        seeds=range(len(PROMPTS)),
        settings=LocalSamplingSettings(max_new_tokens=FEW),
        batch_size=16,
    )
    assert {completion.finish_reason for completion in completions} == set(ENDS)
    return list(zip(PROMPTS, completions, strict=True))


@pytest.mark.slow
def test_the_tokens_are_those_that_the_policy_sampled(
    tiny: Tiny, sampled: list[tuple[str, Completion]]
) -> None:
    dialogues = encode_dialogues(tiny.tokenizer, [answer.answer(prompt) for prompt, answer in sampled])
    same = 0
    for (prompt, answer), dialogue in zip(sampled, dialogues, strict=True):
        assert dialogue.prompt_ids == encode_prompt(tiny.tokenizer, prompt)
        assert tiny.tokenizer.decode(dialogue.completion_ids) == tiny.tokenizer.decode(answer.token_ids)
        assert (END in dialogue.completion_ids) is (answer.finish_reason == "stop")
        same += tuple(dialogue.completion_ids) == answer.token_ids
    assert same > 0.9 * len(sampled)  # the others spell a word in tokens of their own


TURN = "{% for m in messages %}<{{ m['role'] }}>"
OPENING = "{% if add_generation_prompt %}<assistant>{% endif %}"
TEMPLATES = {
    "a suffix of two tokens": (TURN + "{{ m['content'] }}<end>\n{% endfor %}" + OPENING, "{}", "{}<end>\n"),
    "white space is trimmed": (
        TURN + "{{ m['content'] | trim }}<end>{% endfor %}" + OPENING,
        "{}",
        "{}<end>",
    ),
    "a space in front": (TURN + " {{ m['content'] }} <end>{% endfor %}" + OPENING, " {}", " {} <end>"),
    "thoughts in front": (
        TURN
        + "{% if m['role'] == 'assistant' %}[thoughts:]{% endif %}{{ m['content'] }}<end>{% endfor %}"
        + OPENING,
        "{}",
        "[thoughts:]{}<end>",
    ),
    "a content that is left out": (TURN + "<end>{% endfor %}" + OPENING, "{}", "<end>"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_nothing_of_what_a_template_writes_stands_behind_a_cut_answer(name: str, tiny: Tiny) -> None:
    template, when_cut, when_whole = TEMPLATES[name]
    _, tokenizer = open_causal_lm(tiny.policy_path, dtype="float32")
    tokenizer.chat_template = template
    text = "red red"
    for answer, expected in ((cut("say red", text), when_cut), (whole("say red", text), when_whole)):
        (dialogue,) = encode_dialogues(tokenizer, [answer])
        assert dialogue.prompt_ids == encode_prompt(tokenizer, "say red")
        assert tokenizer.decode(dialogue.completion_ids) == expected.format(text)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_cut_answer_without_text_has_no_token(name: str, tiny: Tiny) -> None:
    """Not even the white space that a template writes in front of answers."""
    _, tokenizer = open_causal_lm(tiny.policy_path, dtype="float32")
    tokenizer.chat_template = TEMPLATES[name][0]
    (dialogue,) = encode_dialogues(tokenizer, [cut("say red", "")])
    assert dialogue.completion_ids == []


def test_an_answer_of_which_nobody_knows_counts_as_whole(tiny: Tiny) -> None:
    unknown = AnsweredPrompt(prompt="say red", text="red.", finish_reason=None)
    (dialogue,) = encode_dialogues(tiny.tokenizer, [unknown])
    assert dialogue.completion_ids[-1] == END


def test_the_text_of_an_answer_cannot_move_its_end(tiny: Tiny) -> None:
    """The mark by which the end is found is no secret."""
    text = "red RLAIF_END_OF_TEXT red"
    (dialogue,) = encode_dialogues(tiny.tokenizer, [cut("say red", text)])
    assert tiny.tokenizer.decode(dialogue.completion_ids) == text


def test_a_pair_has_an_end_where_the_policy_gave_one(tiny: Tiny) -> None:
    row = make_row("say red", "red red", "red.", ends=("length", "stop"))
    pairs = encode_pairs(tiny.tokenizer, [row], max_length=64)
    start, a = tiny.by_hand("say red", "red red", ends=False)
    _, b = tiny.by_hand("say red", "red.", ends=True)
    assert END not in a
    assert b[-1] == END
    shown = show_reward_pairs(pairs)(0)
    assert (shown["chosen_ids"], shown["rejected_ids"]) == (start + a, start + b)
    shown = show_dpo_pairs(pairs, tiny.policy, settings=DpoSettings(batch_size=1))(0)
    assert (shown["prompt_ids"], shown["chosen_ids"], shown["rejected_ids"]) == (start, a, b)
    for name, text, ends in (("ref_chosen_logps", "red red", False), ("ref_rejected_logps", "red.", True)):
        expected = float(tiny.log_probs(tiny.policy, "say red", text, ends=ends).sum())
        assert shown[name] == pytest.approx(expected, abs=1e-4)


def test_a_pair_or_an_answer_without_a_token_is_left_out_and_counted(tiny: Tiny) -> None:
    """Only special tokens were sampled before the limit."""
    rows = [
        make_row("say red", "", "red.", ends=("length", "stop")),
        make_row("say red", "", "red.", ends=("stop", "stop")),
    ]
    pairs = encode_pairs(tiny.tokenizer, rows, max_length=64)
    assert (len(pairs), pairs.num_empty, pairs.num_dropped) == (1, 1, 0)
    answers = encode_answers(tiny.tokenizer, [cut("say red", ""), whole("say red", "")], max_length=64)
    assert (len(answers.rows), answers.num_empty, answers.num_dropped) == (1, 1, 0)


def test_fine_tuning_learns_no_end_of_a_cut_answer(tiny: Tiny) -> None:
    answers = encode_answers(
        tiny.tokenizer, [cut("say red", "red red"), whole("say red", "red.")], max_length=64
    )
    start, a = tiny.by_hand("say red", "red red", ends=False)
    _, b = tiny.by_hand("say red", "red.", ends=True)
    assert answers.rows == [
        {"input_ids": start + each, "labels": [-100] * len(start) + each} for each in (a, b)
    ]
    assert answers.num_cut == 0  # that is for what `max_length` cuts


def test_a_reward_is_that_of_the_tokens_without_an_end(tiny: Tiny) -> None:
    answers = [cut("say red", "red red"), whole("say red", "red.")]
    rewards = score_responses(tiny.reward_path, answers, device=CPU)
    expected = [tiny.reward("say red", "red red", ends=False), tiny.reward("say red", "red.", ends=True)]
    assert rewards == pytest.approx(expected, abs=1e-5)
    assert rewards[0] != pytest.approx(tiny.reward("say red", "red red", ends=True), abs=1e-3)
    row = make_row("say red", "red red", "red.", ends=("length", "stop")) | {"near_tie": False}
    evaluation = evaluate_reward_model(tiny.reward_path, [row], device=CPU)
    assert evaluation.margins == pytest.approx([expected[0] - expected[1]], abs=1e-5)


def test_divergence_and_likelihood_are_those_of_the_tokens_without_an_end(tiny: Tiny, tmp_path: Path) -> None:
    moved, tokenizer = open_causal_lm(tiny.policy_path, dtype="float32")
    changed: Any = moved
    with torch.no_grad():
        changed.model.norm.weight.mul_(1.3)
    changed.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    answers = [cut("say red", "red red"), whole("say red", "red.")]
    asked = (("red red", False), ("red.", True))
    policy, reference = (
        [tiny.log_probs(model, "say red", text, ends=ends) for text, ends in asked]
        for model in (changed, tiny.policy)
    )
    ratios = [float((p - q).sum()) for p, q in zip(policy, reference, strict=True)]
    assert measure_log_ratios(tmp_path, tiny.policy_path, answers, device=CPU) == pytest.approx(
        ratios, abs=1e-4
    )
    kl = estimate_kl(tmp_path, tiny.policy_path, answers, device=CPU)
    assert kl.k1 == pytest.approx(sum(ratios) / 2, abs=1e-4)
    terms = [float(((q - p).exp() - 1 - (q - p)).sum()) for p, q in zip(policy, reference, strict=True)]
    assert kl.k3 == pytest.approx(sum(terms) / 2, abs=1e-4)
    likelihoods = measure_log_likelihoods(tiny.policy_path, answers, device=CPU)
    for found, expected in zip(likelihoods, reference, strict=True):
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.slow
def test_the_best_of_n_is_learned_without_an_end_where_it_was_cut(tiny: Tiny) -> None:
    settings = BestOfNSettings(method="best_of_n", n=4, max_new_tokens=FEW)
    scored = [one for answers in sample_and_score(tiny.open_material(), settings) for one in answers]
    assert {one.answer.finish_reason for one in scored} == set(ENDS)
    for one in scored:
        ends = one.answer.finish_reason == "stop"
        assert one.reward == pytest.approx(
            tiny.reward(one.answer.prompt, one.answer.text, ends=ends), abs=1e-4
        )
    trainer = plan_best_of_n(tiny.open_material(), settings).make_trainer(_arguments(settings), [])
    best = [max(scored[start : start + 4], key=lambda one: one.reward) for start in range(0, len(scored), 4)]
    learned = [row["input_ids"] for row in trainer.train_dataset]
    expected = []
    for one in best:
        prompt, text, reason = one.answer.prompt, one.answer.text, one.answer.finish_reason
        start, completion = tiny.by_hand(prompt, text, ends=reason == "stop")
        expected.append(start + completion)
    assert learned == expected


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_answers_of_online_training_are_scored_as_they_were_sampled(
    method: str, tiny: Tiny, sampled: list[tuple[str, Completion]], tmp_path: Path
) -> None:
    """TRL gives the texts without special tokens, so that they alone do not say how an answer ended."""
    settings = OnlineSettings.model_validate(
        {"method": method, "max_new_tokens": FEW, "max_length": 32, "batch_size": 4, "num_generations": 4}
    )
    trainer = plan_online(tiny.open_material(), settings).make_trainer(_arguments(settings), [])
    token_ids = [list(answer.token_ids) for _, answer in sampled]
    rewards = trainer.reward_funcs[0](
        prompts=[prompt for prompt, _ in sampled],
        completions=trainer.processing_class.batch_decode(token_ids, skip_special_tokens=True),
        completion_ids=token_ids,
        trainer_state=trainer.state,
    )
    assert end_tokens(tiny.policy, tiny.tokenizer) == [END]
    expected = [tiny.reward(p, a.text, ends=a.finish_reason == "stop") for p, a in sampled]
    assert rewards == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_the_answers_at_a_checkpoint_are_scored_as_they_were_sampled(tiny: Tiny) -> None:
    material = tiny.open_material()
    probe = CheckpointProbe(
        questions=choose_probe_questions(material.prompts, num_prompts=8, num_samples=2, seed=1),
        sampling=LocalSamplingSettings(max_new_tokens=FEW),
        tokenizer=tiny.tokenizer,
        reward_model=material.reward_model,
        reference=tiny.policy,
    )
    answers = probe.measure(material.policy, 0).answers
    assert {answer.finish_reason for answer in answers} == set(ENDS)
    for answer in answers:
        expected = tiny.reward(answer.prompt, answer.text, ends=answer.finish_reason == "stop")
        assert answer.reward == pytest.approx(expected, abs=1e-4)


def _arguments(settings: Any) -> dict[str, Any]:
    return training_arguments(settings, seed=1, device=CPU, output_dir="unused")
