"""Rewards: a reward model's scores of answers, and how well its choices agree with labels.

torch and transformers are imported inside the functions.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.generation.dialogues import AnsweredPrompt, Dialogue, encode_dialogues
from rlaif_dagster.tables import Rows
from rlaif_dagster.weights import REWARD_BASE_USE, REWARD_MODEL_USE, Use, open_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


MEMBER: Final = "member_"
"""The prefix of the folders of an ensemble's further models; a number follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardEvaluation:
    """How a reward model's choices agree with labels, over pairs with a decided label (no near tie).

    Attributes:
        num_pairs: Number of pairs compared.
        num_near_ties: Pairs left out because their label is a near tie.
        num_correct: Pairs in which the preferred answer has the higher reward; an equal reward counts half.
        num_longer_wins: The same for the rule "the answer with more characters is better".
        margins: reward(preferred) - reward(other), one per pair, in the order of the rows.
        disagreement: Mean standard deviation of an ensemble's scores of an answer; 0 for a single model.
    """

    num_pairs: int
    num_near_ties: int
    num_correct: float
    num_longer_wins: float
    margins: tuple[float, ...]
    disagreement: float = 0.0

    @property
    def accuracy(self) -> float | None:
        """Share of correct choices, or None without pairs."""
        return self.num_correct / self.num_pairs if self.num_pairs else None

    @property
    def longer_wins_accuracy(self) -> float | None:
        """The same for the rule "the longer answer is better"."""
        return self.num_longer_wins / self.num_pairs if self.num_pairs else None

    @property
    def mean_margin(self) -> float | None:
        """Mean margin, in the unit of the reward (log-odds), or None without pairs."""
        return sum(self.margins) / self.num_pairs if self.num_pairs else None


def open_reward_model(
    folder: Path, *, dtype: str, use: Use = REWARD_BASE_USE
) -> "tuple[Any, PreTrainedTokenizerBase]":
    """Opens a sequence classifier with one output; for a language model, its head is drawn from the global seed.

    Args:
        folder: A model folder: a reward model, or a causal language model to make one from.
        dtype: "float32" or "bfloat16".
        use: `REWARD_MODEL_USE` for a folder that must have its head.

    Raises:
        ModelError: If the folder cannot be opened, its weights do not fit, or its classifier has several outputs.
    """
    opened = open_model(folder, use, dtype=dtype)
    model, tokenizer = opened.model, opened.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardScores:
    """Scores of some answers.

    Attributes:
        means: The mean over an ensemble's members; differences are log-odds of being preferred.
        spreads: The members' standard deviation (n - 1); 0 for a single model.
    """

    means: list[float]
    spreads: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModel:
    """A reward model on its device: one model, or an ensemble of them with one tokenizer."""

    members: "tuple[Any, ...]"
    tokenizer: "PreTrainedTokenizerBase"

    @classmethod
    def open(cls, folder: Path, *, dtype: str, device: "torch.device") -> "RewardModel":
        """Opens a reward model's folder, and the further members of an ensemble in it.

        Raises:
            ModelError: If it cannot be opened.
        """
        opened = [
            open_reward_model(path, dtype=dtype, use=REWARD_MODEL_USE) for path in list_ensemble(folder)
        ]
        return cls(members=tuple(model.to(device) for model, _ in opened), tokenizer=opened[0][1])

    def score(
        self, answers: Iterable[AnsweredPrompt], *, batch_size: int = 64, max_length: int | None = None
    ) -> RewardScores:
        """Scores answers; one longer than `max_length` or the context is cut.

        Raises:
            ModelError: If the tokenizer has no chat template.
        """
        dialogues = encode_dialogues(self.tokenizer, answers)
        scores = [
            score_dialogues(model, self.tokenizer, dialogues, batch_size=batch_size, max_length=max_length)
            for model in self.members
        ]
        if len(scores) == 1:
            return RewardScores(means=scores[0], spreads=[0.0] * len(dialogues))
        by_answer = list(zip(*scores, strict=True))
        return RewardScores(
            means=[statistics.fmean(each) for each in by_answer],
            spreads=[statistics.stdev(each) for each in by_answer],
        )


def list_ensemble(folder: Path) -> list[Path]:
    """Lists the folders of an ensemble's models: the folder itself, then `member_2` and so on inside it."""
    others = folder.glob(f"{MEMBER}*")
    return [folder, *sorted(others, key=lambda path: int(path.name.removeprefix(MEMBER)))]


def score_responses(
    reward_model_path: Path,
    answers: Sequence[AnsweredPrompt],
    *,
    device: "torch.device",
    batch_size: int = 64,
    dtype: str = "float32",
    max_length: int | None = None,
) -> list[float]:
    """Scores answers with the reward model in a folder; see `RewardModel.score`.

    Returns:
        One reward per answer, in order; differences of rewards are log-odds of being preferred.

    Raises:
        ModelError: If the model cannot be opened or has no chat template.
    """
    reward_model = RewardModel.open(reward_model_path, dtype=dtype, device=device)
    return reward_model.score(answers, batch_size=batch_size, max_length=max_length).means


def score_dialogues(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    dialogues: Sequence[Dialogue],
    *,
    batch_size: int,
    max_length: int | None = None,
) -> list[float]:
    """Scores encoded dialogues, batched by length; one longer than the model's context is cut at its end.

    Args:
        model: From `open_reward_model`, on its device.
        tokenizer: Its tokenizer.
        dialogues: Any number.
        batch_size: Dialogues scored at once.
        max_length: The most tokens of a dialogue; None for the model's context.
    """
    import torch

    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limit = min((length for length in (context, max_length) if length is not None), default=None)
    order = sorted(range(len(dialogues)), key=lambda i: len(dialogues[i].input_ids[:limit]))
    rewards = [0.0] * len(dialogues)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        rows = [torch.tensor(dialogues[i].input_ids[:limit]) for i in batch]
        pad = tokenizer.pad_token_id
        input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=float(pad or 0))
        lengths = torch.tensor([len(row) for row in rows])
        attention_mask = (torch.arange(input_ids.shape[1])[None] < lengths[:, None]).long()
        with torch.inference_mode():
            logits = model(
                input_ids=input_ids.to(model.device), attention_mask=attention_mask.to(model.device)
            ).logits
        for i, reward in zip(batch, logits.float().squeeze(-1).tolist(), strict=True):
            rewards[i] = reward
    return rewards


def evaluate_rewards(rows: Rows, rewards_a: Sequence[float], rewards_b: Sequence[float]) -> RewardEvaluation:
    """Compares rewards with labels.

    Args:
        rows: Rows of the `ai_preferences` table: `p_a`, `near_tie`, `text_a`, `text_b`.
        rewards_a: The reward of each row's answer a.
        rewards_b: The reward of each row's answer b.
    """
    margins, longer = [], 0.0
    for row, reward_a, reward_b in zip(rows, rewards_a, rewards_b, strict=True):
        if row["near_tie"] or row["p_a"] == 0.5:  # noqa: PLR2004 (0.5 is no preference)
            continue
        sign = 1 if row["p_a"] > 0.5 else -1  # noqa: PLR2004
        margins.append(sign * (reward_a - reward_b))
        longer += _half_for_ties(sign * (len(row["text_a"]) - len(row["text_b"])))
    return RewardEvaluation(
        num_pairs=len(margins),
        num_near_ties=len(rewards_a) - len(margins),
        num_correct=sum(_half_for_ties(margin) for margin in margins),
        num_longer_wins=longer,
        margins=tuple(margins),
    )


def _half_for_ties(margin: float) -> float:
    return 1.0 if margin > 0 else 0.5 if margin == 0 else 0.0
