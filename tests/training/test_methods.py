"""Each method of aligning a policy learns, is guarded, goes on where it was killed, and repeats itself byte for byte.

The tiny policy says a word one to six times; the reward model of these tests likes few.
"""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from rlaif_dagster.digest import FolderManifest
from rlaif_dagster.errors import TrainingError
from rlaif_dagster.models import open_causal_lm
from rlaif_dagster.training.checkpoints import find_hacking
from rlaif_dagster.training.method import Material
from rlaif_dagster.training.methods import PolicySettings
from rlaif_dagster.training.methods.best_of_n import BestOfNSettings, sample_and_score
from rlaif_dagster.training.methods.dpo import DpoSettings
from rlaif_dagster.training.methods.online import OnlineSettings
from rlaif_dagster.training.policy import train_policy
from rlaif_dagster.training.restarts import Restart
from rlaif_dagster.training.results import PolicyCheckpoint, PolicyResult
from rlaif_dagster.training.rewards import RewardModel
from rlaif_dagster.training.settings import GuardSettings, LoraSettings
from tests.training.test_training import TRAIN, train_reward

CPU = torch.device("cpu")
COMMON: dict[str, Any] = {
    "checkpoint_steps": 2,
    "checkpoint_prompts": 24,
    "max_new_tokens": 20,
    "max_length": 64,
}
LORA = LoraSettings(r=4, alpha=8)
UNGUARDED = GuardSettings(max_length_ratio=None, max_disagreement_ratio=None)
ONLINE = OnlineSettings(
    method="rloo",
    learning_rate=3e-3,
    max_steps=6,
    batch_size=32,
    num_generations=4,
    beta=0.02,
    guard=UNGUARDED,
    **COMMON,
)
METHODS: dict[str, PolicySettings] = {
    "dpo": DpoSettings(learning_rate=1e-3, max_steps=6, **COMMON),
    "dpo-ipo": DpoSettings(learning_rate=1e-3, max_steps=6, loss="ipo", beta=0.5, **COMMON),
    "dpo-robust": DpoSettings(learning_rate=1e-3, max_steps=6, loss="robust", label_smoothing=0.1, **COMMON),
    "rloo": ONLINE,
    "grpo": ONLINE.model_copy(update={"method": "grpo"}),
    "best_of_n": BestOfNSettings(
        method="best_of_n", n=4, learning_rate=2e-3, max_steps=6, batch_size=16, **COMMON
    ),
}


@pytest.fixture(scope="module")
def reward_path(policy_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    train_reward(policy_path, folder)
    return folder / "reward_model"


class Learner:
    """Trains the tiny policy into folders of its own."""

    def __init__(self, policy: Path, reward: Path, folder: Path) -> None:
        self.policy, self.reward, self.folder = policy, reward, folder

    def train(self, name: str, settings: PolicySettings, **more: Any) -> PolicyResult:
        return train_policy(
            self.policy,
            self.reward,
            TRAIN,
            settings,
            seed=2**40 + 1,
            device=CPU,
            output=self.folder / name,
            scratch=self.folder / "scratch",
            **more,
        )

    def digest(self, name: str) -> str:
        return str(FolderManifest.from_folder(self.folder / name).digest)


@pytest.fixture
def learner(policy_path: Path, reward_path: Path, tmp_path: Path) -> Learner:
    return Learner(policy_path, reward_path, tmp_path)


class Killed(BaseException):
    """Ends a training as a signal would: nothing may catch it."""


def kill_at(step: int) -> Any:
    def progress(what: str, done: int, total: int | None) -> None:
        if what == "policy steps" and done == step:
            raise Killed

    return progress


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_and_goes_on_where_it_was_killed(name: str, learner: Learner) -> None:
    """Killed at step 5, it goes on from the restart point of step 4 to the same bytes and the same measurements."""
    settings = METHODS[name]
    whole = learner.train("whole", settings)
    assert whole.checkpoints[-1].mean_reward > whole.checkpoints[0].mean_reward
    assert whole.checkpoints[0].kl_k3 == pytest.approx(0, abs=1e-4)
    assert all(math.isfinite(step["loss"]) for step in whole.steps)
    restart = Restart(folder=learner.folder / "journal" / ("1" * 12), every_steps=4)
    with pytest.raises(Killed):
        learner.train("killed", settings, restart=restart, progress=kill_at(5))
    assert [path.parent.name for path in restart.folder.glob("*/whole")] == ["checkpoint-4"]
    resumed: list[int] = []

    def note(what: str, done: int, total: int | None) -> None:
        if what == "policy steps":
            resumed.append(done)

    assert learner.train("resumed", settings, restart=restart, progress=note) == whole
    assert resumed[0] == 5
    assert learner.digest("resumed") == learner.digest("whole")
    assert not restart.folder.exists()


@pytest.mark.slow
def test_a_guard_ends_training_and_the_last_good_checkpoint_is_kept(learner: Learner) -> None:
    """Answers get shorter from step to step: the guard lets step 2 pass or not, but none that is far shorter."""
    ratio = 1.5
    settings = ONLINE.model_copy(update={"max_steps": 40, "guard": GuardSettings(max_length_ratio=ratio)})
    result = learner.train("guarded", settings)
    base, last = result.checkpoints[0], result.checkpoints[-1]
    assert result.stopped is not None
    assert result.stopped.startswith(f"shrinking answers at step {last.step}: ")
    assert base.mean_num_tokens > ratio * last.mean_num_tokens
    assert last.step < 40
    assert len(result.steps) == last.step
    assert result.chosen_step < last.step
    assert all(base.mean_num_tokens <= ratio * one.mean_num_tokens for one in result.checkpoints[:-1])


@pytest.mark.slow
def test_a_guard_that_trips_at_once_leaves_the_base_policy(learner: Learner) -> None:
    settings = ONLINE.model_copy(update={"guard": GuardSettings(max_length_ratio=1.0001)})
    result = learner.train("guarded", settings)
    assert (result.chosen_step, result.checkpoints[-1].step) == (0, 2)
    ours, theirs = (
        open_causal_lm(path, dtype="float32")[0].state_dict()
        for path in (learner.folder / "guarded", learner.policy)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_signs_of_hacking_worked_by_hand() -> None:
    base = checkpoint(step=0, mean_num_tokens=10.0, disagreement=0.5)
    guard = GuardSettings(max_length_ratio=2.0, max_disagreement_ratio=3.0)
    for tokens, disagreement, reason in (
        (20.0, 1.5, None),
        (20.1, 0.5, "length drift at step 7: 20.1 is more than 2 times 10"),
        (5.0, 0.5, None),
        (4.0, 0.5, "shrinking answers at step 7: 10 is more than 2 times 4"),
        (10.0, 1.6, "ensemble disagreement at step 7: 1.6 is more than 3 times 0.5"),
    ):
        now = checkpoint(step=7, mean_num_tokens=tokens, disagreement=disagreement)
        assert find_hacking(base, now, guard) == reason
        assert find_hacking(base, now, UNGUARDED) is None
    single = checkpoint(step=0, mean_num_tokens=10.0, disagreement=0.0)
    assert find_hacking(single, checkpoint(step=7, mean_num_tokens=10.0, disagreement=0.0), guard) is None


def checkpoint(**values: Any) -> PolicyCheckpoint:
    return PolicyCheckpoint(mean_reward=0.0, kl_k1=0.0, kl_k3=0.0, answers=(), **values)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dpo", "rloo"])
def test_divergence_names_the_step_and_keeps_the_last_good_checkpoint(name: str, learner: Learner) -> None:
    """The learning rate rises from 0 to one that breaks the weights; the checkpoint before that is kept as a model."""
    settings = METHODS[name].model_copy(
        update={"learning_rate": 1e30, "max_grad_norm": 1e30, "warmup_fraction": 0.9, "checkpoint_steps": 1}
    )
    restart = Restart(folder=learner.folder / "journal" / ("1" * 12), every_steps=100)
    with pytest.raises(TrainingError) as caught:
        learner.train("diverged", settings, restart=restart)
    words = re.fullmatch(
        r"policy: the loss is nan at step (\d)\.\n  remedy: lower [^\n]*\n"
        r"  kept: the policy after step (\d), in (.*), until a training finishes",
        str(caught.value),
    )
    assert words is not None
    assert 1 <= int(words[2]) < int(words[1])
    assert not (learner.folder / "diverged").exists()
    kept = Path(words[3])
    assert kept == restart.folder / "last_good"
    weights = open_causal_lm(kept, dtype="float32")[0].state_dict()
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    learner.train(
        "sane", METHODS["dpo"], restart=Restart(folder=restart.folder.with_name("2" * 12), every_steps=9)
    )
    assert not kept.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lora"), [("dpo", None), ("rloo", None), ("grpo", None), ("dpo", LORA), ("grpo", LORA)]
)
def test_a_policy_is_held_to_the_reference_policy_that_it_is_given(
    name: str, lora: LoraSettings | None, learner: Learner
) -> None:
    """From where it starts it is no way off before the first step, and from another policy it is."""
    policy, tokenizer = open_causal_lm(learner.policy, dtype="float32")
    moved: Any = policy
    with torch.no_grad():
        moved.model.norm.weight.mul_(1.5)
    base, learner.policy = learner.policy, learner.folder / "moved"
    moved.save_pretrained(learner.policy)
    tokenizer.save_pretrained(learner.policy)
    settings = METHODS[name].model_copy(update={"max_steps": 1, "lora": lora})
    own = learner.train("own", settings)
    held = learner.train("held", settings, reference_policy_path=base)
    assert own.checkpoints[0].mean_reward == held.checkpoints[0].mean_reward
    assert own.checkpoints[0].kl_k3 == pytest.approx(0, abs=1e-4)
    assert held.checkpoints[0].kl_k3 > 0.01
    told, start = ("loss", math.log(2)) if name == "dpo" else ("kl", 0.0)
    assert own.steps[0][told] == pytest.approx(start, abs=1e-4)
    assert abs(held.steps[0][told] - start) > 0.01


@pytest.mark.slow
def test_best_of_n_learns_the_reward_models_favourites(learner: Learner) -> None:
    settings = METHODS["best_of_n"]
    assert isinstance(settings, BestOfNSettings)
    policy, tokenizer = open_causal_lm(learner.policy, dtype="float32")
    reward_model = RewardModel.open(learner.reward, dtype="float32", device=CPU)
    material = Material(
        policy=policy, tokenizer=tokenizer, reward_model=reward_model, rows=TRAIN, seed=2**40 + 1
    )
    scored = sample_and_score(material, settings)
    best = [max(one.reward for one in answers) for answers in scored]
    assert len(scored) == len({row["prompt"] for row in TRAIN})
    assert all(len({one.answer.prompt for one in answers}) == 1 and len(answers) == 4 for answers in scored)
    result = learner.train("best", settings)
    assert result.metrics["n"] == 4
    assert result.metrics["mean_reward_best"] == pytest.approx(sum(best) / len(best), abs=1e-5)
    assert result.metrics["mean_reward_best"] > result.metrics["mean_reward_sampled"]
    assert result.counts["num_sampled"] == 4 * len(scored)


def test_a_method_is_chosen_by_name_and_its_settings_have_to_agree() -> None:
    read = TypeAdapter[PolicySettings](PolicySettings).validate_python
    assert isinstance(read({"method": "grpo"}), OnlineSettings)
    for wrong, words in (
        ({"method": "ppo"}, "best_of_n"),
        ({"method": "rloo", "loss": "ipo"}, "Extra inputs"),
        ({"method": "dpo", "loss": "robust"}, "set label_smoothing above 0"),
        ({"method": "dpo", "label_smoothing": 0.1}, "loss is sigmoid with label_smoothing 0.1"),
        ({"method": "grpo", "num_generations": 3}, "a step has 16 answers"),
    ):
        with pytest.raises(ValidationError, match=words):
            read(wrong)
