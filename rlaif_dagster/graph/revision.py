"""Stages of critique and revision: the critic, the revised answers, and the policy fine-tuned on them."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.generation.settings import LocalSamplingSettings
from rlaif_dagster.graph.cards import with_card
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.judging import read_answers
from rlaif_dagster.graph.learning import TRAINING_ENGINE, plan_restart, write_training
from rlaif_dagster.graph.responses import MODEL_ENGINE, open_sampler, write_responses
from rlaif_dagster.graph.sources import read_constitution, read_prompts
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import SUPERVISED_POLICY, CriticSource, ProjectInputs
from rlaif_dagster.judging.calls import Answer, Call, JudgeProfile
from rlaif_dagster.judging.journal import open_journal
from rlaif_dagster.judging.judge import Tally, answer_calls
from rlaif_dagster.judging.opening import JUDGE_MODEL, StoredJudge, write_judge
from rlaif_dagster.judging.settings import LocalJudgeSettings, OpenAIJudgeSettings, name_judge
from rlaif_dagster.models import copy_causal_lm
from rlaif_dagster.revising.revise import (
    Revision,
    Writers,
    revise_responses,
    revisions_schema,
    select_revised,
)
from rlaif_dagster.revising.settings import BASE_POLICY
from rlaif_dagster.tables import read_table, write_table

REVISIONS_TABLE: Final = "revisions.parquet"
MIN_REVISED: Final = 0.5
"""Least share of the answers that must come through every round."""


def sampling_of_revised(inputs: ProjectInputs) -> LocalSamplingSettings:
    """How the answers are sampled that are revised: as those that are judged, but for their number."""
    sampling = inputs.pipeline.sampling
    if not isinstance(sampling, LocalSamplingSettings):
        raise TypeError("only answers that the policy samples can be revised")
    return sampling.model_copy(update={"num_samples": _require(inputs.pipeline.revision).num_samples})


def build_critic(inputs: ProjectInputs) -> Stage:
    """The stage of the critic: one model with two prompts, each laid out like a judge."""
    critic = _require(inputs.critic)
    templates = {"critique": critic.critique, "revision": critic.revision}

    def compute(context: StageContext) -> StageResult:
        for name, template in templates.items():
            write_judge(context.output / name, critic.settings, template)
        if critic.model is not None:
            copy_causal_lm(critic.model, context.output / JUDGE_MODEL)
        return StageResult()

    return Stage(
        name="critic",
        description="Who criticises and revises the policy's answers, with its two prompts.",
        kinds=("json", "huggingface"),
        code_version="1",
        inputs=(),
        settings={
            "critic": critic.settings.describe(),
            "templates": {name: str(template.digest) for name, template in templates.items()},
            "model": critic.model.describe() if critic.model else None,
        },
        engine=(),
        compute=compute,
    )


def build_revised_responses(inputs: ProjectInputs) -> Stage:
    """The stage of the revised answers."""
    critic = _require(inputs.critic)
    settings = _require(inputs.pipeline.revision)
    sampling = inputs.pipeline.sampling
    seed = inputs.pipeline.seed

    def compute(context: StageContext) -> StageResult:
        prompts = [p for p in read_prompts(context.inputs["prompts"]) if p.split == "train"]
        with open_sampler(context, inputs) as sample:
            responses = sample(BASE_POLICY, prompts, sampling_of_revised(inputs))
        write_responses(context.output, responses.rows)
        stored = _read_critic(context, critic)
        writers = Writers(
            critic=stored["critique"].profile,
            reviser=stored["revision"].profile,
            max_tokens=critic.settings.max_tokens_written,
        )
        tally = Tally()
        served = critic.settings if isinstance(critic.settings, OpenAIJudgeSettings) else None
        budget = context.budgets.of_judge(name_judge(served), served.limits.budget) if served else None
        with open_journal(context.journal, context.attempt) as journal:

            def answer_all(profile: JudgeProfile, calls: Sequence[Call]) -> Mapping[str, Answer]:
                kind = str(profile.template.writes)
                open_writer = functools.partial(
                    stored[kind].open,
                    served_by=critic.settings,
                    numerics=inputs.pipeline.numerics,
                    batch_size=inputs.pipeline.execution.judging_batch_size,
                    budget=budget,
                )
                result = answer_calls(
                    lambda: calls,
                    profile,
                    open_writer,
                    journal,
                    what=f"{kind}s",
                    earlier=lambda: (
                        read_answers(folder, REVISIONS_TABLE, revisions_schema)
                        for folder in context.earlier_versions()
                    ),
                    price=served.price if served else None,
                    progress=context.progress,
                )
                tally.add(result)
                return {call.call_id: journal.require(call.call_id) for call in calls}

            revisions = revise_responses(
                responses.rows,
                {p.prompt_id: p.prompt for p in prompts},
                read_constitution(context.inputs["constitution"]),
                writers,
                answer_all,
                rounds=settings.rounds,
            )
        write_table(context.output / REVISIONS_TABLE, map(Revision.to_row, revisions), revisions_schema())
        statuses = Counter(f"num_{revision.status}" for revision in revisions)
        is_final = stored["critique"].profile.is_final
        return StageResult(
            rows=len(revisions),
            counts={
                "num_sampled": responses.num_sampled,
                "num_reused": responses.num_reused,
                **tally.counts,
                **dict(sorted(statuses.items())),
            },
            metrics=tally.costs,
            num_open=0 if is_final else statuses.total() - statuses["num_ok"],
        )

    return Stage(
        name="revised_responses",
        description="Answers of the base policy, criticised and revised under a principle drawn for each.",
        kinds=("parquet", "pytorch"),
        code_version="2",
        inputs=("prompts", "constitution", "critic", "base_policy"),
        settings={
            "sampling": sampling.model_dump(mode="json", exclude={"num_samples"}),
            "num_samples": settings.num_samples,
            "rounds": settings.rounds,
            "seed": seed,
        },
        engine=MODEL_ENGINE,
        compute=compute,
        numerics=inputs.pipeline.numerics,
        checks=(
            check_schema(REVISIONS_TABLE, revisions_schema, key=("response_id", "round")),
            Check(
                name="most_revised",
                description=f"At least {MIN_REVISED:.0%} of the answers came through every round.",
                blocking=True,
                run=functools.partial(_check_revised, settings.rounds),
                required=MIN_REVISED,
            ),
        ),
    )


@with_card
def build_supervised_policy(inputs: ProjectInputs) -> Stage:
    """The stage of the policy fine-tuned on the revised answers."""
    settings = _require(inputs.pipeline.revision)
    numerics = inputs.pipeline.numerics
    seed = inputs.pipeline.seed
    recipe: JsonValue = {
        "training": settings.training.model_dump(mode="json"),
        "rounds": settings.rounds,
        "seed": seed,
    }

    def compute(context: StageContext) -> StageResult:
        from rlaif_dagster.evaluation import plots
        from rlaif_dagster.evaluation.facts import Curve, CurvePoint
        from rlaif_dagster.numerics import prepare_torch
        from rlaif_dagster.seeds import derive_seed
        from rlaif_dagster.training.supervised import train_supervised_policy

        revised = select_revised(
            read_table(context.inputs["revised_responses"] / REVISIONS_TABLE), rounds=settings.rounds
        )
        result = train_supervised_policy(
            context.inputs["base_policy"],
            revised,
            settings.training,
            seed=derive_seed(seed, SUPERVISED_POLICY),
            device=prepare_torch(num_threads=numerics.num_threads, device=numerics.device),
            output=context.output,
            scratch=context.scratch,
            restart=plan_restart(context, recipe, inputs),
            progress=context.progress,
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

    return Stage(
        name=SUPERVISED_POLICY,
        description="The base policy fine-tuned on the revised answers by TRL's SFTTrainer; then it is sampled.",
        kinds=("huggingface", "pytorch"),
        code_version="2",
        inputs=("revised_responses", "base_policy"),
        settings=recipe,
        engine=TRAINING_ENGINE,
        compute=compute,
        numerics=numerics,
    )


REVISION_BUILDERS: Final = (build_critic, build_revised_responses, build_supervised_policy)


def _read_critic(context: StageContext, critic: CriticSource) -> dict[str, StoredJudge]:
    """The critic by what it writes; its model is its own, the policy itself, or behind a server."""
    model = None
    if isinstance(critic.settings, LocalJudgeSettings):
        own = context.inputs["critic"] / JUDGE_MODEL
        model = context.inputs[BASE_POLICY] if critic.model is None else own
    return {
        name: StoredJudge.read(context.inputs["critic"] / name, model=model)
        for name in ("critique", "revision")
    }


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
        raise TypeError("the `revision` section is not there")
    return value
