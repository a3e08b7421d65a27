"""The reference tables say what the schemas say, and no schema of the files is left out."""

import pytest
from pydantic import BaseModel

from rlaif_dagster.generation.samplers.recorded import RecordedResponseLine
from rlaif_dagster.inputs.overrides import OverridesFile
from rlaif_dagster.inputs.pipeline import PipelineSettings
from rlaif_dagster.inputs.project_inputs import JudgeFile
from rlaif_dagster.inputs.release import ReleaseFile
from rlaif_dagster.judging.constitution import ConstitutionSettings
from rlaif_dagster.judging.human import HumanLine
from rlaif_dagster.judging.recorded import RecordedLine
from rlaif_dagster.judging.templates import _TemplateFile
from rlaif_dagster.lineage.collecting.notes import PruneNote
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.prompts import PromptLine
from tests.docs.pages import PAGES, Table, find_source, read_references
from tests.docs.reference import MEANING, expect_rows, reach_models

REFERENCES = [(page, table) for page in PAGES for table in read_references(page)]


@pytest.mark.parametrize(
    ("page", "table"), REFERENCES, ids=[f"{page}-{table.source}" for page, table in REFERENCES]
)
def test_a_reference_table_is_its_schema(page: str, table: Table) -> None:
    told = [{column: text for column, text in row.items() if column != MEANING} for row in table.rows]
    assert told == expect_rows(find_source(table.source), table.columns)
    assert all(table.cells(MEANING))


@pytest.mark.parametrize(
    ("page", "models"),
    [
        (
            "inputs.md",
            [
                ConstitutionSettings,
                JudgeFile,
                OverridesFile,
                PipelineSettings,
                PromptLine,
                ReleaseFile,
                _TemplateFile,
            ],
        ),
        (
            "formats.md",
            [PruneNote, HumanLine, MaterialisationRecord, RecordedResponseLine, RecordedLine],
        ),
    ],
)
def test_every_schema_of_the_files_has_a_table(page: str, models: list[type[BaseModel]]) -> None:
    reached = {f"{part.__module__}.{part.__name__}" for model in models for part in reach_models(model)}
    assert reached <= {table.source for table in read_references(page)}


def test_every_table_on_disk_has_a_reference() -> None:
    """Each file of rows is described, column by column."""
    described = {table.source for table in read_references("formats.md") if "column" in table.columns}
    assert described == {
        "rlaif_dagster.prompts.prompts_schema",
        "rlaif_dagster.generation.responses.responses_schema",
        "rlaif_dagster.generation.responses.failed_responses_schema",
        "rlaif_dagster.judging.verdicts.judgements_schema",
        "rlaif_dagster.preferences.preferences_schema",
        "rlaif_dagster.evaluation.evaluate.COMPARISONS_SCHEMA",
        "rlaif_dagster.training.results.checkpoints_schema",
    }
