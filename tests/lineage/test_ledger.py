import datetime
import json
import multiprocessing
from pathlib import Path

import pytest

from rlaif_dagster.errors import LedgerError, StorageError
from rlaif_dagster.inputs.overrides import Override
from rlaif_dagster.lineage.ledger import Ledger
from rlaif_dagster.lineage.record import GitRef, MaterialisationRecord, Output, Recipe

TIME = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def make_record(asset: str, sequence: int, previous: tuple[str, ...]) -> MaterialisationRecord:
    recipe = Recipe(asset=asset, code_version="1", settings={}, inputs={}, engine={})
    return MaterialisationRecord(
        sequence=sequence,
        previous=previous,
        asset=asset,
        recipe=str(recipe.digest),
        recipe_parts=recipe,
        inputs={},
        output=Output(digest="sha256:" + "0" * 64, md5="0" * 32 + ".dir", size=0, files=()),
        rows=None,
        counts={},
        metrics={},
        checks=(),
        libraries={},
        git=GitRef(commit=None, dirty=None),
        run_id=None,
        started_at=TIME,
        ended_at=TIME,
        reused_from=None,
    )


def append(folder: Path, asset: str) -> MaterialisationRecord:
    ledger = Ledger(folder / "lineage", scratch=folder / "scratch")
    return ledger.append(lambda sequence, previous: make_record(asset, sequence, previous))


def read(folder: Path) -> list[MaterialisationRecord]:
    return Ledger(folder / "lineage", scratch=folder / "scratch").records()


def test_records_form_a_chain(tmp_path: Path) -> None:
    records = [append(tmp_path, name) for name in "abc"]
    assert read(tmp_path) == records
    assert [record.sequence for record in records] == [1, 2, 3]
    assert [record.previous for record in records] == [(), (records[0].record_id,), (records[1].record_id,)]


def test_a_record_reads_back_from_its_bytes() -> None:
    record = make_record("a", 3, ("0" * 64,))
    assert MaterialisationRecord.from_bytes(record.to_bytes(), name="record") == record


OLD = (
    b'{"asset":"a","checks":[],"counts":{},"ended_at":"2026-01-01T00:00:00Z","format":1,"git":{"commit":null,'
    b'"dirty":null},"inputs":{},"libraries":{},"metrics":{},"output":{"digest":"sha256:' + b"0" * 64 + b'",'
    b'"files":[],"md5":"' + b"0" * 32 + b'.dir","size":0},"previous":["' + b"0" * 64 + b'"],"recipe":"sha256:'
    b'9d542f9c6f4a07f412a1850571e753de8306e69172e250a07788aa8cf76e40cf","recipe_parts":{"asset":"a",'
    b'"code_version":"1","engine":{},"inputs":{},"settings":{}},"reused_from":null,"rows":null,"run_id":null,'
    b'"sequence":3,"started_at":"2026-01-01T00:00:00Z"}'
)
"""A record as it was written before there were overrides and reasons."""


def test_a_record_of_an_earlier_version_keeps_its_bytes_and_its_id() -> None:
    record = MaterialisationRecord.from_bytes(OLD, name="record")
    assert record.to_bytes() == OLD
    assert record.record_id == "fe8ca42e669f3e644b30808c79d260c0dd3f85bee00f5c63e6c3a0b1fb9af730"
    assert (record.overrides, record.reason) == ((), None)


def test_overrides_and_a_reason_are_in_the_bytes() -> None:
    override = Override(asset="a", digest="sha256:" + "0" * 64, check="gate", reason="because")
    record = make_record("b", 1, ()).model_copy(update={"overrides": (override,), "reason": "rolled back"})
    assert json.loads(record.to_bytes())["overrides"] == [override.model_dump()]
    assert MaterialisationRecord.from_bytes(record.to_bytes(), name="record") == record


def test_two_writers_merge_by_the_union_of_their_files(tmp_path: Path) -> None:
    for name in ("here", "there"):
        append(tmp_path / name, "start")
        append(tmp_path / name, name)
    for file in (tmp_path / "there" / "lineage").iterdir():
        (tmp_path / "here" / "lineage" / file.name).write_bytes(file.read_bytes())
    merged = append(tmp_path / "here", "end")
    ids = {record.asset: record.record_id for record in read(tmp_path / "here")}
    assert sorted(ids) == ["end", "here", "start", "there"]
    assert merged.previous == tuple(sorted((ids["here"], ids["there"])))
    assert merged.sequence == 3


@pytest.mark.parametrize("position", [0, 10, 200, -1])
def test_a_changed_byte_is_found(tmp_path: Path, position: int) -> None:
    append(tmp_path, "a")
    [file] = (tmp_path / "lineage").iterdir()
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(LedgerError, match="do not hash to its name"):
        read(tmp_path)


def test_a_missing_record_is_found(tmp_path: Path) -> None:
    first = append(tmp_path, "a")
    append(tmp_path, "b")
    (tmp_path / "lineage" / f"{first.record_id}.json").unlink()
    with pytest.raises(LedgerError, match=f"the record {first.record_id} is missing"):
        read(tmp_path)


@pytest.mark.slow
def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        pool.starmap(append, [(tmp_path, f"asset{number}") for number in range(16)])
    records = read(tmp_path)
    assert [record.sequence for record in records] == list(range(1, 17))
    assert len({record.previous for record in records}) == 16


def test_a_ledger_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "lineage").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        append(tmp_path, "a")
