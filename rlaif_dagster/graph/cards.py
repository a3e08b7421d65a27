"""Stages whose versions carry a card."""

import functools
from collections.abc import Callable
from dataclasses import replace

from rlaif_dagster.cards.card import CARD_FILE, CardFacts, render_card
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import ProjectInputs

Builder = Callable[[ProjectInputs], Stage]


def with_card(build: Builder) -> Builder:
    """Makes a builder's stage write a card beside its files: a data set's where there are tables, else a model's."""

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
    """Writes the card of a stage's output."""
    tables = tuple(sorted(path.name for path in context.output.glob("*.parquet")))
    facts = CardFacts(
        title=context.names.get(stage.name, stage.name),
        kind="dataset" if tables else "model",
        description=stage.description,
        made_from={
            context.names.get(name, name): str(digest) for name, digest in sorted(context.digests.items())
        },
        settings=stage.settings,
        figures={**result.counts, **result.metrics},
        tables=tables,
    )
    (context.output / CARD_FILE).write_bytes(render_card(facts).encode())
