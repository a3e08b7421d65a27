"""A small project whose judge is planted and whose responses are recorded: no model runs, so it is made in a second."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlaif_dagster.graph.build import with_ancestors
from rlaif_dagster.graph.judging import read_bare_verdicts, write_judgements
from rlaif_dagster.graph.services import NoHistory
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.judging.providers.planted import PlantedJudge, PlantedJudgeSettings
from rlaif_dagster.judging.reading import Preference
from rlaif_dagster.judging.templates import load_template
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reuse import materialise
from rlaif_dagster.progress import ignore_progress
from tests.conftest import edit_yaml
from tests.plain_stages import change

NUM_PROMPTS = 24
PRINCIPLES = [{"id": "kind", "text": "Be kind."}, {"id": "brief", "text": "Be brief."}]


def make_planted(project: Path, *, gates: dict[str, Any] | None = None, **judge: Any) -> None:
    """Turns a new project into one with four recorded answers to each of 24 prompts, and a planted judge."""

    def change(pipeline: dict[str, Any]) -> None:
        pipeline["sampling"] = {"provider": "recorded", "responses": "inputs/responses.jsonl"}
        pipeline["pairing"] = {"max_pairs_per_prompt": None}
        pipeline["evaluation"] = {"ground_truth": None}

    edit_yaml(project / "inputs" / "pipeline.yaml", change)
    prompts = [f"What is {number} and {number}?" for number in range(NUM_PROMPTS)]
    write_lines(project / "inputs" / "prompts.jsonl", [{"prompt": prompt} for prompt in prompts])
    write_lines(
        project / "inputs" / "responses.jsonl",
        [
            {"prompt": prompt, "source": source, "text": f"It is {2 * number}{', yes' * length}."}
            for number, prompt in enumerate(prompts)
            for length, source in enumerate(("curt", "plain", "long", "longer"))
        ],
    )
    (project / "inputs" / "constitution.yaml").write_text(json.dumps({"principles": PRINCIPLES}))
    write_judge(project, gates=gates, **judge)


def write_judge(project: Path, *, gates: dict[str, Any] | None = None, **judge: Any) -> None:
    """Writes a planted judge's settings."""
    value = {"provider": "planted", **judge, **({"gates": gates} if gates is not None else {})}
    (project / "inputs" / "judge.yaml").write_text(json.dumps(value))


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    """Writes a JSONL file."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_judge(**judge: Any) -> PlantedJudge:
    """The planted judge, to ask it what it prefers."""
    settings = PlantedJudgeSettings.model_validate({"provider": "planted", **judge})
    return PlantedJudge(settings, load_template(settings.template))


def run_to(folder: Path, *assets: str) -> dict[str, MaterialisationRecord]:
    """Brings assets and what they are made from up to date; returns the newest records."""
    project = Project.open(folder)
    graph = project.build_graph()
    for name in with_ancestors(graph, assets):
        materialise(project, graph[name], progress=ignore_progress)
    return project.ledger.find_heads()


def turn_judge(canary: Stage, folder: Path) -> Stage:
    """The canary of a judge that changed: it sees judgements of which the judge would say otherwise today."""

    def compute(context: StageContext) -> StageResult:
        seen = folder / "turned"
        seen.mkdir()
        verdicts = read_bare_verdicts(context.inputs["judgements"])
        turned: dict[Preference | None, Preference] = {"first": "second", "second": "first"}
        write_judgements(seen, (replace(verdict, verdict=turned[verdict.verdict]) for verdict in verdicts))
        return canary.compute(replace(context, inputs={**context.inputs, "judgements": seen}))

    return change(canary, compute=compute)


def make_context(folder: Path, asset: str, work: Path) -> StageContext:
    """What the stage of an asset would be given, its inputs as copies that a test may change."""
    project = Project.open(folder)
    heads = project.ledger.find_heads()
    inputs = {name: work / name for name in project.build_graph()[asset].inputs}
    for name, view in inputs.items():
        project.store.view(heads[name].output.md5, view)
    (work / "output").mkdir()
    (work / "scratch").mkdir()
    return StageContext(
        inputs=inputs,
        digests={name: heads[name].recipe_parts.digest for name in inputs},
        output=work / "output",
        scratch=work / "scratch",
        journal=work / "journal" / "journal",
        attempt="test",
        services=NoHistory(),
    )
