"""Tells Dagster about a version: its digest, the versions that were read, and the recipe.

Dagster notes the data versions of the inputs of each materialisation, and shows an asset as stale if one of them has
changed. By default it notes the versions that were newest when the step started. An overlapping run can store another
version before the stage reads; so we name the versions in the record.

Staleness in Dagster goes one step only, from an asset to its inputs. So each asset also reads its partition of one
external asset, `recipes`. Its data version is the recipe that the asset needs now (`lineage/wanted.py`). A
materialisation names the recipe that made it. The two differ exactly if the asset is stale.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetDep,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetRecordsFilter,
    AssetSpec,
    DagsterInstance,
    EventRecordsResult,
    SpecificPartitionsPartitionMapping,
    StaticPartitionsDefinition,
)
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    INPUT_DATA_VERSION_TAG_PREFIX,
    INPUT_EVENT_POINTER_TAG_PREFIX,
    NULL_EVENT_POINTER,
)

from rlaif_dagster.defs.metadata import describe_record
from rlaif_dagster.digest import JsonValue, canonical_json
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.lineage.causes import Cause
from rlaif_dagster.lineage.drift import Drift, find_drifts
from rlaif_dagster.lineage.gates import find_override
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord, RecordedCheck

RECIPES: Final = AssetKey("recipes")
"""The external asset for the recipes that the assets need, with a partition for each asset."""

_RECIPES_NAME: Final = RECIPES.to_user_string()
_NUM_EVENTS: Final = 20
"""How many events back to search for a version that was read."""
_NUM_SHOWN: Final = 200
"""How many characters of an old or new value Dagster is told."""


def build_recipes_spec(graph: Graph) -> AssetSpec:
    """Makes the external asset whose partitions are the recipes that the assets need."""
    return AssetSpec(
        RECIPES,
        partitions_def=StaticPartitionsDefinition(list(graph)),
        kinds={"yaml"},
        description="For each asset the recipe that it needs with the current inputs: settings, code, libraries, and "
        "the versions that it reads. The sensor watch_inputs observes it; nothing makes it.",
    )


def depend_on_recipe(asset: str) -> AssetDep:
    """Makes the dependency of an asset on its own recipe."""
    return AssetDep(RECIPES, partition_mapping=SpecificPartitionsPartitionMapping([asset]))


def name_inputs(instance: DagsterInstance, record: MaterialisationRecord) -> dict[str, str]:
    """Makes the tags that say which versions a materialisation read, and which events reported them.

    Dagster must know the record's recipe first: it looks for other recipes after that event.
    """
    events = {
        name: _find_event(
            partial(instance.fetch_materializations, AssetKey.from_user_string(name)), version.digest
        )
        for name, version in record.inputs.items()
    }
    events[_RECIPES_NAME] = _find_event(partial(_fetch_recipes, instance, record.asset), record.recipe)
    return _name_versions(record) | {
        f"{INPUT_EVENT_POINTER_TAG_PREFIX}/{name}": event for name, event in events.items()
    }


def tell_recipe(instance: DagsterInstance, asset: str, recipe: str, causes: Sequence[Cause] = ()) -> None:
    """Tells Dagster which recipe an asset needs, and why it changed, if Dagster does not know it."""
    if _find_event(partial(_fetch_recipes, instance, asset), recipe, limits=(1,)) == NULL_EVENT_POINTER:
        instance.report_runless_asset_event(
            AssetObservation(
                RECIPES,
                partition=asset,
                tags={DATA_VERSION_TAG: recipe},
                metadata={cause.path: f"{_show(cause.old)} → {_show(cause.new)}" for cause in causes},
            )
        )


def tell_head(instance: DagsterInstance, stage: Stage, record: MaterialisationRecord) -> None:
    """Tells Dagster an asset's newest version, if Dagster has another as the newest.

    This happens after a rollback, after records came from another machine, and after overlapping runs.
    """
    key = AssetKey.from_user_string(record.asset)
    told = _name_versions(record) | {
        DATA_VERSION_TAG: record.output.digest,
        CODE_VERSION_TAG: record.recipe_parts.code_version,
        DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
    }
    latest = instance.get_latest_materialization_event(key)
    if latest is not None and told.items() <= (latest.tags or {}).items():
        return
    if _find_event(partial(_fetch_recipes, instance, record.asset), record.recipe) == NULL_EVENT_POINTER:
        tell_recipe(instance, record.asset, record.recipe)
    instance.report_runless_asset_event(
        AssetMaterialization(
            key,
            description="Reported outside a run: the newest version in the ledger.",
            metadata=describe_record(record),
            tags=told | name_inputs(instance, record),
        )
    )
    for check in record.checks:
        result = report_check(stage, record, check)
        instance.report_runless_asset_event(
            AssetCheckEvaluation(
                asset_key=key,
                check_name=check.name,
                passed=result.passed,
                severity=result.severity,
                metadata=result.metadata,
                blocking=check.blocking,
            )
        )


def report_check(stage: Stage, record: MaterialisationRecord, check: RecordedCheck) -> AssetCheckResult:
    """Reports a check's result on a version in Dagster's terms; an overridden check stops nothing."""
    override = find_override(stage.governance.overrides, record.asset, record.output.digest, check.name)
    stops = check.blocking and override is None
    return AssetCheckResult(
        check_name=check.name,
        passed=check.passed,
        severity=AssetCheckSeverity.ERROR if stops else AssetCheckSeverity.WARN,
        metadata=check.facts if override is None else check.facts | {"overridden": override.reason},
    )


def find_drift_doubts(instance: DagsterInstance, project: Project) -> Iterator[AssetObservation]:
    """Yields new observations of newest versions that depend on a changed judge.

    If an asset was reported in doubt and no longer is, that is reported too.
    """
    heads = project.ledger.find_heads()
    drifts: dict[str, list[Drift]] = {}
    for drift in find_drifts(project.ledger):
        for asset in drift.list_heads(heads):
            drifts.setdefault(asset, []).append(drift)
    doubts = {asset: describe_doubt(heads[asset], found) for asset, found in drifts.items()}
    for asset, head in heads.items():
        key = AssetKey.from_user_string(asset)
        [told] = [
            event.asset_observation.metadata if event.asset_observation else {}
            for event in instance.fetch_observations(key, limit=1).records
        ] or [{}]
        doubt = doubts.get(asset)
        if doubt is not None and doubt != {name: value.value for name, value in told.items()}:
            yield AssetObservation(
                key,
                description="In doubt: this version depends on a judge that no longer answers as before.",
                metadata=doubt,
            )
        elif doubt is None and "found_at" in told:
            yield AssetObservation(
                key,
                description="No longer in doubt: every judge that this version depends on answers as before.",
                metadata={"changed_judges": "none", "version": head.output.digest},
            )


def describe_doubt(head: MaterialisationRecord, drifts: Sequence[Drift]) -> dict[str, str]:
    """Describes the doubts about a version: all changed judges, the newest find, the oldest passed canary."""
    last_good_at = [drift.last_good_at for drift in drifts]
    return {
        "changed_judges": ", ".join(dict.fromkeys(name for drift in drifts for name in drift.names)),
        "version": head.output.digest,
        "found_at": max(drift.found_at for drift in drifts).isoformat(),
        "last_good_at": "never"
        if None in last_good_at
        else min(time for time in last_good_at if time is not None).isoformat(),
    }


def _name_versions(record: MaterialisationRecord) -> dict[str, str]:
    versions = {name: version.digest for name, version in record.inputs.items()}
    versions[_RECIPES_NAME] = record.recipe
    return {f"{INPUT_DATA_VERSION_TAG_PREFIX}/{name}": version for name, version in versions.items()}


def _show(value: JsonValue) -> str:
    text = value if isinstance(value, str) else canonical_json(value).decode()
    return text if len(text) <= _NUM_SHOWN else text[: _NUM_SHOWN - 1] + "…"


def _fetch_recipes(instance: DagsterInstance, asset: str, limit: int) -> EventRecordsResult:
    return instance.fetch_observations(
        AssetRecordsFilter(asset_key=RECIPES, asset_partitions=[asset]), limit=limit
    )


def _find_event(
    fetch: Callable[[int], EventRecordsResult], version: str, limits: Sequence[int] = (1, _NUM_EVENTS)
) -> str:
    """Finds the storage id of the newest event that reported a version, or Dagster's value for none.

    Events contain whole plots, so the newest one, usually the right one, is fetched alone first.
    """
    for limit in limits:
        for event in fetch(limit).records:
            if event.asset_event and (event.asset_event.tags or {}).get(DATA_VERSION_TAG) == version:
                return str(event.storage_id)
    return NULL_EVENT_POINTER
