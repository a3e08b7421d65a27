"""Two machines and one remote: what one made, the other proves and reuses; and both may edit at once."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlaif_dagster.cli.main import app
from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import LedgerError, StorageError
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.sharing import pull_project, push_project
from rlaif_dagster.progress import ignore_progress
from tests.conftest import REPOSITORY, call_rlaif, edit_yaml
from tests.lineage.audited_projects import audit, make_text_stage, name_findings, run
from tests.lineage.tiny_project import bring_up_to_date
from tests.versioning.conftest import run_git


def reword(project: Path, place: int, text: str) -> None:
    def change(constitution: dict[str, Any]) -> None:
        constitution["principles"][place]["text"] = text

    edit_yaml(project / "inputs" / "constitution.yaml", change)


def add_remote(root: Path, url: str, **settings: str) -> Project:
    """What `dvc remote add --default` and `dvc remote modify` do, without a process for each."""
    from dvc.config import Config

    with Config(str(root / ".dvc"), validate=True).edit("repo") as config:
        config["core"]["remote"] = "team"
        config["remote"]["team"] = {"url": url, **settings}
    return Project.open(root)


def set_locally(root: Path, **settings: str) -> None:
    """What `dvc remote modify --local` does."""
    from dvc.config import Config

    with Config(str(root / ".dvc")).edit("local") as config:
        config["remote"]["team"] = settings


def clone(root: Path, target: Path) -> Path:
    run_git(root, "add", "--all")
    run_git(root, "commit", "--quiet", "--allow-empty", "--message", "all")
    run_git(root.parent, "clone", "--quiet", str(root), str(target))
    return target


def push(root: Path) -> None:
    result = push_project(Project.open(root), progress=ignore_progress)
    assert result.lost == ()


def pull(root: Path) -> int:
    result = pull_project(Project.open(root), heads_only=False, progress=ignore_progress)
    assert result.lost == ()
    return result.num_records


@pytest.fixture
def ssh_remote(tmp_path: Path) -> Iterator[dict[str, str]]:
    if importlib.util.find_spec("sshfs") is None:
        pytest.skip("the extra `ssh` is not installed")
    import asyncssh

    folder = tmp_path / "ssh"
    folder.mkdir()
    for name in ("host_key", "user_key"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(folder / name)
        key.write_public_key(folder / f"{name}.pub")
        (folder / name).chmod(0o600)
    server = subprocess.Popen([sys.executable, "-m", "tests.lineage.ssh_server", str(folder)], cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + 30
        while not (folder / "port").is_file():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield {
            "url": f"ssh://tester@127.0.0.1/{tmp_path}/remote",
            "port": (folder / "port").read_text(),
            "keyfile": str(folder / "user_key"),
        }
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_two_machines_and_one_ssh_remote(
    tiny_base: Path, tmp_path: Path, ssh_remote: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make on one; pull, audit and reuse on the other; edit there, and back; then both edit at once.

    Two folders with a home each. All assets are made; what a model was trained to does not matter here.
    """
    one, two = Path(shutil.copytree(tiny_base, tmp_path / "one", symlinks=True)), tmp_path / "two"

    def work_on(root: Path) -> Project:
        monkeypatch.setenv("HOME", str(tmp_path / f"home of {root.name}"))
        return Project.open(root)

    def make(root: Path) -> set[str]:
        return {outcome.status for outcome in bring_up_to_date(work_on(root)).values()}

    def share(*roots: Path) -> None:
        for root in roots:
            work_on(root)
            for command in ("push", "pull"):
                done = CliRunner().invoke(app, [command, "--project", str(root)])
                assert done.exit_code == 0, done.output
                assert "versions are complete on both sides" in done.output

    def require_sound() -> None:
        for root in (one, two):
            work_on(root)
            assert audit(root).findings == ()

    keyfile = ssh_remote.pop("keyfile")
    add_remote(one, **ssh_remote)
    clone(one, two)
    for root in (one, two):  # each user's own
        set_locally(root, keyfile=keyfile)
    shutil.rmtree(two / "lineage")  # git brought it too; let the remote bring it alone
    share(one, two)
    assert (two / "data.dvc").read_bytes() == (one / "data.dvc").read_bytes()
    require_sound()
    assert make(two) == {"reused"}

    reword(two, 0, "Answer what was asked, and nothing else.")
    assert make(two) == {"computed", "reused"}
    share(two, one)
    require_sound()
    assert heads(one) == heads(two)

    reword(one, 1, "Say only what is true.")
    reword(two, 1, "Admit what you do not know.")
    for root in (one, two):
        make(root)
    share(one, two, one)
    require_sound()
    assert heads(one) == heads(two)
    texts = {
        principle["text"]
        for record in Project.open(one).ledger.records()
        if record.asset == "constitution"
        for principle in record.recipe_parts.settings["principles"]
    }
    assert {"Say only what is true.", "Admit what you do not know."} <= texts
    run_git(one, "checkout", "--", "inputs")
    assert make(one) == {"reused"}
    assert any(len(record.previous) > 1 for record in Project.open(one).ledger.records())  # one history again
    assert audit(one).findings == ()


def heads(root: Path) -> dict[str, str]:
    return {name: head.record_id for name, head in Project.open(root).ledger.find_heads().items()}


@pytest.fixture
def pair_of_machines(tmp_path: Path) -> tuple[Path, Path]:
    """Two projects without inputs, on one folder as their remote; the first has two records."""
    from rlaif_dagster.versioning.store import init_store

    roots = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        run_git(root, "init", "--quiet")
        init_store(root)
        add_remote(root, str(tmp_path / "remote"))
        roots.append(root)
    project = Project.open(roots[0])
    run(project, make_text_stage("a", "x"))
    run(project, make_text_stage("b", "y", ("a",)))
    return roots[0], roots[1]


def test_a_push_that_was_cut_off_goes_on(pair_of_machines: tuple[Path, Path], tmp_path: Path) -> None:
    """Whatever part of the remote is missing or half there, the next push makes it whole."""
    one, two = pair_of_machines
    push(one)
    for number, path in enumerate(
        sorted(path for path in (tmp_path / "remote").rglob("*") if path.is_file())
    ):
        path.chmod(0o644)
        if number % 2:
            path.unlink()
        else:
            os.truncate(path, path.stat().st_size // 2)
    push(one)
    assert pull(two) == 2
    assert name_findings(audit(two).findings) == []
    assert pull(two) == 0


def test_a_pull_that_was_cut_off_goes_on(pair_of_machines: tuple[Path, Path]) -> None:
    """Older records come first, and objects whole: whatever is not here yet, the next pull brings."""
    one, two = pair_of_machines
    push(one)
    assert pull(two) == 2
    newest = Project.open(two).ledger.records()[-1]
    (two / "lineage" / f"{newest.record_id}.json").unlink()
    objects = sorted(path for path in (two / ".dvc" / "cache" / "files").rglob("*") if path.is_file())
    for path in objects[::2]:
        path.unlink()
    assert pull(two) == 1
    assert name_findings(audit(two).findings) == []


def test_a_version_that_only_the_remote_has_is_not_lost(pair_of_machines: tuple[Path, Path]) -> None:
    one, two = pair_of_machines
    push(one)
    pull_project(Project.open(two), heads_only=True, progress=ignore_progress)
    shutil.rmtree(two / ".dvc" / "cache")
    result = push_project(Project.open(two), progress=ignore_progress)
    assert (result.lost, result.num_versions) == ((), 2)


def test_a_version_in_neither_place_is_named(pair_of_machines: tuple[Path, Path]) -> None:
    one, _ = pair_of_machines
    shutil.rmtree(one / ".dvc" / "cache")
    lost = push_project(Project.open(one), progress=ignore_progress).lost
    assert [name.split("@")[0] for name in lost] == ["a", "b"]
    assert call_rlaif("push", project=one).returncode == 1


def test_a_changed_record_of_the_remote_is_refused_and_nothing_taken(
    pair_of_machines: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = pair_of_machines
    push(one)
    record = next((tmp_path / "remote" / "lineage").iterdir())
    record.chmod(0o644)
    record.write_bytes(record.read_bytes().replace(b'"a"', b'"c"', 1))
    with pytest.raises(LedgerError, match="do not hash to its name"):
        pull(two)
    assert Project.open(two).ledger.records() == []


def test_a_missing_record_of_the_remote_is_named_and_nothing_taken(
    pair_of_machines: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = pair_of_machines
    push(one)
    first = Project.open(one).ledger.records()[0]
    (tmp_path / "remote" / "lineage" / f"{first.record_id}.json").unlink()
    with pytest.raises(LedgerError, match=first.record_id):
        pull(two)
    assert Project.open(two).ledger.records() == []


def test_damaged_bytes_of_the_remote_are_not_taken(
    pair_of_machines: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = pair_of_machines
    push(one)
    stored = next(
        path for path in (tmp_path / "remote" / "files").rglob("*") if path.is_file() and not path.suffix
    )
    stored.chmod(0o644)
    stored.write_bytes(b"other")
    with pytest.raises(StorageError, match="damaged"):
        pull(two)
    assert not any(
        Digest.from_file(path).sha256 == Digest.from_bytes(b"other").sha256
        for path in (two / ".dvc").rglob("*")
        if path.is_file()
    )


def test_without_a_remote_the_remedy_is_named(tmp_path: Path) -> None:
    from rlaif_dagster.versioning.store import init_store

    init_store(tmp_path)
    with pytest.raises(StorageError, match="dvc remote add"):
        push_project(Project.open(tmp_path), progress=ignore_progress)


@pytest.fixture
def s3_remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A server of the S3 protocol on this machine, with an empty bucket."""
    for name in ("dvc_s3", "moto"):
        if importlib.util.find_spec(name) is None:
            pytest.skip("the extra `s3` or its server for tests is not installed")
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tester")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="rlaif-tests")
    try:
        yield {"url": "s3://rlaif-tests/team", "endpointurl": address}
    finally:
        server.stop()


@pytest.mark.slow
def test_an_s3_remote_holds_what_any_remote_holds(
    pair_of_machines: tuple[Path, Path], s3_remote: dict[str, str]
) -> None:
    """Push, pull, audit; a push that was cut off; bytes that were damaged there are not taken."""
    import boto3

    one, two = pair_of_machines
    for root in (one, two):
        add_remote(root, **s3_remote)
    bucket = boto3.resource("s3", endpoint_url=s3_remote["endpointurl"]).Bucket("rlaif-tests")
    push(one)
    for number, stored in enumerate(bucket.objects.all()):
        if number % 3 == 0:
            stored.delete()
        elif number % 3 == 1:
            bucket.put_object(Key=stored.key, Body=stored.get()["Body"].read()[:-1])
    push(one)
    assert pull(two) == 2
    assert audit(two).findings == ()
    assert {key.key.split("/")[1] for key in bucket.objects.all()} == {"files", "lineage"}

    (stored, *_) = [key for key in bucket.objects.filter(Prefix="team/files") if not key.key.endswith(".dir")]
    bucket.put_object(Key=stored.key, Body=b"!" * stored.size)
    (two / ".dvc/cache" / stored.key.removeprefix("team/")).unlink()
    with pytest.raises(StorageError, match="damaged"):
        pull(two)
