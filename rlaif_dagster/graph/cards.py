"""Stages whose versions carry a card."""

import functools
from collections.abc import Callable
from dataclasses import replace

from rlaif_dagster.cards.card import CARD_FILE, CardFacts, render_card
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import ProjectInputs

Builder = Callable[[ProjectInputs], Stage]


def with_card(build: Builder) -> Builder:
    """Makes a builder's stage write a card beside its files: a model's where it is one, else a data set's."""

    @functools.wraps(build)
    def build_with_card(inputs: ProjectInputs) -> Stage:
        stage = build(inputs)

        def compute(context: StageContext) -> StageResult:
            result = stage.compute(context)
            write_card(stage, context, result)
            return result

        return replace(
            stage, compute=compute, engine=tuple(dict.fromkeys((*stage.engine, "huggingface_hub", "jinja2")))
        )

    return build_with_card


def write_card(stage: Stage, context: StageContext, result: StageResult) -> None:
    """Writes the card of a stage's output.

    What it was made from, and the settings, are left to the ledger: where another input gives the same model, it stays
    the same version, and nothing behind it is made anew.
    """
    tables = tuple(sorted(path.name for path in context.output.glob("*.parquet")))
    facts = CardFacts(
        title=context.names.get(stage.name, stage.name),
        kind="model" if "huggingface" in stage.kinds else "dataset",
        description=stage.description,
        figures={**result.counts, **result.metrics},
        tables=tables,
    )
    (context.output / CARD_FILE).write_bytes(render_card(facts).encode())
