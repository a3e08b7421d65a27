"""A stage with nothing to it but what it computes; used by benchmarks as well."""

from collections.abc import Callable, Iterable
from typing import Any

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult


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
        **more: Other fields of `Stage`.
    """
    plain: dict[str, Any] = {"description": "", "kinds": (), "code_version": "1", "engine": ()}
    fields = {"inputs": tuple(inputs), "settings": settings, "compute": compute}
    return Stage(name=name, **{**plain, **fields, **more})
