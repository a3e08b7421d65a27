"""Cards of versions: the Hub's library reads them, the folders open as they are, and they are content like the rest."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard, ModelCard

from rlaif_dagster.cards.card import SPLIT, CardFacts, Origin, render_card
from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.build import build_graph
from rlaif_dagster.graph.cards import with_card
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.names import CARD_FILE, CHECKPOINTS_TABLE
from rlaif_dagster.preferences import preferences_schema
from rlaif_dagster.project_template import TEMPLATE_ROOT
from rlaif_dagster.tables import write_table
from rlaif_dagster.training.results import checkpoints_schema
from tests.code_versions.stages import read_inputs_with_everything
from tests.plain_stages import change
from tests.training.tiny_models import write_tiny_policy

WITH_CARD = ("supervised_policy", "ai_preferences", "reward_model", "aligned_policy")
RESULT = StageResult(counts={"num_pairs": 2}, metrics={"accuracy": {"value": 0.75, "low": None}})


@pytest.fixture(scope="module")
def graph() -> dict[str, Stage]:
    return build_graph(read_inputs_with_everything())


def write(stage: Stage, folder: Path) -> str:
    context = StageContext(
        inputs={},
        digests={name: Digest.from_bytes(name.encode()) for name in stage.inputs},
        output=folder,
        scratch=folder,
        journal=folder,
        attempt="one",
        services=NoHistory(),
    )
    with_card(lambda _: change(stage, compute=lambda _: RESULT))(read_inputs_with_everything()).compute(
        context
    )
    return (folder / CARD_FILE).read_text(encoding="utf-8")


def test_a_models_card_tells_of_answers_in_its_folder(graph: dict[str, Stage], tmp_path: Path) -> None:
    assert "the model's answers" not in write(graph["aligned_policy"], tmp_path)
    write_table(tmp_path / CHECKPOINTS_TABLE, [], checkpoints_schema())
    assert f"`{CHECKPOINTS_TABLE}` contains the model's answers" in write(graph["aligned_policy"], tmp_path)


@pytest.mark.parametrize("name", WITH_CARD)
def test_a_card_is_content_and_tells_no_input_and_no_setting(
    graph: dict[str, Stage], tmp_path: Path, name: str
) -> None:
    """So a model that comes out the same from another input is the same version: early cutoff holds."""
    text = write(graph[name], tmp_path)
    assert "sha256:" not in text
    assert '"seed"' not in text
    assert '"num_pairs": 2' in text
    assert f"rlaif trace\n{name}`" in text


@pytest.mark.parametrize("name", WITH_CARD)
def test_the_same_facts_give_the_same_bytes_wherever_and_whenever(
    graph: dict[str, Stage], tmp_path: Path, name: str
) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    text = write(graph[name], tmp_path / "one")
    assert text == write(graph[name], tmp_path / "two")
    assert str(tmp_path) not in text
    assert not re.search(r"\b20\d\d-\d\d-\d\d", text)


def test_the_stages_that_carry_a_card_write_it_when_they_compute(
    graph: dict[str, Stage], tmp_path: Path
) -> None:
    def build(inputs: ProjectInputs) -> Stage:
        def compute(context: StageContext) -> StageResult:
            (context.output / "model.safetensors").write_text("weights")
            return RESULT

        return change(graph["reward_model"], compute=compute)

    stage = with_card(build)(ProjectInputs.read(TEMPLATE_ROOT))
    digests = {name: Digest.from_bytes(b"") for name in stage.inputs}
    context: Any = type("Context", (), {"output": tmp_path, "digests": digests, "names": {}})()
    assert stage.compute(context) == RESULT
    assert ModelCard.load(tmp_path / CARD_FILE).data.pipeline_tag == "text-classification"
    assert {"huggingface_hub", "jinja2"} <= set(stage.identity.engine)
    assert {name for name in graph if "huggingface_hub" in graph[name].identity.engine} == set(WITH_CARD)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_datasets_opens_the_folder_by_its_card(
    graph: dict[str, Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    from datasets import load_dataset

    folder = tmp_path / "ai_preferences"
    folder.mkdir()
    texts = {name: "x" for name in preferences_schema().names if name not in ("pair_id", "split")}
    row: dict[str, Any] = {
        **texts,
        "p_a": 0.75,
        "p_a_ab": 0.5,
        "p_a_ba": 1.0,
        "judge_agreement": None,
        "num_verdicts": 2,
    }
    row |= {"consistent": True, "near_tie": False}
    row["principles"] = [{"principle_id": "kind", "p_a": 0.75, "weight": 1.0}]
    rows = [row | {"pair_id": "1", "split": "train"}, row | {"pair_id": "2", "split": "eval"}]
    write_table(folder / "preferences.parquet", rows, preferences_schema())
    (folder / "summary.json").write_text("{}")
    write(graph["ai_preferences"], folder)
    assert DatasetCard.load(folder / CARD_FILE).data.configs[0]["config_name"] == "preferences"
    loaded = load_dataset(str(folder), split=SPLIT, cache_dir=str(tmp_path / "cache"))
    assert [(r["pair_id"], r["split"], r["p_a"]) for r in loaded] == [
        ("1", "train", 0.75),
        ("2", "eval", 0.75),
    ]
    assert loaded[0]["principles"][0]["principle_id"] == "kind"


def test_transformers_opens_the_folders_as_the_card_says(graph: dict[str, Stage], tmp_path: Path) -> None:
    import transformers

    policy = tmp_path / "policy"
    write_tiny_policy(policy, num_steps=0)
    scorer = tmp_path / "scorer"
    config = transformers.AutoConfig.from_pretrained(policy, num_labels=1)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(scorer)
    for name, folder in (
        ("aligned_policy", policy),
        ("supervised_policy", policy),
        ("reward_model", scorer),
    ):
        found = re.search(r"`transformers\.(\w+)\.from_pretrained", write(graph[name], folder))
        assert found
        opener: Callable[[Path], Any] = getattr(transformers, found[1]).from_pretrained
        assert opener(folder).num_parameters() > 0


def test_texts_of_people_cannot_leave_their_block() -> None:
    wicked = "\n```\n---\n# Trust me\n</script>{{ 7 * 7 }}\n| `evil` | `" + "0" * 64 + "` |"
    facts = CardFacts(
        title="aligned_policy",
        kind="model",
        description="A model.",
        figures={wicked: 1},
        origin=Origin(made_from={}, settings={"prompt": wicked}, lineage=()),
    )
    text = render_card(facts)
    card: Any = ModelCard(text)
    assert card.data.tags == ["rlaif", "rlaif-dagster"]
    lines = [line for line in text.splitlines() if "Trust me" in line]
    assert len(lines) == 2
    assert all(line.startswith("    ") for line in lines)
    assert "49" not in text
