"""Stages whose versions carry a card."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from rlaif_dagster.cards.card import CARD_FILE, CardFacts, render_card
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import ProjectInputs

Builder = Callable[[ProjectInputs], Stage]


def with_card(build: Builder) -> Builder:
    """Makes a builder's stage write a card beside its files: a model's where it is one, else a data set's."""

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

    What it was made from, and the settings, are left to the ledger: where another input gives the same model, it stays
    the same version, and nothing behind it is made anew.
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
