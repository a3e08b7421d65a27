"""Finds names and rows that contradict the records although all bytes are intact. The rules are in docs/audit.md.

Imports pyarrow inside functions.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from rlaif_dagster.judging.copies import (
    MIN_TELLING_CHARACTERS,
    AuthoredRow,
    find_copies,
    make_verdict_row,
)
from rlaif_dagster.judging.opening import JURY_FOLDER
from rlaif_dagster.lineage.auditing.findings import Finding
from rlaif_dagster.lineage.auditing.records import name_version
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.names import (
    EVALUATION_JUDGE,
    JUDGE,
    JUDGE_JSON,
    JUDGE_VERDICTS,
    JUDGEMENTS_TABLE,
    RESPONSES_TABLE,
)

FindFile = Callable[[MaterialisationRecord, str], Path | None]
"""Returns the intact object of a version's file; None if it is missing or damaged."""

DATA_SUFFIXES: Final = (".safetensors", ".parquet", ".jsonl")
"""Files whose content should be unique. Tokenizers, settings and plots may be shared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentsReading:
    """The findings in rows, and which rows could not be read."""

    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]


def check_contents(records: Sequence[MaterialisationRecord], find_file: FindFile) -> ContentsReading:
    """Finds content that is recorded under the wrong name.

    Args:
        records: The records to look at, oldest first.
        find_file: Returns a file of a version.
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
                findings += _word_copies(
                    _read_verdict_file(recorded), f"{name_version(record)} {JUDGE_VERDICTS}", "judge"
                )
            findings += _compare_members(record, find_file)
            judgements = find_file(record, JUDGEMENTS_TABLE)
            if judgements is not None:
                names = set(_read_distinct(judgements, "judge"))
                judges = [
                    versions.get((name, record.inputs[name].digest))
                    for name in (JUDGE, EVALUATION_JUDGE)
                    if name in record.inputs
                ]
                asked = [_read_judge_names(judge, find_file) for judge in judges]
                findings += _check_judges(record, names, asked)
                tables.append((judgements, names))
        except (OSError, ValueError, KeyError, TypeError, ArrowException) as error:
            skipped.append(f"the rows of {name_version(record)}: they cannot be read ({str(error)[:200]})")
    if len({name for _, names in tables for name in names}) > 1:
        findings += _word_copies(_read_judgements([table for table, _ in tables]), JUDGEMENTS_TABLE, "judge")
    return ContentsReading(findings=tuple(findings), skipped=tuple(skipped))


def find_same_bytes(records: Iterable[MaterialisationRecord]) -> Iterator[Finding]:
    """Yields assets whose bytes equal those of another asset, if their recipes do not explain it.

    Compares whole versions, and single files that hold data. There is no finding if the later of the two was not
    computed from other assets (a person brought the same model twice, or brings a result back as a source), if the
    recipes differ only in the asset's name, or if there are no rows.
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
                        expected="other bytes: it was computed by another recipe",
                        remedy=f"check whether {record.asset} did any work (its settings, its training figures), or "
                        f"whether one of the two was replaced by the other",
                    )
            earlier.append(record)


def _compare_members(record: MaterialisationRecord, find_file: FindFile) -> Iterator[Finding]:
    """Yields members of a jury that are the same judge under two names: same model, template and settings."""
    members: dict[str, dict[str, str]] = {}
    for file in record.output.files:
        folder, _, rest = file.path.partition("/")
        if record.asset == JUDGE and folder == JURY_FOLDER:
            number, _, name = rest.partition("/")
            members.setdefault(number, {})[name] = file.sha256
    known: dict[str, str] = {}
    for number, files in sorted(members.items(), key=lambda item: int(item[0])):
        settings = find_file(record, f"{JURY_FOLDER}/{number}/{JUDGE_JSON}")
        if settings is None:
            continue
        told = json.loads(settings.read_bytes())
        content = {**told, "name": None, "model": None, "files": {**files, JUDGE_JSON: None}}
        name = str(told.get("name") or told.get("model"))
        other = known.setdefault(json.dumps(content, sort_keys=True), name)
        # A served model is known only by its name.
        if other != name and any(path.endswith(DATA_SUFFIXES) for path in files):
            yield Finding(
                kind="same-bytes",
                place=f"{name_version(record)} {JURY_FOLDER}/{number}",
                found=f"model, template and settings of {other!r} under the name {name!r}",
                expected="different judges",
                remedy="take one of the two out of the jury: it votes twice",
            )


def _same_recipe(one: MaterialisationRecord, other: MaterialisationRecord) -> bool:
    left, right = (r.recipe_parts.model_dump(exclude={"asset"}) for r in (one, other))
    return left == right


def _check_sources(record: MaterialisationRecord, table: Path) -> Iterator[Finding]:
    """Compares the policy named in a table of responses with the policy that the record says was sampled."""
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
            remedy="the responses come from another policy than recorded: do not train on them; sample again",
        )
    if len(found) > 1:
        texts: dict[str, dict[str, list[str]]] = {}
        for source, prompt_id, text in _read_rows(table, ["source", "prompt_id", "text"]):
            texts.setdefault(source, {}).setdefault(prompt_id, []).append(text)
        rows = {
            source: {
                prompt_id: AuthoredRow(tuple(sorted(said)), max(map(len, said)) >= MIN_TELLING_CHARACTERS)
                for prompt_id, said in prompts.items()
            }
            for source, prompts in texts.items()
        }
        yield from _word_copies(rows, place, "source", plain=False)


def _read_judge_names(judge: MaterialisationRecord | None, find_file: FindFile) -> set[str] | None:
    """Reads the names that a version's judges have in tables; None if they cannot be determined."""
    if judge is None:
        return None
    files = {file.path for file in judge.output.files}
    is_recorded = JUDGE_VERDICTS in files  # its name may be in its rows alone
    members = {path for path in files if fnmatch(path, f"{JURY_FOLDER}/*/{JUDGE_JSON}")}
    names: set[Any] = set()
    for path in members or files & {JUDGE_JSON}:
        settings = find_file(judge, path)
        told = json.loads(settings.read_bytes()) if settings else {}
        by_default = told.get("model") or told.get("provider")
        names.add(told.get("name") or (None if is_recorded else by_default))
    return names if names and None not in names else None


def _check_judges(
    record: MaterialisationRecord, names: set[str], asked: Sequence[set[str] | None]
) -> Iterator[Finding]:
    """Compares the judges named in a table of verdicts with the judges that the record says were asked."""
    known = [each for each in asked if each is not None]
    expected = set().union(*known)
    if known and len(known) == len(asked) and not names <= expected:
        yield Finding(
            kind="name-contradicted",
            place=f"{name_version(record)} {JUDGEMENTS_TABLE}, column judge",
            found=", ".join(sorted(names)[:3]),
            expected=f"{', '.join(sorted(expected))}, the judge that the record says was asked",
            remedy="the verdicts come from another judge than recorded: do not learn from them; judge again",
        )


def _read_judgements(tables: Iterable[Path]) -> dict[str, dict[Any, AuthoredRow]]:
    names = ["judge", "pair_id", "order", "principle_id", "verdict_id", "verdict", "p_first", "answers"]
    rows: dict[str, dict[Any, AuthoredRow]] = {}
    for table in tables:
        for judge, pair_id, order, principle, key, verdict, p_first, answers in _read_rows(table, names):
            raw_text = "\n".join(answer["text"] or "" for answer in answers)
            rows.setdefault(judge, {})[pair_id, order, principle] = make_verdict_row(
                (verdict, p_first, raw_text or None), key
            )
    return rows


def _read_verdict_file(file: Path) -> dict[str, dict[Any, AuthoredRow]]:
    rows: dict[str, dict[Any, AuthoredRow]] = {}
    for text in file.read_text(encoding="utf-8").splitlines():
        line = json.loads(text) if text.strip() else {}
        answer = [line.pop(name, None) for name in ("verdict", "p_first", "raw_text")]
        judge = line.pop("judge", None)
        if judge is not None:
            rows.setdefault(judge, {})[json.dumps(line, sort_keys=True)] = make_verdict_row(answer)
    return rows


def _word_copies(
    rows: Mapping[str, Mapping[Any, AuthoredRow]], place: str, what: str, *, plain: bool = True
) -> Iterator[Finding]:
    """Yields a finding for each pair of names whose rows are equal.

    Args:
        rows: For each name, its rows by the question that they answer.
        place: The table.
        what: What the names stand for.
        plain: Whether many equal rows count as a copy even if each of them could be chance.
    """
    for copy in find_copies(rows, plain=plain):
        yield Finding(
            kind="rows-copied",
            place=f"{place}, {what} {copy.other!r}",
            found=f"{copy.num_equal} of {copy.num_rows} rows equal those of {copy.one!r}",
            expected=f"different rows, if {copy.other!r} and {copy.one!r} are different",
            remedy=f"find out where the rows of {copy.other!r} come from; if it was only renamed, keep one name",
        )


def _read_distinct(table: Path, column: str) -> list[str]:
    """Reads the distinct values of a column, sorted."""
    from pyarrow import parquet

    return sorted(parquet.read_table(table, columns=[column]).column(column).unique().to_pylist())


def _read_rows(table: Path, names: list[str]) -> Iterator[tuple[Any, ...]]:
    """Yields rows of the named columns, in the given order."""
    from pyarrow import parquet

    columns = parquet.read_table(table, columns=names)
    return zip(*(columns.column(name).to_pylist() for name in names), strict=True)
