"""The index changes what a query costs, never what it answers."""

import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.errors import LedgerError
from rlaif_dagster.lineage.ledger import Ledger
from rlaif_dagster.lineage.ledger_index import FILE_NAME, read_index
from rlaif_dagster.lineage.record import MaterialisationRecord, Recipe
from tests.lineage.test_ledger import append, make_record

ASSETS = ("a", "b", "a", "c", "b", "a")
AHEAD_NS = 4_000_000_000 * 10**9
"""A time in the year 2096, so that it is the newest on a folder."""


def open_ledger(folder: Path) -> Ledger:
    return Ledger(folder / "lineage", scratch=folder / "scratch")


def index_of(folder: Path) -> Path:
    return folder / "scratch" / FILE_NAME


def file_of(folder: Path, record: MaterialisationRecord) -> Path:
    return folder / "lineage" / f"{record.record_id}.json"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[MaterialisationRecord]]:
    folder = tmp_path_factory.mktemp("ledger")
    return folder, [append(folder, asset) for asset in ASSETS]


@pytest.fixture
def folder(written: tuple[Path, object], tmp_path: Path) -> Path:
    """A folder of its own with the six records and their index."""
    return Path(shutil.copytree(written[0], tmp_path / "ledger"))


@pytest.fixture
def records(written: tuple[object, list[MaterialisationRecord]]) -> list[MaterialisationRecord]:
    return written[1]


def check_answers(ledger: Ledger, records: list[MaterialisationRecord]) -> None:
    """Every query answers what a look through all records, oldest first, would."""
    assets = {record.asset for record in records}
    assert ledger.find_heads() == {record.asset: record for record in records}
    for asset in assets | {"never made"}:
        newest_first = [record for record in reversed(records) if record.asset == asset]
        recipe = make_record(asset, 1, ()).recipe_parts
        assert ledger.find_head(asset) == next(iter(newest_first), None)
        assert list(ledger.find_recipe(recipe.digest)) == newest_first
        assert list(ledger.find_made_alike(recipe)) == newest_first
    assert ledger.records() == records


def test_queries_answer_as_a_look_through_all_records_would(
    folder: Path, records: list[MaterialisationRecord]
) -> None:
    check_answers(open_ledger(folder), records)
    assert set(read_index(index_of(folder))) == {record.record_id for record in records}


@given(data=st.data())
def test_a_damaged_index_is_fixed_and_never_believed(
    written: tuple[Path, list[MaterialisationRecord]],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    """Bytes are cut out, put in or replaced anywhere; what is left of the index is used, the rest is read again."""
    folder, records = written
    scratch = tmp_path_factory.mktemp("scratch")
    whole = index_of(folder).read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 500)))
    put_in = data.draw(st.binary(max_size=20) | st.just(b"\n") | st.just(whole[:300]))
    (scratch / FILE_NAME).write_bytes(whole[:start] + put_in + whole[end:])
    check_answers(Ledger(folder / "lineage", scratch=scratch), records)
    assert set(read_index(scratch / FILE_NAME)) == {record.record_id for record in records}


def test_a_ledger_answers_without_an_index_and_where_none_can_be_written(
    folder: Path, records: list[MaterialisationRecord]
) -> None:
    shutil.rmtree(folder / "scratch")
    check_answers(open_ledger(folder), records)
    assert index_of(folder).is_file()
    shutil.rmtree(folder / "scratch")
    (folder / "scratch").write_text("a file where the folder should be")
    check_answers(open_ledger(folder), records)


def test_only_the_records_asked_for_are_read(folder: Path, records: list[MaterialisationRecord]) -> None:
    """A changed record is no obstacle to those who do not need it, and is found by whoever reads it."""
    oldest, newest = records[0], records[-1]
    file_of(folder, oldest).write_bytes(b"{}")
    ledger = open_ledger(folder)
    assert ledger.find_heads() == {record.asset: record for record in records}
    assert next(ledger.find_recipe(newest.recipe_parts.digest)) == newest
    with pytest.raises(LedgerError, match=f"{oldest.record_id}.*do not hash to its name"):
        list(ledger.find_recipe(newest.recipe_parts.digest))
    with pytest.raises(LedgerError, match="do not hash to its name"):
        open_ledger(folder).records()


def test_a_replaced_head_is_found(folder: Path, records: list[MaterialisationRecord]) -> None:
    other = records[-1].model_copy(update={"rows": 7})
    file_of(folder, records[-1]).write_bytes(other.to_bytes())
    with pytest.raises(LedgerError, match="do not hash to its name"):
        open_ledger(folder).find_heads()


@pytest.mark.parametrize("dropped", range(len(ASSETS) - 1))
def test_a_missing_record_is_found_though_the_index_knows_it(
    folder: Path, records: list[MaterialisationRecord], dropped: int
) -> None:
    ledger = open_ledger(folder)
    ledger.find_heads()
    file_of(folder, records[dropped]).unlink()
    for reader in (ledger, open_ledger(folder)):
        with pytest.raises(LedgerError, match=f"the record {records[dropped].record_id} is missing"):
            reader.find_heads()
        with pytest.raises(LedgerError, match="is missing"):
            reader.append(lambda sequence, previous: make_record("d", sequence, previous))


def test_records_that_git_takes_away_or_brings_are_noticed_at_once(
    folder: Path, records: list[MaterialisationRecord]
) -> None:
    """An older commit is checked out, and the newer one again, under a ledger that stays open."""
    ledger = open_ledger(folder)
    for number in (6, 5, 3, 0, 2, 4, 6):
        for record in records[number:]:
            file_of(folder, record).unlink(missing_ok=True)
        for record in records[:number]:
            file_of(folder, record).write_bytes(record.to_bytes())
        check_answers(ledger, records[:number])
        check_answers(open_ledger(folder), records[:number])


def test_a_writer_sees_what_another_wrote_just_now(tmp_path: Path) -> None:
    ledgers = [open_ledger(tmp_path), open_ledger(tmp_path)]
    written: list[MaterialisationRecord] = []
    for number in range(10):
        writer, reader = ledgers[number % 2], ledgers[(number + 1) % 2]
        written.append(writer.append(lambda sequence, previous: make_record("a", sequence, previous)))
        assert reader.find_head("a") == written[-1]
    assert [record.sequence for record in written] == list(range(1, 11))


def test_other_code_or_another_engine_is_another_maker(tmp_path: Path) -> None:
    def write(**changed: object) -> MaterialisationRecord:
        recipe = make_record("a", 1, ()).recipe_parts.model_copy(update=changed)
        return open_ledger(tmp_path).append(
            lambda sequence, previous: make_record("a", sequence, previous).model_copy(
                update={"recipe": str(recipe.digest), "recipe_parts": recipe}
            )
        )

    first = write()
    write(code_version="2")
    write(engine={"pyarrow": "1"})
    last = write(settings={"other": 1}, inputs={"b": "sha256:" + "1" * 64})
    wanted: Recipe = first.recipe_parts
    assert list(open_ledger(tmp_path).find_made_alike(wanted)) == [last, first]


def test_an_index_that_repeats_itself_is_written_anew(
    folder: Path, records: list[MaterialisationRecord]
) -> None:
    """Many processes that meet the same new records at once each write them down."""
    once = index_of(folder).read_bytes()
    index_of(folder).write_bytes(once * 1000)
    check_answers(open_ledger(folder), records)
    assert sorted(index_of(folder).read_bytes().split()) == sorted(once.split())


def copy_record(source: Path, target: Path, record: MaterialisationRecord) -> None:
    (target / "lineage").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file_of(source, record), file_of(target, record))


@pytest.mark.parametrize("age_seconds", [-1.0, 0.0, 0.004, 1.9])
def test_a_listing_that_was_made_within_the_clocks_grain_of_a_change_is_made_again(
    folder: Path,
    records: list[MaterialisationRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    age_seconds: float,
) -> None:
    """Two changes may leave the same time on a folder, up to two seconds apart on some disks."""
    other = tmp_path / "other"
    monkeypatch.setattr(time, "time_ns", lambda: AHEAD_NS + round(age_seconds * 1e9))
    ledger = open_ledger(other)
    for number, record in enumerate(records, start=1):
        copy_record(folder, other, record)
        os.utime(other / "lineage", ns=(AHEAD_NS, AHEAD_NS))
        assert ledger.records() == records[:number]
        assert ledger.find_head(record.asset) == record


def test_records_that_come_faster_than_the_clock_ticks_are_all_seen(tmp_path: Path) -> None:
    """Each is looked for right after it came, as by a process that runs beside the writer."""
    written = [append(tmp_path / "written", f"asset{number}") for number in range(40)]
    reader = open_ledger(tmp_path / "read")
    for number, record in enumerate(written, start=1):
        copy_record(tmp_path / "written", tmp_path / "read", record)
        assert len(reader.records()) == number
