"""Training as a whole: it learns, the reward model filters and chooses, and the same inputs give the same bytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rlaif_dagster.digest import FolderManifest
from rlaif_dagster.errors import TrainingError
from rlaif_dagster.evaluation.along_training import ScoredAnswer, trace_along_training
from rlaif_dagster.evaluation.comparison import decide
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.generation.sampling import sample_responses
from rlaif_dagster.tables import Rows
from rlaif_dagster.training.checkpoints import choose_checkpoint
from rlaif_dagster.training.methods.dpo import DpoSettings, filter_by_reward
from rlaif_dagster.training.policy import train_policy
from rlaif_dagster.training.results import CheckpointAnswer, PolicyCheckpoint, PolicyResult
from rlaif_dagster.training.reward_model import (
    RewardModelResult,
    evaluate_reward_model,
    train_reward_model,
)
from rlaif_dagster.training.rewards import RewardModel
from rlaif_dagster.training.settings import LoraSettings, RewardModelSettings
from tests.live_rows import PassedRows
from tests.training.preferences import make_row, shorter_is_better, split_rows
from tests.training.tiny_models import PROMPTS

REWARD = RewardModelSettings(learning_rate=2e-3, num_epochs=3.0)
DPO = DpoSettings(learning_rate=1e-3, num_epochs=2.0, checkpoint_steps=6, max_new_tokens=20)
TRAIN, HELD_OUT = split_rows(shorter_is_better())


def train_reward(
    policy_path: Path, folder: Path, settings: RewardModelSettings = REWARD, rows: Rows = TRAIN
) -> RewardModelResult:
    return train_reward_model(
        policy_path,
        rows,
        HELD_OUT,
        settings,
        seed=2**40 + 1,
        device=torch.device("cpu"),
        output=folder / "reward_model",
        scratch=folder / "scratch",
    )


def align(
    policy_path: Path,
    reward_model_path: Path,
    folder: Path,
    settings: DpoSettings = DPO,
    rows: Rows = TRAIN,
) -> PolicyResult:
    return train_policy(
        policy_path,
        reward_model_path,
        rows,
        settings,
        seed=2**40 + 1,
        device=torch.device("cpu"),
        output=folder / "aligned_policy",
        scratch=folder / "scratch",
    )


def mean_length(policy_path: Path) -> float:
    rows = sample_responses(
        policy_path,
        [{"prompt_id": prompt, "prompt": prompt} for prompt in PROMPTS],
        LocalSamplingSettings(num_samples=1, max_new_tokens=20),
        root_seed=0,
        policy_digest="policy",
        device=torch.device("cpu"),
    ).rows
    return float(sum(row["num_tokens"] for row in rows) / len(rows))


@pytest.fixture(scope="module")
def passed() -> PassedRows:
    return PassedRows(TRAIN)


@pytest.fixture(scope="module")
def trained(
    policy_path: Path, tmp_path_factory: pytest.TempPathFactory, passed: PassedRows
) -> tuple[Path, RewardModelResult, PolicyResult]:
    folder = tmp_path_factory.mktemp("trained")
    reward = train_reward(policy_path, folder, rows=passed)
    return folder, reward, align(policy_path, folder / "reward_model", folder, rows=passed)


Trained = tuple[Path, RewardModelResult, PolicyResult]


@pytest.mark.slow
def test_no_model_holds_the_rows_that_it_is_trained_and_measured_on(
    trained: Trained, passed: PassedRows
) -> None:
    """Each pass lets go of a row after a few more, so that a table of any size can be trained on."""
    assert trained[1].num_pairs == len(TRAIN) > 140
    assert 0 < passed.counter.most < 70


@pytest.mark.slow
def test_the_reward_model_learns_what_longer_wins_gets_wrong(trained: Trained) -> None:
    folder, result, _ = trained
    assert result.held_out.accuracy is not None
    assert result.held_out.accuracy > 0.9
    assert result.held_out.longer_wins_accuracy == 0.0
    assert result.held_out.num_pairs + result.held_out.num_near_ties == len(HELD_OUT)
    assert result.steps[-1].loss < result.steps[0].loss
    assert [step.step for step in result.steps] == list(range(1, len(result.steps) + 1))
    again = evaluate_reward_model(folder / "reward_model", HELD_OUT, device=torch.device("cpu"))
    assert again.accuracy == result.held_out.accuracy


@pytest.mark.slow
def test_the_aligned_policy_does_what_the_labels_prefer(policy_path: Path, trained: Trained) -> None:
    folder, _, result = trained
    assert mean_length(folder / "aligned_policy") < mean_length(policy_path) - 1
    base, last = result.checkpoints[0], result.checkpoints[-1]
    assert base.step == 0
    assert base.kl_k1 == pytest.approx(0, abs=1e-4)
    assert last.mean_reward > base.mean_reward
    assert last.kl_k3 > 0
    for checkpoint in result.checkpoints:  # what is told of each answer adds up to what is told of all
        answers = checkpoint.answers
        assert [(one.prompt, one.index) for one in answers] == [(one.prompt, 0) for one in base.answers]
        assert {one.prompt for one in answers} <= {row["prompt"] for row in TRAIN}
        for mean, values in (
            (checkpoint.mean_reward, [one.reward for one in answers]),
            (checkpoint.kl_k3, [one.kl for one in answers]),
            (checkpoint.mean_num_tokens, [one.num_tokens for one in answers]),
        ):
            assert mean == pytest.approx(sum(values) / len(values))
    assert result.steps[0]["loss"] == pytest.approx(0.693147, abs=1e-4)  # the policy is still its reference


@pytest.mark.slow
@pytest.mark.parametrize("longer_is_better", [True, False])
def test_a_training_on_a_reward_that_is_wrong_is_seen_to_come_apart(
    longer_is_better: bool, trained: Trained
) -> None:
    """The reward model has learned that shorter answers are better. Where the truth is the contrary, the win rate falls
    from the start as the reward rises; where it is the same, both rise."""
    *_, result = trained
    start = result.checkpoints[0]
    curve = trace_along_training(
        [
            ScoredAnswer(
                step=checkpoint.step,
                prompt_id=one.prompt,
                index=one.index,
                reward=one.reward,
                kl=one.kl,
                outcome=decide(
                    0.5 + (one.num_tokens - other.num_tokens) / (200 if longer_is_better else -200)
                ),
            )
            for checkpoint in result.checkpoints
            for one, other in zip(checkpoint.answers, start.answers, strict=True)
        ],
        scorer="ground_truth",
        kept_step=result.chosen_step,
    )
    assert curve is not None
    if longer_is_better:
        assert curve.best_step == 0
        assert curve.apart[-1] == result.checkpoints[-1].step
        assert curve.kept.win_rate.is_below(0.5)
    else:
        assert curve.apart == ()
        assert curve.kept.win_rate.is_above(0.5)


def test_the_earliest_checkpoint_that_is_not_shown_to_be_worse_is_kept(trained: Trained) -> None:
    _, _, result = trained
    candidates = result.checkpoints[1:]
    assert [checkpoint.step for checkpoint in candidates] == [6, 12, 18]
    assert result.chosen_step == choose_checkpoint(candidates).step


def test_one_standard_error_of_the_paired_difference_decides() -> None:
    """Best: mean 2.0. Step 2: differences 1, 0, 1, 0: mean 0.5, sd 0.577, error 0.289: worse. Step 3: 1, -1, 1, 0: mean
    0.25, sd 0.957, error 0.479: not shown to be worse, so it is taken before the best."""
    rewards = {1: (0, 0, 0, 0), 2: (1, 2, 1, 2), 3: (1, 3, 1, 2), 4: (2, 2, 2, 2), 5: (2, 2, 2, 1.9)}
    checkpoints = [make_checkpoint(step, values) for step, values in rewards.items()]
    assert choose_checkpoint(checkpoints).step == 3
    assert choose_checkpoint(checkpoints[:2] + checkpoints[3:]).step == 4
    assert choose_checkpoint([make_checkpoint(1, (1.0,)), make_checkpoint(2, (2.0,))]).step == 2


def make_checkpoint(step: int, rewards: tuple[float, ...]) -> PolicyCheckpoint:
    return PolicyCheckpoint(
        step=step,
        mean_reward=sum(rewards) / len(rewards),
        kl_k1=0.0,
        kl_k3=0.0,
        mean_num_tokens=1.0,
        answers=tuple(
            CheckpointAnswer(
                prompt="say red",
                index=index,
                text="red.",
                num_tokens=1,
                finish_reason="stop",
                reward=reward,
                kl=0.0,
            )
            for index, reward in enumerate(rewards)
        ),
    )


@pytest.mark.slow
def test_an_earlier_checkpoint_is_restored_when_training_overshoots(
    policy_path: Path, trained: Trained, tmp_path: Path
) -> None:
    """A policy trained towards long answers gets worse in the eyes of a reward model that likes short ones."""
    folder, *_ = trained
    swapped = [{**row, "p_a": 1 - row["p_a"]} for row in TRAIN]
    settings = DPO.model_copy(update={"reward_filter": None, "checkpoint_steps": 3})
    result = align(policy_path, folder / "reward_model", tmp_path, settings, swapped)
    assert result.chosen_step == 3 < result.checkpoints[-1].step
    short = align(
        policy_path,
        folder / "reward_model",
        tmp_path / "short",
        settings.model_copy(update={"max_steps": 3}),
        swapped,
    )
    assert short.chosen_step == 3
    kept, overshot = mean_length(tmp_path / "aligned_policy"), result.checkpoints[-1].mean_num_tokens
    assert kept < overshot


@pytest.mark.slow
def test_a_label_that_the_reward_model_confidently_contradicts_is_dropped(
    policy_path: Path, trained: Trained, tmp_path: Path
) -> None:
    folder, *_ = trained
    reward_model = RewardModel.open(folder / "reward_model", dtype="float32", device=torch.device("cpu"))
    row = make_row("say red", "red.", "red red red red red red.")
    rows = [{**row, "p_a": p_a} for p_a in (0.9, 0.5, 0.1)]
    assert filter_by_reward(reward_model, rows, threshold=0.7) == [True, True, False]
    assert filter_by_reward(reward_model, rows, threshold=None) == [True, True, True]
    wrong = [{**TRAIN[0], **row, "p_a": 0.0}]
    settings = DPO.model_copy(update={"reward_filter": 0.7, "max_steps": 1})
    result = align(policy_path, folder / "reward_model", tmp_path, settings, TRAIN + wrong)
    assert result.counts["num_dropped_reward_model_contradicts"] >= 1
    left = result.counts["num_train_pairs"] + result.counts["num_dropped_reward_model_contradicts"]
    assert left + result.counts["num_dropped_prompt_too_long"] == len(TRAIN) + 1
    with pytest.raises(TrainingError, match=r"none of the 1 pairs is left"):
        align(policy_path, folder / "reward_model", tmp_path, settings, wrong)


def test_a_model_folder_holds_a_model_and_nothing_else(trained: Trained) -> None:
    folder, *_ = trained
    common = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    common |= {"chat_template.jinja"}
    names = {path.name for path in (folder / "reward_model").iterdir()}
    assert names == common
    names = {path.name for path in (folder / "aligned_policy").iterdir()}
    assert names == common | {"generation_config.json"}
    assert list((folder / "scratch").iterdir()) == []
    for name in ("reward_model", "aligned_policy"):
        config = (folder / name / "config.json").read_text()
        assert str(folder) not in config
        assert json.loads(config)["use_cache"] is True


def test_the_reward_model_opens_without_us(trained: Trained) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(trained[0] / "reward_model")
    assert model.config.num_labels == 1


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes_again_and_in_another_process(
    policy_path: Path, trained: Trained, tmp_path: Path
) -> None:
    folder, reward, aligned = trained
    assert train_reward(policy_path, tmp_path) == reward
    assert align(policy_path, tmp_path / "reward_model", tmp_path) == aligned
    code = (
        "import sys; from pathlib import Path; from rlaif_dagster.numerics import prepare_torch;"
        "prepare_torch(num_threads=1, device='cpu'); from tests.training import test_training as t;"
        "policy, folder = map(Path, sys.argv[1:]);"
        "t.train_reward(policy, folder); t.align(policy, folder / 'reward_model', folder)"
    )
    other = tmp_path / "other"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, policy_path, other], check=True, cwd=root)
    for name in ("reward_model", "aligned_policy"):
        expected = FolderManifest.from_folder(folder / name)
        assert FolderManifest.from_folder(tmp_path / name) == expected
        assert FolderManifest.from_folder(other / name) == expected


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_are_merged_into_a_plain_model(policy_path: Path, tmp_path: Path, dtype: str) -> None:
    update = {"lora": LoraSettings(r=4), "dtype": dtype, "gradient_checkpointing": dtype == "bfloat16"}
    reward = train_reward(
        policy_path, tmp_path, REWARD.model_copy(update={**update, "learning_rate": 1e-2, "num_epochs": 4.0})
    )
    assert reward.held_out.accuracy is not None
    assert reward.held_out.accuracy > 0.7
    settings = DPO.model_copy(update={**update, "learning_rate": 2e-3})
    result = align(policy_path, tmp_path / "reward_model", tmp_path, settings)
    assert result.checkpoints[-1].mean_reward > result.checkpoints[0].mean_reward
    assert mean_length(tmp_path / "aligned_policy") < mean_length(policy_path)
    for name in ("reward_model", "aligned_policy"):
        assert json.loads((tmp_path / name / "config.json").read_text())["dtype"] == dtype
        assert not list((tmp_path / name).glob("adapter*"))


@pytest.mark.slow
def test_divergence_is_an_error_that_names_the_step(policy_path: Path, tmp_path: Path) -> None:
    settings = REWARD.model_copy(
        update={"learning_rate": 1e30, "max_grad_norm": 1e30, "warmup_fraction": 0.0}
    )
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+[\s\S]*remedy: lower"):
        train_reward(policy_path, tmp_path, settings)
    assert not (tmp_path / "reward_model").exists()


def test_training_on_held_out_prompts_is_refused(policy_path: Path, trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="held-out prompts"):
        align(policy_path, trained[0] / "reward_model", tmp_path, rows=HELD_OUT)
