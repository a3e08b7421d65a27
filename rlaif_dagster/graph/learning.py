"""Stages that learn from the feedback: the reward model and the aligned policy."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.digest import Digest, JsonValue, canonical_json
from rlaif_dagster.graph.cards import with_card
from rlaif_dagster.graph.checks import check_schema
from rlaif_dagster.graph.preferences import read_preferences
from rlaif_dagster.graph.responses import MODEL_ENGINE
from rlaif_dagster.graph.rounds import REFERENCE_POLICY
from rlaif_dagster.graph.specs import derive_settings, forget, identity, spec, speed
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
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs, RecordedFile
from rlaif_dagster.models import ModelSource, copy_model
from rlaif_dagster.numerics import NumericsSettings
from rlaif_dagster.tables import StoredRows, write_table
from rlaif_dagster.training.restarts import Restart
from rlaif_dagster.training.results import CHECKPOINTS_TABLE, checkpoints_schema, tabulate_checkpoints
from rlaif_dagster.training.settings import OptimizerSettings, PolicySettings, RewardModelSettings
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Several processes that train together, by accelerate's config file where there is one."""

    num_processes: int
    config: RecordedFile | None

    @classmethod
    def from_inputs(cls, inputs: ProjectInputs) -> "Launch | None":
        """How a project's trainings are launched; None for one process."""
        num_processes = inputs.pipeline.launch.num_processes
        return None if num_processes == 1 else cls(num_processes=num_processes, config=inputs.launch_config)

    def describe(self) -> JsonValue:
        """What a recipe says of it."""
        return {
            "num_processes": self.num_processes,
            "config": str(self.config.digest) if self.config else None,
        }


@spec
class RewardModelSpec:
    """How the reward model is trained; from the base policy where `base` is None."""

    reward_model: RewardModelSettings = identity()
    base: ModelSource | None = identity()
    seed: int = identity()
    launch: Launch | None = identity(optional=True)
    numerics: NumericsSettings = identity(said_by="numerics")
    restart_steps: int = speed()


@with_card
def build_reward_model(inputs: ProjectInputs) -> Stage:
    """The stage of the reward model."""
    base = inputs.reward_model_base
    return Stage(
        identity=Identity(
            name="reward_model",
            code_version="4",
            inputs=("ai_preferences", "base_policy") if base is None else ("ai_preferences",),
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
                    description="It beats chance even if the preferred answer were as often the shorter as the longer "
                    "one; a reward model that has only learned length does not.",
                    blocking=False,
                    run=_check_length,
                ),
            ),
        ),
        planning=Planning(
            description="Scores an answer; trained on the soft labels by TRL's RewardTrainer. A folder that "
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
        measure_accuracy,
        measure_quality,
        require_decided,
    )

    if spec.base is None:
        base_path = context.inputs["base_policy"]
        base_name = "base_policy"
    else:
        base_path = context.scratch / "base"
        copy_model(spec.base, base_path)
        base_name = f"the model {spec.base.name}"
    from_seed = inspect_model(base_path, REWARD_BASE, name=base_name)
    preferences = context.inputs["ai_preferences"]
    held_out = read_preferences(preferences, "eval")
    decided = require_decided(held_out)
    result: RewardModelResult = train(
        "reward model",
        context,
        spec,
        folders={"base_path": base_path},
        tables={"rows": read_preferences(preferences, "train"), "held_out_rows": held_out},
        settings=spec.reward_model,
        seed=derive_seed(spec.seed, "reward_model"),
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
            **({"disagreement": result.held_out.disagreement} if spec.reward_model.ensemble > 1 else {}),
        },
        notes={"initialised_from_seed": list(from_seed)},
    )


@spec
class AlignedPolicySpec:
    """How the policy is trained, and from which policy.

    Another reference policy is another input; `reference` says so, where a later round reads it.
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
    """The stage of the aligned policy."""
    settings = inputs.pipeline.policy
    return Stage(
        identity=Identity(
            name="aligned_policy",
            code_version="6",
            inputs=("ai_preferences", inputs.first_policy, "reward_model"),
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
            description=f"The base policy, aligned by {METHODS[settings.method]} The reward model picks the "
            "checkpoint.",
            kinds=("huggingface", "pytorch"),
        ),
    )


def compute_aligned_policy(context: StageContext, spec: AlignedPolicySpec) -> StageResult:
    """Trains the policy."""
    from rlaif_dagster.evaluation import plots
    from rlaif_dagster.evaluation.facts import CheckpointPoint, Curve, CurvePoint
    from rlaif_dagster.seeds import derive_seed

    settings = spec.policy
    rows = read_preferences(context.inputs["ai_preferences"], "train")
    folders = {
        "base_policy_path": context.inputs[spec.first_policy],
        "reward_model_path": context.inputs["reward_model"],
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
        seed=derive_seed(spec.seed, "aligned_policy"),
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
    label, chance = LOSS_LABELS[getattr(settings, "loss", settings.method)]
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


def train(
    what: str,
    context: StageContext,
    spec: RewardModelSpec | AlignedPolicySpec,
    *,
    folders: Mapping[str, Path],
    tables: Mapping[str, StoredRows],
    settings: OptimizerSettings,
    seed: int,
) -> Any:
    """Trains a reward model or a policy in as many processes as are asked for; see `training.launch.TRAININGS`."""
    from rlaif_dagster.numerics import prepare_torch
    from rlaif_dagster.training.launch import TRAININGS, train_in_processes

    numerics, launch = spec.numerics, spec.launch
    device = prepare_torch(num_threads=numerics.num_threads, device=numerics.device)
    folders = {**folders, "output": context.output, "scratch": context.scratch}
    restart = plan_restart(context, spec, every_steps=spec.restart_steps)
    if launch is None:
        function, _, _ = TRAININGS[what]
        return function(
            **folders,
            **tables,
            settings=settings,
            seed=seed,
            device=device,
            restart=restart,
            progress=context.services.progress,
        )
    if launch.config is not None:
        launch.config.require_unchanged()
    return train_in_processes(
        what,
        settings,
        num_processes=launch.num_processes,
        config_file=launch.config.path if launch.config else None,
        folders=folders,
        tables=tables,
        seed=seed,
        device=device,
        num_threads=numerics.num_threads,
        restart=restart,
        progress=context.services.progress,
    )


def plan_restart(context: StageContext, spec: Any, *, every_steps: int) -> Restart:
    """Where this very training leaves its restart points: by what it reads and by its settings."""
    digests: JsonValue = {name: str(digest) for name, digest in context.digests.items()}
    return Restart(
        folder=context.journal / Digest.from_json([digests, derive_settings(spec)]).short,
        every_steps=every_steps,
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
