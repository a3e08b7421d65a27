"""Gates: which versions may be read by other stages, and which failed checks a person overrode.

A version is refused as an input if it failed one of its own blocking checks, or a check that the reading stage
requires. A required check counts as passed only if its thresholds are the current ones. A person can let one version
pass a failed check; the record of everything built on it says so.
"""

from collections.abc import Iterable, Mapping

from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.errors import GateError
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.inputs.overrides import Override
from rlaif_dagster.lineage.record import MaterialisationRecord, RecordedCheck


def find_override(overrides: Iterable[Override], asset: str, digest: str, check: str) -> Override | None:
    """Finds the override of a check of a version, if there is one."""
    return next((override for override in overrides if override.key == (asset, digest, check)), None)


def list_failed(stage: Stage, digest: str, checks: Iterable[RecordedCheck]) -> tuple[RecordedCheck, ...]:
    """Lists the checks that a version failed and that nobody overrode."""
    return tuple(
        check
        for check in checks
        if not check.passed
        and find_override(stage.governance.overrides, stage.name, digest, check.name) is None
    )


def find_overrides(stage: Stage, parents: Mapping[str, MaterialisationRecord]) -> tuple[Override, ...]:
    """Finds the overrides that a stage needs to read these versions.

    Raises:
        GateError: If a check failed that nobody overrode.
    """
    found = []
    for name, parent in parents.items():
        refused = []
        for check in _find_failures(stage, parent):
            override = find_override(stage.governance.overrides, name, parent.output.digest, check)
            if override is None and stage.governance.reason is not None:
                override = Override(
                    asset=name, digest=parent.output.digest, check=check, reason=stage.governance.reason
                )
            if override is None:
                refused.append(check)
            else:
                found.append(override)
        if refused:
            raise _refuse(stage, parent, refused)
    return tuple(found)


def _find_failures(stage: Stage, parent: MaterialisationRecord) -> list[str]:
    passed = {check.name: check.facts for check in parent.checks if check.passed}
    failed = [
        name
        for name, required in stage.governance.requires.get(parent.asset, {}).items()
        if name not in passed or _is_outdated(passed[name], required)
    ]
    return list(dict.fromkeys([*parent.failed_gates, *failed]))


def _is_outdated(facts: Mapping[str, JsonValue], required: JsonValue) -> bool:
    """Whether a check used other thresholds than are required now; older records do not always say which."""
    return facts.get("required", required) != required


def _refuse(stage: Stage, parent: MaterialisationRecord, checks: list[str]) -> GateError:
    passed = [verdict.name for verdict in parent.checks if verdict.passed]
    remedy = (
        f"run `rlaif run {parent.asset}` first, which makes the check again"
        if checks[0] in passed
        else "correct the inputs and run again; or, on your own responsibility, let this version pass: "
        f"`rlaif override {parent.asset} {checks[0]} --reason TEXT`"
    )
    return GateError(
        f"{stage.name} refuses {parent.asset} {Digest.parse(parent.output.digest).short}: "
        f"{'; '.join(_word_failure(stage, parent, check) for check in checks)}.\n  remedy: {remedy}"
    )


def _word_failure(stage: Stage, parent: MaterialisationRecord, check: str) -> str:
    verdict = next((verdict for verdict in parent.checks if verdict.name == check), None)
    if verdict is None:
        return f"the required check {check} was never made on this version"
    if verdict.passed:
        now = stage.governance.requires[parent.asset][check]
        return f"its check {check} required {verdict.facts['required']}, but {now} is required now"
    words = "it failed the blocking check " if verdict.blocking else "it failed the required check "
    return f"{words}{check}, {dict(sorted(verdict.facts.items()))}"
