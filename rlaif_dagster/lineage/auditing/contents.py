"""What sound bytes can still contradict: names and rows. The rules are in docs/audit.md.

Imports pyarrow inside functions.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.graph.judging import JUDGEMENTS_TABLE
from rlaif_dagster.graph.responses import RESPONSES_TABLE
from rlaif_dagster.graph.sources import JUDGE_VERDICTS
from rlaif_dagster.judging.opening import JUDGE_JSON
from rlaif_dagster.lineage.auditing.findings import Finding
from rlaif_dagster.lineage.auditing.records import name_version
from rlaif_dagster.lineage.record import MaterialisationRecord

FindFile = Callable[[MaterialisationRecord, str], Path | None]
"""Gives the sound object of a version's file; None where it is not there or is damaged."""

DATA_SUFFIXES: Final = (".safetensors", ".parquet", ".jsonl")
"""Files that hold content of their own; tokenizers, settings and plots may well be shared."""
MIN_TELLING_ROWS: Final = 5
"""Fewer common telling rows than this prove no copy."""
MIN_COPIED_SHARE: Final = 0.9
"""The share of common telling rows that must be equal."""
MIN_PLAIN_ROWS: Final = 100
"""Common rows, all equal, that make a copy where no row is telling."""
_MIN_TELLING_CHARACTERS: Final = 80
_MIN_TELLING_DECIMALS: Final = 3
_MIN_UNSURE: Final = 0.001

_Rows = Mapping[Any, "_Row"]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row's content, whether two authors would hardly arrive at it each alone, and the key that it was made by."""

    content: tuple[Any, ...]
    is_telling: bool
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentsReading:
    """What an audit found in the rows, and which rows it could not read."""

    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]


def check_contents(records: Sequence[MaterialisationRecord], find_file: FindFile) -> ContentsReading:
    """Looks for content that belongs to another name.

    Args:
        records: The records to look at, oldest first.
        find_file: Gives a file of a version.
    """
    from pyarrow import ArrowException

    findings = list(find_same_bytes(records))
    skipped: list[str] = []
    versions = {(record.asset, record.output.digest): record for record in records}
    tables: list[tuple[Path, set[str]]] = []
    for record in versions.values():
        try:
            responses = find_file(record, RESPONSES_TABLE)
            if responses is not None:
                findings += _check_sources(record, responses)
            recorded = find_file(record, JUDGE_VERDICTS)
            if recorded is not None:
                findings += _find_copies(
                    _read_verdict_file(recorded), f"{name_version(record)} {JUDGE_VERDICTS}", "judge"
                )
            judgements = find_file(record, JUDGEMENTS_TABLE)
            if judgements is not None:
                names = set(_read_distinct(judgements, "judge"))
                judge = (
                    versions.get(("judge", record.inputs["judge"].digest))
                    if "judge" in record.inputs
                    else None
                )
                settings = find_file(judge, JUDGE_JSON) if judge else None
                if settings is not None:
                    findings += _check_judge(record, names, settings)
                tables.append((judgements, names))
        except (OSError, ValueError, KeyError, TypeError, ArrowException) as error:
            skipped.append(f"the rows of {name_version(record)}: they cannot be read ({str(error)[:200]})")
    if len({name for _, names in tables for name in names}) > 1:
        findings += _find_copies(_read_judgements([table for table, _ in tables]), JUDGEMENTS_TABLE, "judge")
    return ContentsReading(findings=tuple(findings), skipped=tuple(skipped))


def find_same_bytes(records: Iterable[MaterialisationRecord]) -> Iterator[Finding]:
    """Yields assets that came out with the bytes of another, where their recipes do not explain it.

    Whole versions are compared, and single files that hold data. It is no finding if the later of the two was not
    computed from other assets (a person brought the same model twice, or brings a result back as a source); if the
    recipes are the same but for the asset's name; or if there are no rows.
    """
    first: dict[str, list[MaterialisationRecord]] = {}
    seen: set[tuple[str, str]] = set()
    for record in records:
        if record.rows == 0:
            continue
        files = {f"sha256:{f.sha256}": f.path for f in record.output.files if f.path.endswith(DATA_SUFFIXES)}
        for digest, name in {record.output.digest: "all files", **files}.items():
            if (record.asset, digest) in seen:
                continue
            seen.add((record.asset, digest))
            earlier = first.setdefault(digest, [])
            for other in earlier:
                whole_is_same = name != "all files" and other.output.digest == record.output.digest
                if record.inputs and not whole_is_same and not _same_recipe(record, other):
                    yield Finding(
                        kind="same-bytes",
                        place=f"{name_version(record)} {name}",
                        found=f"{digest}, as in {name_version(other)}",
                        expected="bytes of its own: it was computed, by another recipe",
                        remedy=f"look whether {record.asset} did any work (its settings, its training figures), or "
                        f"whether one of the two was put in the place of the other",
                    )
            earlier.append(record)


def _same_recipe(one: MaterialisationRecord, other: MaterialisationRecord) -> bool:
    left, right = (r.recipe_parts.model_dump(exclude={"asset"}) for r in (one, other))
    return left == right


def _check_sources(record: MaterialisationRecord, table: Path) -> Iterator[Finding]:
    """Holds a table of responses against the policy that the record says was sampled."""
    found = _read_distinct(table, "source")
    policies = sorted(
        version.digest
        for name, version in record.inputs.items()
        if name.rpartition("/")[2].endswith("_policy")
    )
    place = f"{name_version(record)} {RESPONSES_TABLE}"
    if policies and not set(found) <= set(policies):
        yield Finding(
            kind="name-contradicted",
            place=f"{place}, column source",
            found=", ".join(found[:3]),
            expected=f"{', '.join(policies)}, the policy that the record says was sampled",
            remedy="the responses are not of the policy that they are filed under: do not train on them; sample again",
        )
    if len(found) > 1:
        texts: dict[str, dict[str, list[str]]] = {}
        for source, prompt_id, text in _read_rows(table, ["source", "prompt_id", "text"]):
            texts.setdefault(source, {}).setdefault(prompt_id, []).append(text)
        rows = {
            source: {
                prompt_id: _Row(tuple(sorted(said)), max(map(len, said)) >= _MIN_TELLING_CHARACTERS)
                for prompt_id, said in prompts.items()
            }
            for source, prompts in texts.items()
        }
        yield from _find_copies(rows, place, "source", plain=False)


def _check_judge(record: MaterialisationRecord, names: Iterable[str], settings: Path) -> Iterator[Finding]:
    """Holds the names in a table of verdicts against the judge that the record says was asked."""
    described = json.loads(settings.read_bytes())
    expected = described.get("model" if described.get("provider") == "local" else "name")
    found = sorted(names)
    if expected is not None and found and found != [expected]:
        yield Finding(
            kind="name-contradicted",
            place=f"{name_version(record)} {JUDGEMENTS_TABLE}, column judge",
            found=", ".join(found[:3]),
            expected=f"{expected}, the judge that the record says was asked",
            remedy="the verdicts are not of the judge that they are filed under: do not learn from them; judge again",
        )


def _read_judgements(tables: Iterable[Path]) -> dict[str, dict[Any, _Row]]:
    names = ["judge", "pair_id", "order", "principle_id", "verdict_id", "verdict", "p_first", "answers"]
    rows: dict[str, dict[Any, _Row]] = {}
    for table in tables:
        for judge, pair_id, order, principle, key, verdict, p_first, answers in _read_rows(table, names):
            raw_text = "\n".join(answer["text"] or "" for answer in answers)
            rows.setdefault(judge, {})[pair_id, order, principle] = _make_verdict(
                (verdict, p_first, raw_text or None), key
            )
    return rows


def _read_verdict_file(file: Path) -> dict[str, dict[Any, _Row]]:
    rows: dict[str, dict[Any, _Row]] = {}
    for text in file.read_text(encoding="utf-8").splitlines():
        line = json.loads(text) if text.strip() else {}
        answer = [line.pop(name, None) for name in ("verdict", "p_first", "raw_text")]
        judge = line.pop("judge", None)
        if judge is not None:
            rows.setdefault(judge, {})[json.dumps(line, sort_keys=True)] = _make_verdict(answer)
    return rows


def _make_verdict(answer: Sequence[Any], key: str | None = None) -> _Row:
    """Takes (verdict, p_first, raw_text)."""
    _, p_first, raw_text = answer
    is_fine = (
        p_first is not None
        and _MIN_UNSURE <= p_first <= 1 - _MIN_UNSURE
        and round(p_first, _MIN_TELLING_DECIMALS) != p_first
    )
    return _Row(tuple(answer), is_fine or len(raw_text or "") >= _MIN_TELLING_CHARACTERS, key)


def _find_copies(
    rows: Mapping[str, _Rows], place: str, what: str, *, plain: bool = True
) -> Iterator[Finding]:
    """Yields pairs of names whose rows are the same.

    Args:
        rows: For each name, its rows by what they answer.
        place: The table.
        what: What the names are of.
        plain: Whether many equal rows are a copy even if none of them is telling.
    """
    for one, other in combinations(sorted(rows), 2):
        common = [
            (rows[one][name], rows[other][name])
            for name in rows[one].keys() & rows[other].keys()
            # Rows of one verdict key were asked once, of one model, whatever it is called.
            if rows[one][name].key is None or rows[one][name].key != rows[other][name].key
        ]
        telling = [(left, right) for left, right in common if left.is_telling or right.is_telling]
        looked_at = telling or (common if plain else [])
        num_equal = sum(left.content == right.content for left, right in looked_at)
        least, share = (MIN_TELLING_ROWS, MIN_COPIED_SHARE) if telling else (MIN_PLAIN_ROWS, 1.0)
        if len(looked_at) >= least and num_equal >= share * len(looked_at):
            yield Finding(
                kind="rows-copied",
                place=f"{place}, {what} {other!r}",
                found=f"{num_equal} of {len(looked_at)} rows are those of {one!r}",
                expected=f"rows of its own, if {other!r} and {one!r} are two",
                remedy=f"ask where the rows of {other!r} come from; if it was only renamed, one name is enough",
            )


def _read_distinct(table: Path, column: str) -> list[str]:
    """The values of a column, each once, sorted."""
    from pyarrow import parquet

    return sorted(parquet.read_table(table, columns=[column]).column(column).unique().to_pylist())


def _read_rows(table: Path, names: list[str]) -> Iterator[tuple[Any, ...]]:
    """Yields the rows of some columns, in the order of the names."""
    from pyarrow import parquet

    columns = parquet.read_table(table, columns=names)
    return zip(*(columns.column(name).to_pylist() for name in names), strict=True)
