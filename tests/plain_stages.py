"""Stages with nothing to them but what a test gives them; used by benchmarks as well."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.graph.specs import identity, spec
from rlaif_dagster.graph.stage import Computing, Identity, Stage, StageContext, StageResult
from rlaif_dagster.numerics import NumericsSettings

PARTS = ("identity", "computing", "governance", "planning")


@spec
class PlainSpec:
    """Settings as they are, and how numbers are computed."""

    settings: Any = identity(whole=True)
    numerics: NumericsSettings | None = identity(said_by="numerics")


def make_plain_stage(
    name: str,
    compute: Callable[[StageContext], StageResult],
    *,
    inputs: Iterable[str] = (),
    settings: JsonValue = None,
    **more: Any,
) -> Stage:
    """Makes a stage without description, libraries or checks, unless they are given.

    Args:
        name: The asset.
        compute: What writes its output.
        inputs: The assets that it reads.
        settings: What shapes the output.
        **more: Other fields; see `change`.
    """
    stage = Stage(
        identity=Identity(
            name=name,
            code_version="1",
            inputs=tuple(inputs),
            spec=PlainSpec(settings=settings, numerics=None),
        ),
        computing=Computing(compute=functools.partial(compute_plainly, compute)),
    )
    return change(stage, **more)


def change(stage: Stage, **values: Any) -> Stage:
    """A stage with other values.

    Args:
        stage: The stage.
        **values: Fields of any of its parts; a `compute` of the context alone; `settings` and `numerics` in the
            place of a spec.
    """
    if "compute" in values:
        values["compute"] = functools.partial(compute_plainly, values["compute"])
    if values.keys() & {"settings", "numerics"}:
        settings = values.pop("settings", stage.identity.settings)
        values["spec"] = PlainSpec(settings=settings, numerics=values.pop("numerics", None))
    for name in PARTS:
        part = getattr(stage, name)
        own = {known.name: values.pop(known.name) for known in fields(part) if known.name in values}
        stage = replace(stage, **{name: replace(part, **own)})
    assert not values, f"a stage has no {', '.join(values)}"
    return stage


def compute_plainly(
    compute: Callable[[StageContext], StageResult], context: StageContext, spec: object
) -> StageResult:
    """Computes by the context alone."""
    return compute(context)
