"""Chooses the policy's checkpoint by the reward model. Needs torch: import it lazily.

Every `checkpoint_steps` the policy answers the same training prompts from the same seeds, and the reward model
scores the answers. The earliest step that is not significantly worse than the best one is chosen
(`choose_checkpoint`): a gain of reward within noise does not justify more distance from the base policy. The base
policy (step 0) is measured too, but is not a candidate.

Known trade-off (accepted): the weights of all steps since the current choice are kept in scratch files.
"""

import json
import math
import statistics
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from rlaif_dagster.generation.dialogues import Dialogue, encode_prompt
from rlaif_dagster.generation.sampling import complete_prompts
from rlaif_dagster.generation.settings import PolicySampling
from rlaif_dagster.seeds import derive_seed
from rlaif_dagster.training.kl import KlEstimate, compute_k3, compute_log_probs
from rlaif_dagster.training.results import CheckpointAnswer, PolicyCheckpoint
from rlaif_dagster.training.rewards import RewardModel
from rlaif_dagster.training.settings import GuardSettings
from rlaif_dagster.training.sharding import whole_weights
from rlaif_dagster.training.trainers import DivergedError, require_finite_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeQuestion:
    """A question asked at every checkpoint: a prompt, the index of the answer, and the answer's seed."""

    prompt: str
    index: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointProbe:
    """What measures a policy: questions, a reward model and the reference policy.

    Attributes:
        questions: One for each answer.
        sampling: Temperature 1, so that the KL estimate is unbiased.
        tokenizer: The policy's tokenizer.
        reward_model: One model or an ensemble.
        reference: The reference policy on its device, or None if the policy's adapters can be switched off.
        batch_size: The number of answers sampled at once.
    """

    questions: tuple[ProbeQuestion, ...]
    sampling: PolicySampling
    tokenizer: Any
    reward_model: RewardModel
    reference: Any | None
    batch_size: int = 64

    def measure(self, model: Any, step: int) -> PolicyCheckpoint:
        """Samples and scores the policy in its current state.

        Args:
            model: The policy, possibly with adapters.
            step: The number of training steps so far.
        """
        prompts = [question.prompt for question in self.questions]
        adapted = hasattr(model, "disable_adapter")
        causal_lm = model.get_base_model() if adapted else model
        was_training = model.training
        model.eval()
        try:
            completions = complete_prompts(
                causal_lm,
                self.tokenizer,
                prompts,
                seeds=[question.seed for question in self.questions],
                settings=self.sampling,
                batch_size=self.batch_size,
            )
            dialogues = [
                Dialogue(
                    prompt_ids=encode_prompt(self.tokenizer, prompt),
                    completion_ids=list(completion.token_ids),
                )
                for prompt, completion in zip(prompts, completions, strict=True)
            ]
            log_probs = compute_log_probs(causal_lm, dialogues, batch_size=self.batch_size)
            with model.disable_adapter() if self.reference is None else nullcontext():
                reference = causal_lm if self.reference is None else self.reference
                reference_log_probs = compute_log_probs(reference, dialogues, batch_size=self.batch_size)
        finally:
            model.train(was_training)
        scores = self.reward_model.score(
            [completion.answer(prompt) for prompt, completion in zip(prompts, completions, strict=True)],
            batch_size=self.batch_size,
        )
        rewards = scores.means
        kl = KlEstimate.from_log_probs(log_probs, reference_log_probs)
        return PolicyCheckpoint(
            step=step,
            mean_reward=sum(rewards) / len(rewards),
            kl_k1=kl.k1,
            kl_k3=kl.k3,
            mean_num_tokens=sum(len(completion.token_ids) for completion in completions) / len(completions),
            answers=tuple(
                CheckpointAnswer(
                    prompt=question.prompt,
                    index=question.index,
                    text=completion.text,
                    num_tokens=len(completion.token_ids),
                    finish_reason=completion.finish_reason,
                    reward=reward,
                    kl=added,
                )
                for question, completion, reward, added in zip(
                    self.questions,
                    completions,
                    rewards,
                    compute_k3(log_probs, reference_log_probs),
                    strict=True,
                )
            ),
            disagreement=statistics.fmean(scores.spreads),
        )


class CheckpointCallback(TrainerCallback):
    """Measures the policy during training and keeps the weights of the chosen and later steps in scratch files.

    With a guard it ends training when the policy exploits its reward model; the step at which this is detected is
    measured, but is not a candidate.
    """

    def __init__(
        self, probe: CheckpointProbe, *, every: int, folder: Path, guard: GuardSettings | None = None
    ) -> None:
        self._probe, self._every, self._folder, self._guard = probe, every, folder, guard
        self._candidates: list[PolicyCheckpoint] = []
        self.checkpoints: list[PolicyCheckpoint] = []
        self.stopped: str | None = None

    @property
    def chosen(self) -> PolicyCheckpoint:
        """The checkpoint chosen so far; the base policy before there is a candidate."""
        return self._candidates[0] if self._candidates else self.checkpoints[0]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measures the base policy, or restores what was measured before the restart point."""
        if state.global_step:
            self._take_up(_find_measured(args, state))
            return
        self.checkpoints.append(self._measure(kwargs["model"], 0))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measures the policy at every checkpoint step, and after the last step."""
        step = state.global_step
        if step % self._every and step != state.max_steps:
            return
        newest = self._measure(kwargs["model"], step)
        self.checkpoints.append(newest)
        if self._guard is not None:
            self.stopped = find_hacking(self.checkpoints[0], newest, self._guard)
        if self.stopped is not None:
            control.should_training_stop = True
            return
        self._candidates.append(newest)
        chosen = choose_checkpoint(self._candidates)
        while self._candidates[0] is not chosen:
            # A training that continues after a kill may have removed it already.
            self._file_of(self._candidates.pop(0)).unlink(missing_ok=True)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Writes the measurements beside a restart point."""
        if not state.is_world_process_zero:
            return
        measured = {
            "checkpoints": [asdict(checkpoint) for checkpoint in self.checkpoints],
            "candidates": [checkpoint.step for checkpoint in self._candidates],
        }
        _find_measured(args, state).write_text(json.dumps(measured))

    def restore_chosen(self, model: Any) -> None:
        """Puts the chosen checkpoint's weights back into the model."""
        weights = load_file(self._file_of(self.chosen))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])

    def _measure(self, model: Any, step: int) -> PolicyCheckpoint:
        """Measures the policy and keeps its weights; with several processes, the first does this and tells the others.

        Raises:
            DivergedError: If weights or figures are not finite.
        """
        measured: list[Any] = [None]
        with whole_weights(model):
            require_finite_weights(model, step)
            if PartialState().is_main_process:
                measured = [self._probe.measure(model, step)]
                save_file(_trained_weights(model), self._folder / f"step-{step}.safetensors")
            broadcast_object_list(measured)
        checkpoint: PolicyCheckpoint = measured[0]
        if not math.isfinite(checkpoint.mean_reward + checkpoint.kl_k1):
            raise DivergedError(math.nan, step)
        return checkpoint

    def _take_up(self, measured: Path) -> None:
        values = json.loads(measured.read_text())
        self.checkpoints = TypeAdapter(list[PolicyCheckpoint]).validate_python(values["checkpoints"])
        self._candidates = [one for one in self.checkpoints if one.step in values["candidates"]]

    def _file_of(self, checkpoint: PolicyCheckpoint) -> Path:
        return self._folder / f"step-{checkpoint.step}.safetensors"


def _find_measured(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / "measured.json"


def find_hacking(base: PolicyCheckpoint, now: PolicyCheckpoint, guard: GuardSettings) -> str | None:
    """Says why a policy seems to exploit its reward model, by signs that need no ground truth; None without signs.

    Args:
        base: The base policy, measured with the same prompts and seeds.
        now: The policy after some steps.
        guard: The thresholds. If all members score the base policy's answers equally, disagreement is not checked.
    """
    for sign, one, other, limit in (
        ("length drift", now.mean_num_tokens, base.mean_num_tokens, guard.max_length_ratio),
        ("shrinking answers", base.mean_num_tokens, now.mean_num_tokens, guard.max_length_ratio),
        ("ensemble disagreement", now.disagreement, base.disagreement, guard.max_disagreement_ratio),
    ):
        if limit is not None and other > 0 and one > limit * other:
            return f"{sign} at step {now.step}: {one:.3g} is more than {limit:g} times {other:.3g}"
    return None


def choose_checkpoint(checkpoints: Sequence[PolicyCheckpoint]) -> PolicyCheckpoint:
    """Chooses the earliest checkpoint whose mean reward is within one standard error of the highest.

    The one-standard-error rule (Breiman et al. 1984, section 3.4.3), with the standard error of the paired difference:
    both checkpoints answer the same prompts from the same seeds.

    Args:
        checkpoints: At least one, in the order of their steps, with rewards on the same prompts.
    """
    best = max(checkpoints, key=lambda checkpoint: checkpoint.mean_reward)
    return next(
        checkpoint
        for checkpoint in checkpoints
        if best.mean_reward - checkpoint.mean_reward <= _standard_error(best, checkpoint)
    )


def _standard_error(ones: PolicyCheckpoint, others: PolicyCheckpoint) -> float:
    """Computes the standard error of the mean of paired reward differences; 0 for a single pair."""
    differences = [one.reward - other.reward for one, other in zip(ones.answers, others.answers, strict=True)]
    return statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0


def choose_probe_questions(
    prompts: Sequence[str], *, num_prompts: int, num_samples: int, seed: int
) -> tuple[ProbeQuestion, ...]:
    """Chooses training prompts by content, and gives each of their `num_samples` answers its seed."""
    chosen = sorted(set(prompts), key=lambda prompt: (derive_seed(seed, "checkpoint", prompt), prompt))
    return tuple(
        ProbeQuestion(
            prompt=prompt, index=index, seed=derive_seed(seed, "checkpoint response", prompt, index)
        )
        for prompt in chosen[:num_prompts]
        for index in range(num_samples)
    )


def _trained_weights(model: Any) -> dict[str, torch.Tensor]:
    return {
        name: parameter.detach().cpu().contiguous().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
