"""The stage of the aligned policy."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.graph.cards import with_card
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.learning import (
    TRAINING_ENGINE,
    Launch,
    train,
    write_training,
)
from rlaif_dagster.graph.preferences import read_preferences
from rlaif_dagster.graph.rounds import REFERENCE_POLICY
from rlaif_dagster.graph.specs import forget, identity, spec, speed
from rlaif_dagster.graph.stage import (
    Computing,
    Governance,
    Identity,
    Planning,
    Stage,
    StageContext,
    StageResult,
)
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.names import AI_PREFERENCES, ALIGNED_POLICY, CHECKPOINTS_TABLE, REWARD_MODEL
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.tables import write_table
from rlaif_dagster.training.methods import PolicySettings, find_method
from rlaif_dagster.training.results import checkpoints_schema, tabulate_checkpoints

if TYPE_CHECKING:
    from rlaif_dagster.training.results import PolicyResult


@spec
class AlignedPolicySpec:
    """How the policy is trained, and from which policy.

    `reference` names the reference policy of a later round, which is an input of the stage.
    """

    policy: PolicySettings = identity(without=("reference",))
    seed: int = identity()
    launch: Launch | None = identity(optional=True)
    reference: str | None = identity(optional=True)
    first_policy: str = identity(said_by="inputs")
    numerics: NumericsSettings = identity(said_by="numerics")
    restart_steps: int = speed()


@with_card
def build_aligned_policy(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the aligned policy."""
    settings = inputs.pipeline.policy
    return Stage(
        identity=Identity(
            name=ALIGNED_POLICY,
            code_version="7",
            inputs=(AI_PREFERENCES, inputs.first_policy, REWARD_MODEL),
            spec=AlignedPolicySpec(
                policy=forget(settings, ("reference",)),
                seed=inputs.pipeline.seed,
                launch=Launch.from_inputs(inputs),
                reference=None,
                first_policy=inputs.first_policy,
                numerics=inputs.pipeline.numerics,
                restart_steps=inputs.pipeline.execution.restart_steps,
            ),
            engine=TRAINING_ENGINE,
        ),
        computing=Computing(compute=compute_aligned_policy),
        governance=Governance(
            checks=(check_schema(CHECKPOINTS_TABLE, checkpoints_schema, key=("step", "prompt_id", "index")),)
        ),
        planning=Planning(
            description=f"The base policy, aligned by {find_method(settings).word(settings).trainer} "
            "The reward model picks the checkpoint.",
            kinds=("huggingface", "pytorch"),
        ),
    )


def compute_aligned_policy(context: StageContext, spec: AlignedPolicySpec) -> StageResult:
    """Trains the policy."""
    from rlaif_dagster.evaluation import plots
    from rlaif_dagster.evaluation.facts import CheckpointPoint, Curve, CurvePoint
    from rlaif_dagster.seeds import derive_seed

    settings = spec.policy
    rows = read_preferences(context.inputs[AI_PREFERENCES], "train")
    folders = {
        "base_policy_path": context.inputs[spec.first_policy],
        "reward_model_path": context.inputs[REWARD_MODEL],
    }
    if REFERENCE_POLICY in context.inputs:
        folders["reference_policy_path"] = context.inputs[REFERENCE_POLICY]
    result: PolicyResult = train(
        "policy",
        context,
        spec,
        folders=folders,
        tables={"rows": rows},
        settings=settings,
        seed=derive_seed(spec.seed, ALIGNED_POLICY),
    )
    write_table(
        context.output / CHECKPOINTS_TABLE,
        tabulate_checkpoints(result.checkpoints, {row["prompt"]: row["prompt_id"] for row in rows}),
        checkpoints_schema(),
    )
    wording = find_method(settings).word(settings)
    curve = Curve(
        label=wording.learned_from,
        points=tuple(CurvePoint(step=int(step["step"]), value=step["loss"]) for step in result.steps),
    )
    checkpoints = [
        CheckpointPoint(
            step=checkpoint.step,
            mean_reward=checkpoint.mean_reward,
            kl=checkpoint.kl_k3,
            selected=checkpoint.step == result.chosen_step,
        )
        for checkpoint in result.checkpoints
    ]
    metrics: dict[str, JsonValue] = {"chosen_step": result.chosen_step, **result.metrics}
    if result.stopped:
        metrics["stopped"] = result.stopped
    write_training(
        context.output,
        {
            "steps": [dict(step) for step in result.steps],
            "checkpoints": [asdict(checkpoint) for checkpoint in checkpoints],
            **({"stopped": result.stopped} if result.stopped else {}),
        },
        {
            "loss": plots.draw_loss_curves([curve], ylabel=wording.loss, chance=wording.chance),
            "checkpoints": plots.draw_checkpoints(checkpoints),
        },
    )
    return StageResult(counts=result.counts, metrics=metrics)
