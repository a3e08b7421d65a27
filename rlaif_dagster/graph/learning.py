"""Stages that learn from the feedback: the reward model and the aligned policy."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.digest import Digest, JsonValue, canonical_json
from rlaif_dagster.graph.cards import with_card
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.preferences import read_preferences
from rlaif_dagster.graph.responses import MODEL_ENGINE
from rlaif_dagster.graph.rounds import REFERENCE_POLICY
from rlaif_dagster.graph.stage import Check, CheckResult, Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs
from rlaif_dagster.models import copy_model
from rlaif_dagster.tables import StoredRows, write_table
from rlaif_dagster.training.restarts import Restart
from rlaif_dagster.training.results import CHECKPOINTS_TABLE, checkpoints_schema, tabulate_checkpoints
from rlaif_dagster.training.settings import OptimizerSettings
from rlaif_dagster.weights import REWARD_BASE, inspect_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rlaif_dagster.training.results import PolicyResult
    from rlaif_dagster.training.reward_model import RewardModelResult

TRAINING_JSON: Final = "training.json"
"""What training looked like: beside a model's files, for the report and the plots."""
TRAINING_ENGINE: Final = (*MODEL_ENGINE, "trl", "peft", "accelerate", "datasets", "matplotlib")
CHANCE: Final = 0.5
LN_2: Final = 0.6931471805599453
"""Loss of a model that knows nothing, in nats per pair."""

METHODS: Final = {
    "dpo": "TRL's DPOTrainer with a soft target for each pair; pairs that the reward model confidently contradicts "
    "are dropped.",
    "rloo": "TRL's RLOOTrainer on its own answers, scored by the reward model.",
    "grpo": "TRL's GRPOTrainer on its own answers, scored by the reward model.",
    "best_of_n": "TRL's SFTTrainer on the best of n answers by the reward model.",
}
"""What each method of aligning a policy is."""

LOSS_LABELS: Final = {
    "sigmoid": ("DPO loss (nats per pair)", LN_2),
    "robust": ("robust DPO loss (nats per pair)", LN_2),
    "ipo": ("IPO loss per pair", None),
    "rloo": ("RLOO loss per answer", None),
    "grpo": ("GRPO loss per token", None),
    "best_of_n": ("loss (nats per token)", None),
}
"""How each loss is labelled in a plot, and what a model that knows nothing has."""


@with_card
def build_reward_model(inputs: ProjectInputs) -> Stage:
    """The stage of the reward model."""
    settings = inputs.pipeline.reward_model
    numerics = inputs.pipeline.numerics
    seed = inputs.pipeline.seed
    base = inputs.reward_model_base
    recipe: JsonValue = {
        "reward_model": settings.model_dump(mode="json"),
        "base": base.describe() if base else None,
        "seed": seed,
        **describe_launch(inputs),
    }

    def compute(context: StageContext) -> StageResult:
        from rlaif_dagster.evaluation import plots
        from rlaif_dagster.evaluation.facts import Curve, CurvePoint
        from rlaif_dagster.seeds import derive_seed
        from rlaif_dagster.training.reward_quality import (
            measure_accuracy,
            measure_quality,
            require_decided,
        )

        if base is None:
            base_path = context.inputs["base_policy"]
            base_name = "base_policy"
        else:
            base_path = context.scratch / "base"
            copy_model(base, base_path)
            base_name = f"the model {base.name}"
        from_seed = inspect_model(base_path, REWARD_BASE, name=base_name)
        preferences = context.inputs["ai_preferences"]
        held_out = read_preferences(preferences, "eval")
        decided = require_decided(held_out)
        result: RewardModelResult = train(
            "reward model",
            context,
            inputs,
            recipe=recipe,
            folders={"base_path": base_path},
            tables={"rows": read_preferences(preferences, "train"), "held_out_rows": held_out},
            settings=settings,
            seed=derive_seed(seed, "reward_model"),
        )
        metrics = measure_accuracy(decided, result.held_out.margins)
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
                **({"disagreement": result.held_out.disagreement} if settings.ensemble > 1 else {}),
            },
            notes={"initialised_from_seed": list(from_seed)},
        )

    return Stage(
        name="reward_model",
        description="Scores an answer; trained on the soft labels by TRL's RewardTrainer. A folder that "
        "AutoModelForSequenceClassification.from_pretrained opens.",
        kinds=("huggingface", "pytorch"),
        code_version="4",
        inputs=("ai_preferences", "base_policy") if base is None else ("ai_preferences",),
        settings=recipe,
        engine=TRAINING_ENGINE,
        numerics=numerics,
        compute=compute,
        origins={"": f"{PIPELINE_FILE}:", "base": f"{PIPELINE_FILE}: reward_model.base"},
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
                description="It beats chance even if the preferred answer were as often the shorter as the longer one; "
                "a reward model that has only learned length does not.",
                blocking=False,
                run=_check_length,
            ),
        ),
    )


@with_card
def build_aligned_policy(inputs: ProjectInputs) -> Stage:
    """The stage of the aligned policy."""
    settings = inputs.pipeline.policy
    numerics = inputs.pipeline.numerics
    seed = inputs.pipeline.seed
    recipe: JsonValue = {
        # Another reference policy is another input.
        "policy": settings.model_dump(mode="json", exclude={"reference"}),
        "seed": seed,
        **describe_launch(inputs),
    }
    label, chance = LOSS_LABELS[getattr(settings, "loss", settings.method)]

    def compute(context: StageContext) -> StageResult:
        from rlaif_dagster.evaluation import plots
        from rlaif_dagster.evaluation.facts import CheckpointPoint, Curve, CurvePoint
        from rlaif_dagster.seeds import derive_seed

        rows = read_preferences(context.inputs["ai_preferences"], "train")
        folders = {
            "base_policy_path": context.inputs[inputs.first_policy],
            "reward_model_path": context.inputs["reward_model"],
        }
        if REFERENCE_POLICY in context.inputs:
            folders["reference_policy_path"] = context.inputs[REFERENCE_POLICY]
        result: PolicyResult = train(
            "policy",
            context,
            inputs,
            recipe=recipe,
            folders=folders,
            tables={"rows": rows},
            settings=settings,
            seed=derive_seed(seed, "aligned_policy"),
        )
        write_table(
            context.output / CHECKPOINTS_TABLE,
            tabulate_checkpoints(result.checkpoints, {row["prompt"]: row["prompt_id"] for row in rows}),
            checkpoints_schema(),
        )
        curve = Curve(
            label="training pairs" if settings.method == "dpo" else "training answers",
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
                "loss": plots.draw_loss_curves([curve], ylabel=label, chance=chance),
                "checkpoints": plots.draw_checkpoints(checkpoints),
            },
        )
        return StageResult(counts=result.counts, metrics=metrics)

    return Stage(
        name="aligned_policy",
        description=f"The base policy, aligned by {METHODS[settings.method]} The reward model picks the checkpoint.",
        kinds=("huggingface", "pytorch"),
        code_version="6",
        inputs=("ai_preferences", inputs.first_policy, "reward_model"),
        settings=recipe,
        engine=TRAINING_ENGINE,
        numerics=numerics,
        compute=compute,
        checks=(check_schema(CHECKPOINTS_TABLE, checkpoints_schema, key=("step", "prompt_id", "index")),),
    )


def describe_launch(inputs: ProjectInputs) -> dict[str, JsonValue]:
    """What a recipe says of several processes, where there are several."""
    num_processes, config = inputs.pipeline.launch.num_processes, inputs.launch_config
    if num_processes == 1:
        return {}
    return {"launch": {"num_processes": num_processes, "config": str(config.digest) if config else None}}


def train(
    what: str,
    context: StageContext,
    inputs: ProjectInputs,
    *,
    recipe: JsonValue,
    folders: Mapping[str, Path],
    tables: Mapping[str, StoredRows],
    settings: OptimizerSettings,
    seed: int,
) -> Any:
    """Trains a reward model or a policy in as many processes as are asked for; see `training.launch.TRAININGS`."""
    from rlaif_dagster.numerics import prepare_torch
    from rlaif_dagster.training.launch import TRAININGS, train_in_processes

    numerics, launch = inputs.pipeline.numerics, inputs.pipeline.launch
    device = prepare_torch(num_threads=numerics.num_threads, device=numerics.device)
    folders = {**folders, "output": context.output, "scratch": context.scratch}
    restart = plan_restart(context, recipe, inputs)
    if launch.num_processes == 1:
        function, _, _ = TRAININGS[what]
        return function(
            **folders,
            **tables,
            settings=settings,
            seed=seed,
            device=device,
            restart=restart,
            progress=context.progress,
        )
    if inputs.launch_config is not None:
        inputs.launch_config.require_unchanged()
    return train_in_processes(
        what,
        settings,
        num_processes=launch.num_processes,
        config_file=inputs.launch_config.path if inputs.launch_config else None,
        folders=folders,
        tables=tables,
        seed=seed,
        device=device,
        num_threads=numerics.num_threads,
        restart=restart,
        progress=context.progress,
    )


def plan_restart(context: StageContext, recipe: JsonValue, inputs: ProjectInputs) -> Restart:
    """Where this very training leaves its restart points: by what it reads and by its settings."""
    digests: JsonValue = {name: str(digest) for name, digest in context.digests.items()}
    return Restart(
        folder=context.journal / Digest.from_json([digests, recipe]).short,
        every_steps=inputs.pipeline.execution.restart_steps,
    )


def write_training(folder: Path, values: Mapping[str, Any], figures: "Mapping[str, Figure]") -> None:
    """Writes what training looked like beside a model's files."""
    (folder / TRAINING_JSON).write_bytes(canonical_json(values))
    write_plots(folder, figures)


def write_plots(folder: Path, figures: "Mapping[str, Figure]") -> None:
    """Writes figures as PNG into `plots/`, where the Dagster UI finds them."""
    from rlaif_dagster.drawing import to_png

    (folder / "plots").mkdir()
    for name, figure in figures.items():
        (folder / "plots" / f"{name}.png").write_bytes(to_png(figure))


def read_training(folder: Path) -> dict[str, Any]:
    """Reads what training looked like from a version of a model."""
    training: dict[str, Any] = json.loads((folder / TRAINING_JSON).read_bytes())
    return training


def _check_accuracy(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    del inputs
    accuracy = read_training(output)["metrics"]["accuracy"]
    return CheckResult(passed=accuracy["low"] is not None and accuracy["low"] > CHANCE, facts=accuracy)


def _check_length(output: Path, inputs: Mapping[str, Path]) -> CheckResult:
    from rlaif_dagster.training.reward_quality import balance_lengths, require_decided

    decided = require_decided(read_preferences(inputs["ai_preferences"], "eval"))
    balanced = balance_lengths(decided, read_training(output)["margins"])
    return CheckResult(
        passed=balanced is not None and balanced.is_above(CHANCE),
        facts={"length_balanced_accuracy": None if balanced is None else asdict(balanced)},
    )
