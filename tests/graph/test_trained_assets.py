"""Every asset that is trained, by each method and in bfloat16: curves while it grows, plots, a card, sound weights."""

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.aligned_policy import build_aligned_policy
from rlaif_dagster.graph.learning import read_training
from rlaif_dagster.graph.revision import build_supervised_policy
from rlaif_dagster.graph.reward_model import build_reward_model
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.lineage.curves import showing_curves
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.names import CARD_FILE, PREFERENCES_TABLE, REVISIONS_TABLE
from rlaif_dagster.revising.settings import SupervisedSettings
from rlaif_dagster.training.methods.best_of_n import BestOfNSettings
from rlaif_dagster.training.methods.dpo import DpoSettings
from rlaif_dagster.training.methods.online import OnlineSettings
from rlaif_dagster.training.settings import RewardModelSettings
from rlaif_dagster.versioning.store import init_store
from tests.code_versions.stages import read_inputs_with_everything
from tests.training.preferences import shorter_is_better
from tests.training.tiny_models import PROMPTS, answer, write_tiny_policy

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
TRAINED: dict[str, Any] = {"max_steps": 2, "batch_size": 8, "dtype": "bfloat16", "learning_rate": 1e-3}
POLICY: dict[str, Any] = {**TRAINED, "checkpoint_prompts": 4, "max_new_tokens": 12, "max_length": 64}
METHODS: dict[str, Any] = {
    "dpo": DpoSettings(reward_filter=None, **POLICY),
    "rloo": OnlineSettings(method="rloo", **POLICY),
    "grpo": OnlineSettings(method="grpo", **POLICY),
    "best_of_n": BestOfNSettings(method="best_of_n", n=2, **POLICY),
}


def make_stage(case: str) -> Stage:
    """The stage of `reward_model`, of `supervised_policy`, or of `aligned_policy` by a method."""
    inputs = read_inputs_with_everything()
    revision = inputs.pipeline.revision
    assert revision is not None
    changed: dict[str, Any] = {
        "reward_model": RewardModelSettings(**TRAINED),
        "revision": revision.model_copy(update={"training": SupervisedSettings(**TRAINED)}),
        "policy": METHODS.get(case, METHODS["dpo"]),
    }
    inputs = replace(inputs, pipeline=inputs.pipeline.model_copy(update=changed))
    builders = {"reward_model": build_reward_model, "supervised_policy": build_supervised_policy}
    return builders.get(case, build_aligned_policy)(inputs)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a version of each asset that the stages read, a reward model among them."""
    folder = tmp_path_factory.mktemp("made")
    write_tiny_policy(folder / "base_policy")
    (folder / "supervised_policy").symlink_to("base_policy")
    rows = [{**row, "chosen": row["text_a"], "rejected": row["text_b"]} for row in shorter_is_better()]
    revised = [
        {"prompt_id": prompt, "prompt": prompt, "round": 1, "revised": answer(prompt.split()[-1], 1)}
        for prompt in PROMPTS
    ]
    for asset, name, table in (
        ("ai_preferences", PREFERENCES_TABLE, rows),
        ("revised_responses", REVISIONS_TABLE, revised),
    ):
        (folder / asset).mkdir()
        pyarrow.parquet.write_table(pa.Table.from_pylist(table), folder / asset / name)
    compute(make_stage("reward_model"), folder, folder / "reward_model")
    return folder


def compute(stage: Stage, made: Path, output: Path) -> StageResult:
    output.mkdir()
    return stage.compute(
        StageContext(
            inputs={name: made / name for name in stage.inputs},
            digests={name: Digest.from_bytes(name.encode()) for name in stage.inputs},
            output=output,
            scratch=output.with_name("scratch"),
            journal=output.with_name("journal"),
            attempt="one",
            services=NoHistory(),
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", ["reward_model", "supervised_policy", *METHODS])
def test_whatever_is_trained_can_be_watched_and_read_about(case: str, made: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    init_store(tmp_path / "project")
    project = Project.open(tmp_path / "project")
    stage, output = make_stage(case), tmp_path / "output"
    with showing_curves(project, stage.name, WHEN):
        compute(stage, made, output)
    [file] = project.scratch.rglob("events.out.tfevents.*")
    assert file.parent.parent == project.scratch / "tensorboard" / stage.name
    events = EventAccumulator(str(file.parent))
    events.Reload()
    said = read_training(output)
    losses = said["losses"] if "losses" in said else [step["loss"] for step in said["steps"]]
    shown = [scalar.value for scalar in events.Scalars("train/loss")]
    assert shown == pytest.approx(losses, rel=1e-6, abs=1e-7)
    assert len(shown) == 2
    assert {"train/learning_rate", "train/grad_norm"} <= set(events.Tags()["scalars"])
    assert (output / "plots" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert ModelCard.load(output / CARD_FILE).data.library_name == "transformers"
    weights = load_file(output / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert "bfloat16" in str(stage.identity.settings)


@pytest.mark.slow
def test_what_a_reward_model_has_from_its_seed_is_said_in_the_record_alone(
    made: Path, tmp_path: Path
) -> None:
    """The card is content: with what else the record says in it, versions made before would be others."""
    result = compute(make_stage("reward_model"), made, tmp_path / "output")
    assert result.notes == {"initialised_from_seed": ["score.weight"]}
    assert "initialised_from_seed" not in (tmp_path / "output" / CARD_FILE).read_text()
    (tmp_path / "again").mkdir()
    for asset in ("base_policy", "ai_preferences"):
        (tmp_path / "again" / asset).symlink_to(made / ("reward_model" if asset == "base_policy" else asset))
    result = compute(make_stage("reward_model"), tmp_path / "again", tmp_path / "from_its_like")
    assert result.notes == {"initialised_from_seed": []}
