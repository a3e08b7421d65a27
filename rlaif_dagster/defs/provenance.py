"""What Dagster is told of a version: its digest, the versions that were read, and the recipe.

Dagster notes for each materialisation the data versions of its inputs, and shows an asset as stale where one of them
is another now. By itself it notes what it took to be the newest version when the step started. A run that overlaps can
land another version before the stage reads; so we name the versions that the record names.

Staleness in Dagster goes one step only, from an asset to what it reads. So each asset also reads its partition of one
external asset, `recipes`, whose data version is the recipe that the asset wants now (`lineage/wanted.py`). A
materialisation names the recipe that it was made by. The two differ exactly where the asset is stale.
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
from rlaif_dagster.lineage.record import CheckVerdict, MaterialisationRecord

RECIPES: Final = AssetKey("recipes")
"""The external asset that stands for the recipes that the assets want, a partition for each."""

_RECIPES_NAME: Final = RECIPES.to_user_string()
_NUM_EVENTS: Final = 20
"""How many events back a version that was read is looked for."""
_NUM_SHOWN: Final = 200
"""Characters of an old or new value that Dagster is told."""


def build_recipes_spec(graph: Graph) -> AssetSpec:
    """Makes the external asset whose partitions are the recipes that the assets want."""
    return AssetSpec(
        RECIPES,
        partitions_def=StaticPartitionsDefinition(list(graph)),
        kinds={"yaml"},
        description="For each asset the recipe that it wants on the inputs as they are now: settings, code, libraries, "
        "and the versions that it reads. The sensor watch_inputs observes it; nothing makes it.",
    )


def depend_on_recipe(asset: str) -> AssetDep:
    """The dependency of an asset on its own recipe."""
    return AssetDep(RECIPES, partition_mapping=SpecificPartitionsPartitionMapping([asset]))


def name_inputs(instance: DagsterInstance, record: MaterialisationRecord) -> dict[str, str]:
    """The tags that say which versions a materialisation read, and which events had announced them.

    Dagster must have been told the record's recipe: it looks for other recipes from that event on.
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
    """Tells Dagster which recipe an asset wants, and why it wants another, if it was last told another."""
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
    """Tells Dagster an asset's newest version, if it takes another for the newest.

    That is so after a rollback, after records came from another machine, and after runs that overlapped.
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
            description="Told outside a run: the newest version in the ledger.",
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


def report_check(stage: Stage, record: MaterialisationRecord, check: CheckVerdict) -> AssetCheckResult:
    """Says in Dagster's terms what a check said of a version; a check that a person let pass stops nothing."""
    override = find_override(stage.governance.overrides, record.asset, record.output.digest, check.name)
    stops = check.blocking and override is None
    return AssetCheckResult(
        check_name=check.name,
        passed=check.passed,
        severity=AssetCheckSeverity.ERROR if stops else AssetCheckSeverity.WARN,
        metadata=check.facts if override is None else check.facts | {"overridden": override.reason},
    )


def find_doubts(instance: DagsterInstance, project: Project) -> Iterator[AssetObservation]:
    """Yields what Dagster was not told yet of newest versions that rest on a judge found to be another one now.

    An asset of which that was told, and is so no more, is told to be well.
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
                description="In doubt: a judge that this rests on answers otherwise than it did.",
                metadata=doubt,
            )
        elif doubt is None and "found_at" in told:
            yield AssetObservation(
                key,
                description="No longer in doubt: no judge that this rests on is found to answer otherwise.",
                metadata={"changed_judges": "none", "version": head.output.digest},
            )


def describe_doubt(head: MaterialisationRecord, drifts: Sequence[Drift]) -> dict[str, str]:
    """What Dagster is told of a version that rests on judges that changed: all, the newest find, the oldest good."""
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
    """The storage id of the newest event that announced a version, or Dagster's word for none.

    Events hold whole plots: the newest, which mostly is the one, is fetched alone first.
    """
    for limit in limits:
        for event in fetch(limit).records:
            if event.asset_event and (event.asset_event.tags or {}).get(DATA_VERSION_TAG) == version:
                return str(event.storage_id)
    return NULL_EVENT_POINTER
