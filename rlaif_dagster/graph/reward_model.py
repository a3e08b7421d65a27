"""The stage of the reward model."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rlaif_dagster.graph.cards import with_card
from rlaif_dagster.graph.learning import (
    TRAINING_ENGINE,
    Launch,
    read_training,
    train,
    write_training,
)
from rlaif_dagster.graph.preferences import read_preferences
from rlaif_dagster.graph.specs import identity, spec, speed
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
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs
from rlaif_dagster.models import ModelSource, copy_model
from rlaif_dagster.names import AI_PREFERENCES, BASE_POLICY, REWARD_MODEL
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.training.pairs import LN_2
from rlaif_dagster.training.settings import RewardModelSettings
from rlaif_dagster.weights import REWARD_BASE_USE, inspect_model

if TYPE_CHECKING:
    from rlaif_dagster.training.reward_model import RewardModelResult


@spec
class RewardModelSpec:
    """How the reward model is trained; from the base policy if `base` is None."""

    reward_model: RewardModelSettings = identity()
    base: ModelSource | None = identity()
    seed: int = identity()
    launch: Launch | None = identity(optional=True)
    numerics: NumericsSettings = identity(said_by="numerics")
    restart_steps: int = speed()


@with_card
def build_reward_model(inputs: ProjectInputs) -> Stage:
    """Builds the stage of the reward model."""
    base = inputs.reward_model_base
    return Stage(
        identity=Identity(
            name=REWARD_MODEL,
            code_version="5",
            inputs=(AI_PREFERENCES, BASE_POLICY) if base is None else (AI_PREFERENCES,),
            spec=RewardModelSpec(
                reward_model=inputs.pipeline.reward_model,
                base=base,
                seed=inputs.pipeline.seed,
                launch=Launch.from_inputs(inputs),
                numerics=inputs.pipeline.numerics,
                restart_steps=inputs.pipeline.execution.restart_steps,
            ),
            engine=TRAINING_ENGINE,
        ),
        computing=Computing(compute=compute_reward_model),
        governance=Governance(
            checks=(
                Check(
                    name="accuracy_over_chance",
                    description="On held-out prompts the reward model orders pairs better than chance: "
                    "the interval of its accuracy lies above 50 %.",
                    blocking=True,
                    run=_check_accuracy,
                ),
                Check(
                    name="more_than_length",
                    description="The reward model beats chance even if the preferred answer is equally often the "
                    "shorter and the longer one. A reward model that has only learned length does not.",
                    blocking=False,
                    run=_check_length,
                ),
            ),
        ),
        planning=Planning(
            description="Scores an answer. Trained on the soft labels by TRL's RewardTrainer. A folder that "
            "AutoModelForSequenceClassification.from_pretrained opens.",
            kinds=("huggingface", "pytorch"),
            origins={"": f"{PIPELINE_FILE}:", "base": f"{PIPELINE_FILE}: reward_model.base"},
        ),
    )


def compute_reward_model(context: StageContext, spec: RewardModelSpec) -> StageResult:
    """Trains the reward model."""
    from rlaif_dagster.evaluation import plots
    from rlaif_dagster.evaluation.facts import Curve, CurvePoint
    from rlaif_dagster.seeds import derive_seed
    from rlaif_dagster.training.reward_quality import (
        measure_quality,
        measure_reward_accuracy,
        require_decided,
    )

    if spec.base is None:
        base_path = context.inputs[BASE_POLICY]
        base_name = BASE_POLICY
    else:
        base_path = context.scratch / "base"
        copy_model(spec.base, base_path)
        base_name = f"the model {spec.base.name}"
    from_seed = inspect_model(base_path, REWARD_BASE_USE, name=base_name)
    preferences = context.inputs[AI_PREFERENCES]
    held_out = read_preferences(preferences, "eval")
    decided = require_decided(held_out)
    result: RewardModelResult = train(
        "reward model",
        context,
        spec,
        folders={"base_path": base_path},
        tables={"rows": read_preferences(preferences, "train"), "held_out_rows": held_out},
        settings=spec.reward_model,
        seed=derive_seed(spec.seed, REWARD_MODEL),
    )
    metrics = measure_reward_accuracy(decided, result.held_out.margins)
    metrics["train_accuracy"] = result.train.accuracy
    metrics["mean_margin"] = result.held_out.mean_margin
    curve = Curve(
        label="training pairs",
        points=tuple(CurvePoint(step=step.step, value=step.loss) for step in result.steps),
    )
    write_training(
        context.output,
        {
            "steps": [asdict(step) for step in result.steps],
            "margins": list(result.held_out.margins),
            "metrics": metrics,
        },
        {
            "loss": plots.draw_loss_curves([curve], ylabel="loss (nats per pair)", chance=LN_2),
            "margins": plots.draw_margins(result.held_out.margins),
        },
    )
    return StageResult(
        counts={
            "num_train_pairs": result.num_pairs,
            "num_held_out_pairs": result.held_out.num_pairs,
            "num_held_out_near_ties": result.held_out.num_near_ties,
            "num_dropped_too_long": result.num_dropped,
            "num_dropped_empty_answer": result.num_empty,
            "num_cut": result.num_cut,
        },
        metrics={
            **metrics,
            **measure_quality(decided, result.held_out.margins),
            **({"disagreement": result.held_out.disagreement} if spec.reward_model.ensemble > 1 else {}),
        },
        notes={"initialised_from_seed": list(from_seed)},
    )


def _check_accuracy(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    from rlaif_dagster.training.reward_quality import CHANCE

    del inputs
    accuracy = read_training(output)["metrics"]["accuracy"]
    return CheckResult(passed=accuracy["low"] is not None and accuracy["low"] > CHANCE, facts=accuracy)


def _check_length(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    from rlaif_dagster.training.reward_quality import CHANCE, balance_lengths, require_decided

    decided = require_decided(read_preferences(inputs[AI_PREFERENCES], "eval"))
    balanced = balance_lengths(decided, read_training(output)["margins"])
    return CheckResult(
        passed=balanced is not None and balanced.is_above(CHANCE),
        facts={"length_balanced_accuracy": None if balanced is None else asdict(balanced)},
    )
