"""Answers of both policies to held-out prompts, sampled or known from an earlier evaluation, and the judge on them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rlaif_dagster.generation.settings import LocalSamplingSettings
from rlaif_dagster.graph.judging import ask_about_pairs, read_answers, write_judgements
from rlaif_dagster.graph.responses import sample_policy, write_responses
from rlaif_dagster.graph.stage import StageContext
from rlaif_dagster.inputs.pipeline import PipelineSettings
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.jury import Jury
from rlaif_dagster.judging.opening import read_combine, read_judges
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.preferences import PreferenceSettings, aggregate_verdicts
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.tables import Row

MEASURED_POLICIES: Final = ("base_policy", "aligned_policy")
"""The policies that answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutAnswers:
    """Answers of both policies by (prompt id, index), and how they were come by."""

    base: Mapping[tuple[str, int], Row]
    aligned: Mapping[tuple[str, int], Row]
    counts: Mapping[str, int]

    def pair(self, key: tuple[str, int]) -> Pair | None:
        """The pair of both policies' answers; None where they are the same text."""
        base, aligned = self.base[key], self.aligned[key]
        if base["text"] == aligned["text"]:
            return None
        return Pair.from_responses(key[0], base["response_id"], aligned["response_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutVerdicts:
    """Preference rows by pair id, what they cost, and how many verdicts another try may get."""

    by_pair: Mapping[str, Row]
    counts: Mapping[str, int]
    costs: Mapping[str, float]
    num_open: int


def sampling_of(pipeline: PipelineSettings) -> LocalSamplingSettings:
    """How both policies are sampled: as the evaluation says, and behind a server where `sampling` names one."""
    settings, sampling = pipeline.evaluation, pipeline.sampling
    return LocalSamplingSettings(
        num_samples=settings.num_samples,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        dtype=settings.dtype,
        server_command=sampling.server_command if isinstance(sampling, LocalSamplingSettings) else None,
    )


def answer_held_out(
    context: StageContext, prompts: Sequence[Prompt], inputs: ProjectInputs
) -> HeldOutAnswers:
    """Answers held-out prompts with both policies, and writes the table of answers.

    Answers of earlier evaluations with the same key are taken over, so that only new prompts, or a new policy, are
    sampled.

    Raises:
        ModelError: If a policy cannot be opened, or has too short a context for a prompt.
    """
    answers: dict[str, Row] = {}  # an answer once, if both policies are the same
    by_policy = []
    counts: Counter[str] = Counter()
    for policy in MEASURED_POLICIES:
        result = sample_policy(context, policy, prompts, sampling_of(inputs.pipeline), inputs)
        by_policy.append({(row["prompt_id"], row["index"]): row for row in result.rows})
        answers.update((row["response_id"], row) for row in result.rows)
        counts.update(num_sampled=result.num_sampled, num_reused=result.num_reused)
    write_responses(context.output, answers.values())
    base, aligned = by_policy
    return HeldOutAnswers(base=base, aligned=aligned, counts=counts)


def judge_held_out(
    context: StageContext,
    prompts: Sequence[Prompt],
    constitution: Constitution,
    answers: HeldOutAnswers,
    inputs: ProjectInputs,
) -> HeldOutVerdicts:
    """Asks the judge about each pair of different answers, and writes the table of verdicts.

    Raises:
        JudgeError: If a judge cannot answer at all, or may not spend more.
    """
    judges = read_judges(context.inputs["judge"])
    if not judges:  # recorded verdicts say nothing of new answers
        return HeldOutVerdicts(by_pair={}, counts={}, costs={}, num_open=0)
    responses = [*answers.base.values(), *answers.aligned.values()]
    with ask_about_pairs(
        [pair for key in answers.base if (pair := answers.pair(key)) is not None],
        judges,
        context,
        inputs,
        prompts={p.prompt_id: p.prompt for p in prompts},
        texts={row["response_id"]: row["text"] for row in responses},
        earlier=lambda: (read_answers(folder) for folder in context.earlier_versions()),
    ) as asked:
        verdicts = list(asked.verdicts)
    write_judgements(context.output, verdicts)
    preferences = aggregate_verdicts(
        verdicts,
        constitution=constitution,
        prompts=[{"prompt_id": p.prompt_id, "prompt": p.prompt, "split": p.split} for p in prompts],
        responses=responses,
        settings=PreferenceSettings(),
        protocol=next(iter(judges.values())).profile.protocol,
        jury=Jury.from_verdicts(read_combine(context.inputs["judge"]), verdicts),
    )
    return HeldOutVerdicts(
        by_pair={row["pair_id"]: row for row in preferences.rows},
        counts=asked.counts,
        costs=asked.costs,
        num_open=0 if asked.is_final else sum(verdict.status != "ok" for verdict in verdicts),
    )
