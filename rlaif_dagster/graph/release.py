"""The stage that releases a policy: a pointer to it, and the record of why."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.digest import Digest, canonical_json
from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.evaluation import INPUTS_JSON, make_evaluation_checks
from rlaif_dagster.graph.stage import Stage, StageContext, StageResult
from rlaif_dagster.inputs.project_inputs import PIPELINE_FILE, ProjectInputs
from rlaif_dagster.inputs.release import RELEASE_FILE

RELEASED_POLICY: Final = "released_policy"
RELEASE_JSON: Final = "release.json"
EVALUATION: Final = "evaluation"
POLICY: Final = "aligned_policy"
_GROUPS: Final = ("by_category", "by_principle")


def build_released_policy(inputs: ProjectInputs) -> Stage:
    """The stage of the released policy.

    Without a hold it points to the policy that the evaluation measured, once the required checks have passed. With
    one it is the release that is held, byte for byte, whatever the evaluation says.

    Raises:
        InputError: If a check is required that the evaluation does not have.
    """
    hold = inputs.hold.settings
    require = sorted(set(inputs.pipeline.release.require))
    checks = {check.name: check for check in make_evaluation_checks(inputs.pipeline.evaluation)}
    for name in require:
        if name not in checks:
            raise InputError(
                f"the evaluation has no check {name!r}",
                file=Path(PIPELINE_FILE),
                field="release.require",
                remedy=f"name some of {', '.join(checks)}, or none",
            )

    def promote(context: StageContext) -> StageResult:
        evaluation = context.inputs[EVALUATION]
        measured = json.loads((evaluation / INPUTS_JSON).read_bytes())
        results = {name: checks[name].run(evaluation, {}) for name in require}
        metrics = json.loads((evaluation / "metrics.json").read_bytes())
        release = {
            "policy": measured.pop(POLICY),
            "evaluation": str(context.digests[EVALUATION]),
            "made_from": measured,
            "checks": {
                name: {"passed": result.passed, "facts": result.facts} for name, result in results.items()
            },
            "figures": {name: value for name, value in metrics.items() if name not in _GROUPS},
        }
        (context.output / RELEASE_JSON).write_bytes(canonical_json(release))
        return StageResult(metrics=release)

    def keep(context: StageContext, held: str) -> StageResult:
        version = context.recorded_version(Digest.parse(held))
        shutil.copytree(version, context.output, dirs_exist_ok=True, copy_function=shutil.copyfile)
        return StageResult(metrics=read_release(context.output))

    return Stage(
        name=RELEASED_POLICY,
        description="Which policy is released, and why: the newest that passed its checks, or the one that is held.",
        kinds=("json",),
        code_version="1",
        inputs=(EVALUATION,),
        settings={"require": require} if hold is None else {"hold": hold.release},
        engine=(),
        origins={"": f"{PIPELINE_FILE}: release", "hold": f"{RELEASE_FILE}: hold.release"},
        compute=promote if hold is None else lambda context: keep(context, hold.release),
        requires={EVALUATION: tuple(require)} if hold is None else {},
        reason=None if hold is None else hold.reason,
        confirm=inputs.hold.require_unchanged,
    )


def read_release(folder: Path) -> dict[str, Any]:
    """Reads a version of the `released_policy` asset."""
    release: dict[str, Any] = json.loads((folder / RELEASE_JSON).read_bytes())
    return release
