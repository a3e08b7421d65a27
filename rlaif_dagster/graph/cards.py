"""Adds a card to the versions of a stage."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from rlaif_dagster.cards.card import CardFacts, render_card
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import ProjectInputs
from rlaif_dagster.names import CARD_FILE

Builder = Callable[[ProjectInputs], Stage]


def with_card(build: Builder) -> Builder:
    """Makes a builder's stage write a card beside its files: a model card for a model, else a data set card."""

    @functools.wraps(build)
    def build_with_card(inputs: ProjectInputs) -> Stage:
        stage = build(inputs)
        compute = functools.partial(
            _compute_with_card,
            stage.computing.compute,
            asset=stage.name,
            kind="model" if "huggingface" in stage.planning.kinds else "dataset",
            description=stage.planning.description,
        )
        engine = tuple(dict.fromkeys((*stage.identity.engine, "huggingface_hub", "jinja2")))
        return replace(
            stage,
            identity=replace(stage.identity, engine=engine),
            computing=replace(stage.computing, compute=compute),
        )

    return build_with_card


def _compute_with_card(
    compute: Callable[[StageContext, Any], StageResult],
    context: StageContext,
    spec: Any,
    *,
    asset: str,
    kind: Literal["model", "dataset"],
    description: str,
) -> StageResult:
    """Computes a stage and writes the card of its output.

    The card does not name inputs and settings; the ledger does. So if another input gives the same model, the version
    stays the same, and nothing downstream is made again.
    """
    result = compute(context, spec)
    tables = tuple(sorted(path.name for path in context.output.glob("*.parquet")))
    facts = CardFacts(
        title=context.names.get(asset, asset),
        kind=kind,
        description=description,
        figures={**result.counts, **result.metrics},
        tables=tables,
    )
    (context.output / CARD_FILE).write_bytes(render_card(facts).encode())
    return result
