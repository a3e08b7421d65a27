"""Stages of critique and revision: the critic, the revised answers, and the policy fine-tuned on them."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.generation.settings import PolicySampling
from rlaif_dagster.graph.cards import with_card
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.judging import Asking, find_earlier_answers
from rlaif_dagster.graph.learning import TRAINING_ENGINE, plan_restart, write_training
from rlaif_dagster.graph.responses import MODEL_ENGINE, open_sampler, write_responses
from rlaif_dagster.graph.sources import read_constitution, read_prompts
from rlaif_dagster.graph.specs import forget, identity, spec, speed
from rlaif_dagster.graph.stage import (
    Check,
    CheckResult,
    Computing,
    Governance,
    Identity,
    Planning,
    Stage,
    StageContext,
    StageResult,
)
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.judging.asking import Tally, answer_calls
from rlaif_dagster.judging.calls import Call, Reply
from rlaif_dagster.judging.journal import open_journal
from rlaif_dagster.judging.opening import JUDGE_MODEL, StoredJudge, write_judge
from rlaif_dagster.judging.profile import JudgeProfile
from rlaif_dagster.judging.settings import AskedJudgeSettings, name_judge
from rlaif_dagster.judging.templates import Template
from rlaif_dagster.models import ModelSource, copy_causal_lm
from rlaif_dagster.names import (
    BASE_POLICY,
    CONSTITUTION,
    CRITIC,
    PROMPTS,
    REVISED_RESPONSES,
    REVISIONS_TABLE,
    SUPERVISED_POLICY,
)
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.revising.revise import (
    Revision,
    Writers,
    revise_responses,
    revisions_schema,
    select_revised,
)
from rlaif_dagster.revising.settings import SupervisedSettings
from rlaif_dagster.tables import read_table, write_table

MIN_REVISED: Final = 0.5
"""The smallest share of the answers that must pass every round."""
_NUM_SAMPLES: Final = ("num_samples",)


@spec
class CriticSpec:
    """The critic, its two prompts, and where its model comes from."""

    critic: AskedJudgeSettings = identity()
    templates: Mapping[str, Template] = identity()
    model: ModelSource | None = identity()


def build_critic(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the critic: one model with two prompts, each stored like a judge."""
    critic = _require(inputs.critic)
    return Stage(
        identity=Identity(
            name=CRITIC,
            code_version="1",
            inputs=(),
            spec=CriticSpec(
                critic=critic.settings,
                templates={"critique": critic.critique, "revision": critic.revision},
                model=critic.model,
            ),
        ),
        computing=Computing(compute=compute_critic),
        planning=Planning(
            description="The model that criticises and revises the policy's answers, with its two prompts.",
            kinds=("json", "huggingface"),
        ),
    )


def compute_critic(context: StageContext, spec: CriticSpec) -> StageResult:
    """Writes the critic."""
    for name, template in spec.templates.items():
        write_judge(context.output / name, spec.critic, template)
    if spec.model is not None:
        copy_causal_lm(spec.model, context.output / JUDGE_MODEL)
    return StageResult()


@spec
class RevisedResponsesSpec:
    """How answers are sampled and revised.

    Attributes:
        sampling: The settings of the judged answers, except their number.
        num_samples: How many answers to each prompt.
        rounds: How often an answer is revised.
        seed: The project's seed.
        numerics: How numbers are computed.
        batch_size: Answers sampled at once.
        asking: How the critic is asked.
    """

    sampling: PolicySampling = identity(without=_NUM_SAMPLES)
    num_samples: int = identity()
    rounds: int = identity()
    seed: int = identity()
    numerics: NumericsSettings = identity(said_by="numerics")
    batch_size: int = speed()
    asking: Asking = speed()

    @property
    def sampling_of_revised(self) -> PolicySampling:
        """How the answers to be revised are sampled."""
        return self.sampling.model_copy(update={"num_samples": self.num_samples})


def build_revised_responses(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the revised answers."""
    settings, sampling = inputs.pipeline.revision, inputs.pipeline.sampling
    if settings is None or not isinstance(sampling, PolicySampling):
        raise TypeError("only answers that the policy samples can be revised")
    asking = Asking.of_judges([settings.critic], batch_size=inputs.pipeline.execution.judging_batch_size)
    return Stage(
        identity=Identity(
            name=REVISED_RESPONSES,
            code_version="2",
            inputs=(PROMPTS, CONSTITUTION, CRITIC, BASE_POLICY),
            spec=RevisedResponsesSpec(
                sampling=forget(sampling, _NUM_SAMPLES),
                num_samples=settings.num_samples,
                rounds=settings.rounds,
                seed=inputs.pipeline.seed,
                numerics=inputs.pipeline.numerics,
                batch_size=inputs.pipeline.execution.sampling_batch_size,
                asking=asking,
            ),
            engine=MODEL_ENGINE,
        ),
        computing=Computing(compute=compute_revised_responses, retries_unparsed=asking.retries_unparsed),
        governance=Governance(
            checks=(
                check_schema(REVISIONS_TABLE, revisions_schema, key=("response_id", "round")),
                Check(
                    name="most_revised",
                    description=f"At least {MIN_REVISED:.0%} of the answers passed every round.",
                    blocking=True,
                    run=functools.partial(_check_revised, settings.rounds),
                    required=MIN_REVISED,
                ),
            ),
        ),
        planning=Planning(
            description="Answers of the base policy, criticised and revised by one drawn principle each.",
            kinds=("parquet", "pytorch"),
        ),
    )


def compute_revised_responses(context: StageContext, spec: RevisedResponsesSpec) -> StageResult:
    """Samples the answers; the critic criticises and revises them."""
    prompts = [p for p in read_prompts(context.inputs[PROMPTS]) if p.split == "train"]
    with open_sampler(context, seed=spec.seed, numerics=spec.numerics, batch_size=spec.batch_size) as sample:
        responses = sample(BASE_POLICY, prompts, spec.sampling_of_revised).require_all()
    write_responses(context.output, responses.rows)
    stored = _read_critic(context)
    critic = stored["critique"].settings
    if critic.max_tokens_written is None:
        raise TypeError(f"a critic of the provider {critic.provider} writes nothing")
    writers = Writers(
        critic=stored["critique"].profile,
        reviser=stored["revision"].profile,
        max_tokens=critic.max_tokens_written,
    )
    tally = Tally()
    name = name_judge(critic)
    today = spec.asking.today.get(name)
    run_budget = today.run_budget if today else None
    budget = context.services.find_budget(name, run_budget) if run_budget else None
    with open_journal(context.journal, context.attempt) as journal:

        def answer_all(profile: JudgeProfile, calls: Sequence[Call]) -> Mapping[str, Reply]:
            kind = str(profile.template.writes)
            open_writer = functools.partial(
                stored[kind].open,
                today=today,
                numerics=spec.numerics,
                batch_size=spec.asking.batch_size,
                budget=budget,
            )
            result = answer_calls(
                lambda: calls,
                profile,
                open_writer,
                journal,
                what=f"{kind}s",
                earlier=lambda: find_earlier_answers(
                    context, profile, table=REVISIONS_TABLE, schema=revisions_schema
                ),
                price=today.token_price if today else None,
                retry_unparsed=name in spec.asking.retries_unparsed,
                progress=context.services.progress,
            )
            tally.add(result)
            return {call.call_id: journal.require(call.call_id) for call in calls}

        revisions = revise_responses(
            responses.rows,
            {p.prompt_id: p.prompt for p in prompts},
            read_constitution(context.inputs[CONSTITUTION]),
            writers,
            answer_all,
            rounds=spec.rounds,
        )
    write_table(context.output / REVISIONS_TABLE, map(Revision.to_row, revisions), revisions_schema())
    statuses = Counter(f"num_{revision.status}" for revision in revisions)
    is_final = stored["critique"].profile.is_final
    num_missing = sum(any(answer.is_missing for answer in revision.answers) for revision in revisions)
    num_unparsed = 0 if is_final else statuses.total() - statuses["num_ok"] - num_missing
    return StageResult(
        rows=len(revisions),
        counts={
            "num_sampled": responses.num_sampled,
            "num_reused": responses.num_reused,
            **tally.counts,
            **dict(sorted(statuses.items())),
        },
        metrics=tally.costs,
        num_open=0 if is_final else num_missing,
        num_unparsed={name: num_unparsed} if num_unparsed else {},
    )


@spec
class SupervisedPolicySpec:
    """How the policy is fine-tuned on the revised answers."""

    training: SupervisedSettings = identity()
    rounds: int = identity()
    seed: int = identity()
    numerics: NumericsSettings = identity(said_by="numerics")
    restart_steps: int = speed()


@with_card
def build_supervised_policy(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the fine-tuned policy."""
    settings = _require(inputs.pipeline.revision)
    return Stage(
        identity=Identity(
            name=SUPERVISED_POLICY,
            code_version="3",
            inputs=(REVISED_RESPONSES, BASE_POLICY),
            spec=SupervisedPolicySpec(
                training=settings.training,
                rounds=settings.rounds,
                seed=inputs.pipeline.seed,
                numerics=inputs.pipeline.numerics,
                restart_steps=inputs.pipeline.execution.restart_steps,
            ),
            engine=TRAINING_ENGINE,
        ),
        computing=Computing(compute=compute_supervised_policy),
        planning=Planning(
            description="The base policy fine-tuned on the revised answers by TRL's SFTTrainer; then it is sampled.",
            kinds=("huggingface", "pytorch"),
        ),
    )


def compute_supervised_policy(context: StageContext, spec: SupervisedPolicySpec) -> StageResult:
    """Fine-tunes the policy."""
    from rlaif_dagster.evaluation import plots
    from rlaif_dagster.evaluation.facts import Curve, CurvePoint
    from rlaif_dagster.numerics import prepare_torch
    from rlaif_dagster.seeds import derive_seed
    from rlaif_dagster.training.supervised import train_supervised_policy

    revised = select_revised(
        read_table(context.inputs[REVISED_RESPONSES] / REVISIONS_TABLE), rounds=spec.rounds
    )
    result = train_supervised_policy(
        context.inputs[BASE_POLICY],
        revised,
        spec.training,
        seed=derive_seed(spec.seed, SUPERVISED_POLICY),
        device=prepare_torch(num_threads=spec.numerics.num_threads, device=spec.numerics.device),
        output=context.output,
        scratch=context.scratch,
        restart=plan_restart(context, spec, every_steps=spec.restart_steps),
        progress=context.services.progress,
    )
    points = tuple(CurvePoint(step=step, value=loss) for step, loss in enumerate(result.losses, start=1))
    metrics: dict[str, JsonValue] = {"final_loss": result.losses[-1]}
    write_training(
        context.output,
        {"losses": list(result.losses), "metrics": metrics},
        {
            "loss": plots.draw_loss_curves(
                [Curve(label="revised answers", points=points)],
                ylabel="loss (nats per token)",
                chance=None,
            )
        },
    )
    return StageResult(
        counts={
            "num_train_answers": result.num_answers,
            "num_dropped_too_long": result.num_dropped,
            "num_dropped_empty_answer": result.num_empty,
            "num_cut": result.num_cut,
        },
        metrics=metrics,
    )


REVISION_BUILDERS: Final = (build_critic, build_revised_responses, build_supervised_policy)


def _read_critic(context: StageContext) -> dict[str, StoredJudge]:
    """Reads the critic's two judges, by what they write. A model that they name is the critic's own, or the policy."""
    folder = context.inputs[CRITIC]
    own = folder / JUDGE_MODEL
    model = own if own.is_dir() else context.inputs[BASE_POLICY]
    return {name: StoredJudge.read(folder / name, model=model) for name in ("critique", "revision")}


def _check_revised(rounds: int, output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    rows = read_table(output / REVISIONS_TABLE)
    num_answers = len({row["response_id"] for row in rows})
    num_revised = len(select_revised(rows, rounds=rounds))
    share = num_revised / num_answers if num_answers else 0.0
    return CheckResult(
        passed=share >= MIN_REVISED,
        facts={
            "share": share,
            "num_revised": num_revised,
            "num_answers": num_answers,
        },
    )


def _require(value: Any) -> Any:
    if value is None:
        raise TypeError("there is no `revision` section")
    return value
