"""Answers of both policies to held-out prompts, sampled or reused, and the judges' verdicts on them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rlaif_dagster.evaluation.comparison import Source
from rlaif_dagster.evaluation.settings import EvaluationSettings
from rlaif_dagster.generation.samplers.local import LocalSamplingSettings
from rlaif_dagster.generation.settings import PolicySampling
from rlaif_dagster.graph.judging import Asking, Left, ask_about_pairs
from rlaif_dagster.graph.responses import open_sampler, write_responses
from rlaif_dagster.graph.specs import forget, identity, spec, speed
from rlaif_dagster.graph.stage import StageContext
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging.constitution import Constitution
from rlaif_dagster.judging.jury import Jury
from rlaif_dagster.judging.opening import read_combine, read_judges
from rlaif_dagster.judging.pairs import Pair
from rlaif_dagster.judging.verdicts import Verdict
from rlaif_dagster.names import ALIGNED_POLICY, BASE_POLICY, EVALUATION_JUDGE, JUDGE
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.preferences import PreferenceSettings, aggregate_verdicts
from rlaif_dagster.prompts import Prompt
from rlaif_dagster.tables import Row

MEASURED_POLICIES: Final = (BASE_POLICY, ALIGNED_POLICY)
"""The policies that answer."""
_JUDGE: Final = (JUDGE,)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutAnswers:
    """Answers of both policies by (prompt id, index), and how they were obtained.

    Attributes:
        base: The base policy's answers that are compared with the aligned policy's.
        aligned: The aligned policy's answers.
        pool: Further answers of the base policy, for best-of-n.
        counts: How many answers were sampled and reused.
    """

    base: Mapping[tuple[str, int], Row]
    aligned: Mapping[tuple[str, int], Row]
    pool: Mapping[tuple[str, int], Row]
    counts: Mapping[str, int]

    @classmethod
    def from_rows(
        cls,
        base: Mapping[tuple[str, int], Row],
        aligned: Mapping[tuple[str, int], Row],
        counts: Mapping[str, int] | None = None,
    ) -> "HeldOutAnswers":
        """Sorts the answers of both policies by (prompt id, index). Further answers of the base policy are the pool."""
        return cls(
            base={key: base[key] for key in aligned},
            aligned=aligned,
            pool={key: row for key, row in base.items() if key not in aligned},
            counts=counts or {},
        )

    def pair(self, key: tuple[str, int]) -> Pair | None:
        """The pair of both policies' answers; None if they are the same text."""
        return pair_answers(self.base[key], self.aligned[key])

    def list_pairs(self) -> list[Pair]:
        """Lists the pairs of both policies' answers that differ."""
        return [pair for key in self.base if (pair := self.pair(key))]

    def list_pool_pairs(self) -> list[Pair]:
        """Lists the pairs of a pool answer and the prompt's first base answer that differ."""
        return [pair for key in self.pool if (pair := self.pair_in_pool(key))]

    def list_rows(self) -> list[Row]:
        """All answers."""
        return [*self.base.values(), *self.aligned.values(), *self.pool.values()]

    def pair_in_pool(self, key: tuple[str, int]) -> Pair | None:
        """The pair of a pool answer and the prompt's first base answer; None if they are the same text."""
        return pair_answers(self.pool[key], self.base[key[0], 0])


def pair_answers(answer: Row, other: Row) -> Pair | None:
    """Makes the pair of two answers to a prompt; None if they are the same text."""
    if answer["text"] == other["text"]:
        return None
    return Pair.from_responses(answer["prompt_id"], answer["response_id"], other["response_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutVerdicts:
    """The verdicts of one judge.

    Attributes:
        verdicts: The verdicts.
        by_pair: Preference rows by pair id.
        counts: How many verdicts were asked and reused.
        costs: What asking cost.
        num_open: How many verdicts may still be obtained by another try.
        num_unparsed: How many verdicts may still be obtained by another try that costs again, by judge.
    """

    verdicts: Sequence[Verdict] = ()
    by_pair: Mapping[str, Row] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    num_open: int = 0
    num_unparsed: Mapping[str, int] = field(default_factory=dict)


@spec
class EvaluationSpec:
    """How both policies are measured.

    Attributes:
        evaluation: The settings; the independent judge is an input.
        server_command: The command that serves a policy, if it is sampled behind a server.
        seed: The project's seed.
        judges: The judges that compare held-out answers, by input of the stage.
        trusted_judge: The independent judge, if there is one, else the judge; None if neither can be asked.
        numerics: How numbers are computed.
        batch_size: Answers sampled at once.
        asking: How the judges are asked.
    """

    evaluation: EvaluationSettings = identity(without=_JUDGE)
    server_command: tuple[str, ...] | None = identity()
    seed: int = identity()
    judges: Mapping[Source, str] = identity(said_by="inputs")
    trusted_judge: Source | None = identity(said_by="inputs")
    numerics: NumericsSettings = identity(said_by="numerics")
    batch_size: int = speed()
    asking: Asking = speed()

    @classmethod
    def from_inputs(cls, inputs: ProjectInputs) -> "EvaluationSpec":
        """Reads the spec from a project's inputs."""
        pipeline, sampling = inputs.pipeline, inputs.pipeline.sampling
        judges: dict[Source, str] = {"judge": JUDGE}
        trusted: Source | None = "judge" if inputs.judges else None
        if inputs.evaluation_judge is not None:
            judges["independent_judge"] = EVALUATION_JUDGE
            trusted = "independent_judge"
        return cls(
            evaluation=forget(pipeline.evaluation, _JUDGE),
            server_command=sampling.server if isinstance(sampling, PolicySampling) else None,
            seed=pipeline.seed,
            judges=judges,
            trusted_judge=trusted,
            numerics=pipeline.numerics,
            batch_size=pipeline.execution.sampling_batch_size,
            asking=Asking.from_inputs(inputs),
        )

    @property
    def scorer(self) -> Source | None:
        """Who judges the reward model's choices: the most trusted source available; None without best-of-n."""
        if self.evaluation.best_of is None:
            return None
        return "ground_truth" if self.evaluation.ground_truth is not None else self.trusted_judge

    @property
    def checkpoint_judge(self) -> Source | None:
        """Which judge is asked about the answers at checkpoints, if any."""
        return self.trusted_judge if self.evaluation.judge_checkpoints else None

    def sampling_of(self, policy: str) -> LocalSamplingSettings:
        """How a policy is sampled: with the evaluation's settings, and behind a server if there is a command for it."""
        settings = self.evaluation
        pool = settings.best_of or 0 if policy == BASE_POLICY else 0
        return LocalSamplingSettings(
            num_samples=settings.num_samples + pool,
            temperature=settings.temperature,
            max_new_tokens=settings.max_new_tokens,
            dtype=settings.dtype,
            server_command=self.server_command,
        )


def answer_held_out(context: StageContext, prompts: Sequence[Prompt], spec: EvaluationSpec) -> HeldOutAnswers:
    """Answers held-out prompts with both policies, and writes the table of answers.

    Reuses answers of earlier evaluations with the same key, so that only new prompts, or a new policy, are sampled.

    Raises:
        ModelError: If a policy cannot be opened, or its context is too short for a prompt.
    """
    answers: dict[str, Row] = {}  # each answer once, even if both policies are the same
    by_policy = []
    counts: Counter[str] = Counter()
    with open_sampler(context, seed=spec.seed, numerics=spec.numerics, batch_size=spec.batch_size) as sample:
        for policy in MEASURED_POLICIES:
            result = sample(policy, prompts, spec.sampling_of(policy)).require_all()
            by_policy.append({(row["prompt_id"], row["index"]): row for row in result.rows})
            answers.update((row["response_id"], row) for row in result.rows)
            counts.update(num_sampled=result.num_sampled, num_reused=result.num_reused)
    write_responses(context.output, answers.values())
    base, aligned = by_policy
    return HeldOutAnswers.from_rows(base, aligned, counts=counts)


def judge_answers(
    pairs: Sequence[Pair],
    others: Sequence[Pair],
    context: StageContext,
    spec: EvaluationSpec,
    *,
    judge: str,
    responses: Sequence[Row],
    prompts: Sequence[Prompt],
    constitution: Constitution,
) -> HeldOutVerdicts:
    """Asks a judge about pairs of answers.

    Args:
        pairs: The pairs of both policies' answers. A jury estimates its judges' weights from these pairs only.
        others: Further pairs to ask about.
        context: The stage's context.
        spec: The spec that says how judges are asked.
        judge: The input that names the judge: `judge` or `evaluation_judge`.
        responses: The answers.
        prompts: Their prompts.
        constitution: The constitution that they are judged by.

    Raises:
        JudgeError: If a judge cannot answer at all, or the budget is used up.
    """
    judges = read_judges(context.inputs[judge])
    if not judges:  # recorded verdicts cannot judge new answers
        return HeldOutVerdicts()
    with ask_about_pairs(
        [*pairs, *others],
        judges,
        context,
        spec.asking,
        spec.numerics,
        prompts={p.prompt_id: p.prompt for p in prompts},
        texts={row["response_id"]: row["text"] for row in responses},
    ) as asked:
        left = Left(is_final=asked.is_final)
        verdicts = list(left.see(asked.verdicts))
    compared = {pair.pair_id for pair in pairs}
    preferences = aggregate_verdicts(
        verdicts,
        constitution=constitution,
        prompts=[{"prompt_id": p.prompt_id, "prompt": p.prompt, "split": p.split} for p in prompts],
        responses=responses,
        settings=PreferenceSettings(),
        protocol=next(iter(judges.values())).profile.protocol,
        jury=Jury.from_verdicts(
            read_combine(context.inputs[judge]), (one for one in verdicts if one.pair_id in compared)
        ),
    )
    return HeldOutVerdicts(
        verdicts=verdicts,
        by_pair={row["pair_id"]: row for row in preferences.rows},
        counts=asked.counts,
        costs=asked.costs,
        num_open=left.num_missing,
        num_unparsed=left.num_unparsed,
    )
