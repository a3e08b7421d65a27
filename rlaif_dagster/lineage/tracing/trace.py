"""Traces versions, pairs, responses, principles and judges."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.digest import JsonValue
from rlaif_dagster.errors import InputError
from rlaif_dagster.graph.rounds import name_in_round
from rlaif_dagster.graph.sources import read_constitution
from rlaif_dagster.lineage.collecting.notes import find_pruned, read_notes
from rlaif_dagster.lineage.drift import find_drifts
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.tracing.labels import (
    compare_labels_without,
    compare_labels_without_judge,
    count_verdicts,
    list_values,
)
from rlaif_dagster.lineage.tracing.subjects import SUBJECTS, Step, Trace, open_versions
from rlaif_dagster.lineage.versions import find_ancestors, find_descendants, find_version, version_of
from rlaif_dagster.names import (
    AI_PREFERENCES,
    CONSTITUTION,
    JUDGE,
    JUDGEMENTS,
    JUDGEMENTS_TABLE,
    PREFERENCES_TABLE,
    PROMPTS,
    PROMPTS_TABLE,
    RESPONSES_TABLE,
    SAMPLED_RESPONSES,
)

_NUM_NAMED: Final = 20  # ids listed in an error
ROWS: Final = {
    "pair": (JUDGEMENTS, JUDGEMENTS_TABLE),
    "response": (SAMPLED_RESPONSES, RESPONSES_TABLE),
}
"""Subjects that belong to one round, with the asset and the table that list them."""

_Records = Sequence[MaterialisationRecord]


def trace_subject(project: Project, subject: str) -> Trace:
    """Traces the subject that the user names.

    Args:
        project: The project.
        subject: `ASSET`, `ASSET@DIGEST`, `pair:ID`, `response:ID`, `principle:ID` or `judge:NAME`. The first characters
            of an ID are enough.

    Raises:
        InputError: If there is no such subject, or several.
        LedgerError: If the ledger is damaged.
        StorageError: If versions that the trace needs cannot be read.
    """
    kind, colon, name = subject.partition(":")
    if not colon or kind not in SUBJECTS:
        return trace_version(project, subject)
    newest = _require_heads(project)
    heads = _find_round(project, newest, kind, name) if kind in ROWS else newest
    tracers: Mapping[str, Callable[[Project, Mapping[str, MaterialisationRecord], str], Trace]] = {
        "pair": trace_pair,
        "response": trace_response,
        "principle": trace_principle,
        "judge": trace_judge,
    }
    return tracers[kind](project, heads, name)


def trace_version(project: Project, target: str) -> Trace:
    """Traces a version: what it was made from, back to the sources, and what was made from it."""
    record = find_version(project, target)
    records = project.ledger.records()
    facts: dict[str, JsonValue] = {"asset": record.asset, "digest": record.output.digest}
    *behind, itself = find_ancestors(records, record)
    constitution = next((maker for maker in behind if maker.asset == CONSTITUTION), None)
    if constitution is not None:
        with open_versions(project, constitution=constitution) as folders:
            facts["principles"] = _state_principles(folders[CONSTITUTION])
    return Trace(
        subject=target,
        facts=facts,
        made_from=tuple(map(Step.from_record, [*behind, itself])),
        went_into=_list_steps(find_descendants(records, [version_of(record)])),
    )


def trace_pair(project: Project, heads: Mapping[str, MaterialisationRecord], pair_id: str) -> Trace:
    """Traces a pair: its prompt, its two responses, every verdict with the judge's reply, and its label."""
    names = (PROMPTS, SAMPLED_RESPONSES, JUDGEMENTS, AI_PREFERENCES)
    with open_versions(project, **{name: heads[name] for name in names}) as folders:
        pair_id = _complete(project, folders[JUDGEMENTS] / JUDGEMENTS_TABLE, pair_id, what="pair")
        verdicts = _select(folders[JUDGEMENTS] / JUDGEMENTS_TABLE, "pair_id", [pair_id])
        responses = _select(
            folders[SAMPLED_RESPONSES] / RESPONSES_TABLE,
            "response_id",
            [verdicts[0]["response_a"], verdicts[0]["response_b"]],
        )
        prompts = _select(folders[PROMPTS] / PROMPTS_TABLE, "prompt_id", [verdicts[0]["prompt_id"]])
        labels = _select(folders[AI_PREFERENCES] / PREFERENCES_TABLE, "pair_id", [pair_id])
    return Trace(
        subject=f"pair:{pair_id}",
        facts={
            "prompt": prompts[0] if prompts else None,
            "responses": responses,
            "verdicts": verdicts,
            "label": {name: labels[0][name] for name in ("p_a", "p_a_ab", "p_a_ba", "principles", "split")}
            if labels
            else None,
        },
        made_from=_list_steps([heads[name] for name in names]),
        went_into=_find_uses(project, [heads[AI_PREFERENCES]]) if labels else (),
    )


def trace_response(project: Project, heads: Mapping[str, MaterialisationRecord], response_id: str) -> Trace:
    """Traces a response: its policy and prompt, and the pairs and labels that contain it."""
    names = (PROMPTS, SAMPLED_RESPONSES, AI_PREFERENCES)
    with open_versions(project, **{name: heads[name] for name in names}) as folders:
        table = folders[SAMPLED_RESPONSES] / RESPONSES_TABLE
        response_id = _complete(project, table, response_id, what="response")
        (response,) = _select(table, "response_id", [response_id])
        prompts = _select(folders[PROMPTS] / PROMPTS_TABLE, "prompt_id", [response["prompt_id"]])
        preferences = folders[AI_PREFERENCES] / PREFERENCES_TABLE
        pairs = [row for side in "ab" for row in _select(preferences, f"response_{side}", [response_id])]
    return Trace(
        subject=f"response:{response_id}",
        facts={
            "prompt": prompts[0] if prompts else None,
            "response": response,
            "pairs": [
                {
                    "pair_id": row["pair_id"],
                    "p_preferred": row["p_a"] if row["response_a"] == response_id else 1.0 - row["p_a"],
                    "other": row["response_b"] if row["response_a"] == response_id else row["response_a"],
                }
                for row in sorted(pairs, key=lambda row: str(row["pair_id"]))
            ],
        },
        made_from=_list_steps([heads[PROMPTS], heads[SAMPLED_RESPONSES]]),
        went_into=_find_uses(project, [heads[AI_PREFERENCES]]) if pairs else (),
    )


def trace_principle(project: Project, heads: Mapping[str, MaterialisationRecord], principle_id: str) -> Trace:
    """Traces a principle: its verdicts, the labels that would differ without it, and everything learned from it."""
    with open_versions(project, constitution=heads[CONSTITUTION]) as folders:
        principles = {
            principle.id: principle for principle in read_constitution(folders[CONSTITUTION]).principles
        }
    wordings = _find_wordings(project, principle_id)
    if not wordings:
        raise InputError(
            f"no constitution of this project ever had a principle {principle_id!r}",
            file=project.root,
            remedy=f"name one of {', '.join(principles)}",
        )
    first, *later = (_measure_part(project, by_role, principle_id) for by_role in list_rounds(heads))
    today = principles.get(principle_id)
    return Trace(
        subject=f"principle:{principle_id}",
        facts={
            "today": {"text": today.text, "weight": today.weight} if today else None,
            "wordings": [{"text": text, "constitutions": digests} for text, digests in wordings.items()],
            **first,
            **{f"round {number}": part for number, part in enumerate(later, start=2)},
        },
        made_from=_list_steps([heads[CONSTITUTION]]) if today else (),
        went_into=_list_steps(
            find_descendants(
                project.ledger.records(),
                [(CONSTITUTION, digest) for digests in wordings.values() for digest in digests],
            )
        ),
    )


def _measure_part(
    project: Project, heads: Mapping[str, MaterialisationRecord], principle_id: str
) -> dict[str, JsonValue]:
    """Measures the effect of a principle in one round."""
    names = (JUDGEMENTS, AI_PREFERENCES)
    with open_versions(project, **{name: heads[name] for name in names}) as folders:
        labels = compare_labels_without(folders[AI_PREFERENCES] / PREFERENCES_TABLE, principle_id)
        verdicts = count_verdicts(folders[JUDGEMENTS] / JUDGEMENTS_TABLE, "principle_id", principle_id)
    return {"verdicts": verdicts, "labels": dataclasses.asdict(labels)}


def trace_judge(project: Project, heads: Mapping[str, MaterialisationRecord], judge: str) -> Trace:
    """Traces a judge: its verdicts, the labels that would differ without it, what was learned, what is in doubt."""
    first, *later = (_measure_judge(project, by_role, judge) for by_role in list_rounds(heads))
    records = project.ledger.records()
    pruned = find_pruned(read_notes(project.ledger.folder), records)
    holders: dict[str, MaterialisationRecord] = {}
    names: set[str] = set()
    for record in records:
        is_table = record.asset.rpartition("/")[2] == JUDGEMENTS and not record.is_stopped
        if is_table and record.output.digest not in holders and record.output.md5 not in pruned:
            with open_versions(project, version=record) as folders:
                found = list_values(folders["version"] / JUDGEMENTS_TABLE, "judge")
            names.update(found)
            if judge in found:
                holders[record.output.digest] = record
    if not holders:
        raise InputError(
            f"no judge {judge!r} ever gave a verdict in this project",
            file=project.root,
            remedy=f"name one of {', '.join(sorted(names))}",
        )
    return Trace(
        subject=f"judge:{judge}",
        facts={
            **first,
            **{f"round {number}": part for number, part in enumerate(later, start=2)},
            JUDGEMENTS: list(holders),
            "changed": [
                {
                    "found_at": drift.found_at.isoformat(),
                    "last_good_at": drift.last_good_at.isoformat() if drift.last_good_at else None,
                    "in_doubt": [f"{asset}@{digest}" for asset, digest in drift.marked],
                }
                for drift in find_drifts(project.ledger)
                if judge in drift.names
            ],
        },
        made_from=_list_steps(
            maker
            for record in holders.values()
            for maker in find_ancestors(records, record)
            if maker.asset == JUDGE
        ),
        went_into=_find_uses(project, list(holders.values())),
    )


def _measure_judge(
    project: Project, heads: Mapping[str, MaterialisationRecord], judge: str
) -> dict[str, JsonValue]:
    """Measures the effect of a judge in one round."""
    names = (CONSTITUTION, PROMPTS, SAMPLED_RESPONSES, JUDGEMENTS, AI_PREFERENCES)
    with open_versions(project, **{name: heads[name] for name in names}) as folders:
        verdicts = count_verdicts(folders[JUDGEMENTS] / JUDGEMENTS_TABLE, "judge", judge)
        labels = compare_labels_without_judge(
            folders, judge, settings=heads[AI_PREFERENCES].recipe_parts.settings
        )
    return {"verdicts": verdicts, "labels": dataclasses.asdict(labels)}


def _find_round(
    project: Project, heads: Mapping[str, MaterialisationRecord], kind: str, start: str
) -> Mapping[str, MaterialisationRecord]:
    """Finds the newest records by role in the first round that contains an id; in round 1 if none does."""
    role, table = ROWS[kind]
    for by_role in list_rounds(heads):
        with open_versions(project, table=by_role[role]) as folders:
            if any(known.startswith(start) for known in list_values(folders["table"] / table, f"{kind}_id")):
                return by_role
    return heads


def list_rounds(heads: Mapping[str, MaterialisationRecord]) -> list[Mapping[str, MaterialisationRecord]]:
    """Lists the newest records by role, for each round that has labels."""
    rounds: list[Mapping[str, MaterialisationRecord]] = []
    while (labels := heads.get(name_in_round(AI_PREFERENCES, len(rounds) + 1))) and not labels.is_stopped:
        names = {role: name_in_round(role, len(rounds) + 1) for role in heads}
        rounds.append({role: heads[asset] for role, asset in names.items() if asset in heads})
    return rounds


def _require_heads(project: Project) -> dict[str, MaterialisationRecord]:
    heads = project.ledger.find_heads()
    needed = (PROMPTS, CONSTITUTION, SAMPLED_RESPONSES, JUDGEMENTS, AI_PREFERENCES)
    missing = [name for name in needed if name not in heads]
    if missing:
        raise InputError(
            f"{missing[0]} has never been materialised here, so there are no rows to trace",
            file=project.root,
            remedy="run `rlaif run ai_preferences` first",
        )
    return heads


def _find_wordings(project: Project, principle_id: str) -> dict[str, list[str]]:
    """Finds all texts that a principle has had, oldest first, each with its constitutions."""
    wordings: dict[str, list[str]] = {}
    for record in project.ledger.records():
        if record.asset != CONSTITUTION:
            continue
        principles = record.recipe_parts.settings["principles"]
        for principle in principles:
            digests = wordings.setdefault(principle["text"], []) if principle["id"] == principle_id else None
            if digests is not None and record.output.digest not in digests:
                digests.append(record.output.digest)
    return wordings


def _find_uses(project: Project, records: _Records) -> tuple[Step, ...]:
    return _list_steps(find_descendants(project.ledger.records(), [version_of(record) for record in records]))


def _list_steps(records: Any) -> tuple[Step, ...]:
    steps = {(record.asset, record.output.digest): Step.from_record(record) for record in records}
    return tuple(steps.values())


def _state_principles(folder: Path) -> JsonValue:
    value: JsonValue = json.loads(json.dumps(read_constitution(folder).to_json()))
    return value["principles"] if isinstance(value, Mapping) else value


def _select(table: Path, column: str, values: Sequence[str]) -> list[dict[str, Any]]:
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(table, filters=[(column, "in", list(values))]).to_pylist()
    return rows


def _complete(project: Project, table: Path, start: str, *, what: str) -> str:
    """Finds the one id in a table that is, or begins with, the given text."""
    known = list_values(table, f"{what}_id")
    found = [start] if start in known else [value for value in known if start and value.startswith(start)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{len(found)} ids begin with {start!r}: {', '.join(found[:_NUM_NAMED])}",
            file=project.root,
            remedy=f"write more of the {what}'s id",
        )
    raise InputError(
        f"there is no {what} {start!r} in the newest version",
        file=project.root,
        remedy=f"name a {what} by its id or its beginning, for example {known[0] if known else '-'}",
    )
