"""A clone whose settings name programs: no command starts one."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from rlaif_dagster.defs.events import read_events
from rlaif_dagster.defs.execution import prepare_dagster_home
from rlaif_dagster.errors import StorageError
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.versioning.git import read_git_state
from rlaif_dagster.versioning.store import Store, init_store
from tests.lineage.hostile_clones import READING, call, call_all, clone
from tests.versioning.conftest import commit_all, run_git

from .conftest import Keys
from .test_sharing import add_remote, set_locally

NOWHERE = {"url": "s3://bucket/team", "endpointurl": "http://127.0.0.1:9", "region": "us-east-1"}
"""A remote that answers nobody; keys for it are looked for before it is asked."""

USING = (
    ("run", "constitution"),
    ("pull",),
    ("push",),
    ("checkout", "aligned_policy", "{out}"),
    *(
        (*command, "--remote")
        for command in READING
        if command[0] in ("audit", "trace", "diff", "export", "report", "chat")
    ),
)
"""Commands that may use the remote."""


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the clone's program makes."""
    for name in ("DAGSTER_HOME", "RLAIF_PROJECT"):
        monkeypatch.setenv(name, "")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CONFIG_FILE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "marker"


def write_aws_config(root: Path, marker: Path) -> dict[str, str]:
    """A tracked AWS config with a profile that starts a program; returns the options that name it."""
    keys = {"Version": 1, "AccessKeyId": "theirs", "SecretAccessKey": "theirs"}
    program = root / "keys.sh"
    program.write_text(
        f"#!/bin/sh\necho ran >> {shlex.quote(str(marker))}\necho {shlex.quote(json.dumps(keys))}\n"
    )
    program.chmod(0o755)
    (root / "aws.cfg").write_text(f"[profile theirs]\ncredential_process = {program}\nregion = us-east-1\n")
    return {"profile": "theirs", "configpath": str(root / "aws.cfg")}


@pytest.mark.slow
def test_a_program_that_a_clone_names_runs_in_no_command(
    released: Project, tmp_path: Path, marker: Path, keys: Keys
) -> None:
    """Nothing of the store is here, so that every command would want the remote."""
    pytest.importorskip("dvc_s3")
    theirs = Path(shutil.copytree(released.root, tmp_path / "theirs", symlinks=True))
    add_remote(theirs, **NOWHERE, **write_aws_config(theirs, marker))
    root = clone(theirs, tmp_path / "mine")
    _, public = keys.make("signer")
    told = [str(result.exception) for result in call_all(root, READING)]
    told.append(str(call(root, "verify", "--key", str(public)).exception))
    assert not marker.exists()
    assert not any(
        "profile" in words for words in told
    )  # no remote was opened, so its options disturb nobody
    assert any("`rlaif pull`, or the same command with `--remote`" in words for words in told)
    for command in USING:
        arguments = [argument.format(out=tmp_path / "out") for argument in command]
        words = str(call(root, *arguments).exception)
        assert not marker.exists(), command
        if command[0] in ("pull", "push", "checkout", "report"):
            assert "sets profile" in words or "sets configpath" in words
            assert "dvc remote modify --local team" in words


def test_an_own_profile_is_used(store: Store, tmp_path: Path, marker: Path) -> None:
    """The same options in this user's own settings: the program is theirs to name."""
    pytest.importorskip("dvc_s3")
    add_remote(store.root, **NOWHERE)
    set_locally(store.root, **write_aws_config(store.root, marker))
    with pytest.raises(StorageError, match="DVC remote 'team'"):
        Store.open(store.root).push(["0" * 32 + ".dir"])
    assert marker.read_text() == "ran\n"


@pytest.mark.parametrize(
    "settings",
    [
        {"profile": "theirs"},
        {"configpath": "aws.cfg"},
        {"credentialpath": "keys"},
        {"url": "ssh://host/path", "keyfile": "key"},
        {"url": "ssh://host/path", "ask_password": "true"},
        {"url": "ssh://-oProxyCommand=touch@host/path"},
        {"url": "ssh://-oProxyCommand=touch/path"},
        {"url": "ssh://$(touch marker)/path"},
        {"url": "ssh://host;touch/path"},
        {"url": "ssh://host/path", "user": "-oProxyCommand=touch"},
        {"url": "ssh://host/path", "user": "`touch marker`"},
        {"url": "remote://other/path"},
        {"url": "gdrive://folder"},
        {"url": "hdfs://host/path"},
        {"url": "https://host/path"},
        {"endpointurl": "file:///etc/passwd"},
        {"region": "x.example.org/"},
        {"ssl_verify": "false"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["config", "config.local"])
def test_of_a_remote_only_its_address_comes_from_tracked_files(
    store: Store, settings: dict[str, str], name: str
) -> None:
    _write(store.root, name, {"url": "s3://bucket/path"} | settings)
    if name == "config.local":
        run_git(store.root, "add", "--force", ".dvc/config.local")
    option = list(settings)[-1]
    with pytest.raises(StorageError, match=rf"\.dvc/{name}: the remote 'team' sets {option}(.|\n)*remedy"):
        Store.open(store.root).require_remote()


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "{folder}"},
        {"url": "../relative folder"},
        {"url": "ssh://me@host.example.org:22/srv/rlaif", "port": "2222", "user": "me_2"},
        {"url": "ssh://[2001:db8::1]/srv"},
    ],
    ids=str,
)
def test_an_address_in_tracked_files_is_used(store: Store, tmp_path: Path, settings: dict[str, str]) -> None:
    pytest.importorskip("dvc_ssh")
    _write(store.root, "config", {name: value.format(folder=tmp_path) for name, value in settings.items()})
    assert Store.open(store.root).require_remote().name == "team"


def test_what_this_user_sets_replaces_what_the_project_says(store: Store, tmp_path: Path) -> None:
    _write(store.root, "config", {"url": "gdrive://folder", "profile": "theirs"})
    _write(store.root, "config.local", {"url": str(tmp_path), "profile": "mine"})
    with pytest.raises(StorageError, match="profile") as refused:
        Store.open(store.root).require_remote()  # a folder has no profile: DVC says so, not we
    assert "sets profile" not in str(refused.value)
    _write(store.root, "config", {"url": "gdrive://folder"})
    _write(store.root, "config.local", {"url": str(tmp_path)})
    assert Store.open(store.root).require_remote().root == str(tmp_path)


def test_a_reference_to_another_remote_does_not_get_around_the_rule(store: Store) -> None:
    with (store.root / ".dvc" / "config").open("a") as stream:
        stream.write("['remote \"base\"']\n    url = s3://bucket\n    profile = theirs\n")
    _write(store.root, "config.local", {"url": "remote://base/path"})
    with pytest.raises(StorageError, match="the remote 'base' sets profile"):
        Store.open(store.root).require_remote()


def test_settings_that_git_cannot_vouch_for_are_not_this_users(store: Store) -> None:
    """A repository that git does not open (another user's, a damaged one): the strict answer."""
    _write(store.root, "config.local", {"url": "s3://bucket", "profile": "theirs"})
    (store.root / ".git" / "HEAD").write_text("damaged")
    with pytest.raises(StorageError, match=r"config\.local: the remote 'team' sets profile"):
        Store.open(store.root).require_remote()


def test_settings_that_a_submodule_brings_are_not_this_users(store: Store, tmp_path: Path) -> None:
    """`git clone --recurse-submodules` fills `.dvc`, of which the project's own index knows no file."""
    _write(store.root, "config.local", {"url": "s3://bucket", "profile": "theirs"})
    theirs = tmp_path / "theirs.dvc"
    shutil.copytree(store.root / ".dvc", theirs)
    (theirs / ".gitignore").unlink()
    run_git(theirs, "init", "--quiet")
    commit_all(theirs, "all")
    run_git(store.root, "rm", "-r", "--cached", "--quiet", "--ignore-unmatch", ".dvc")
    shutil.rmtree(store.root / ".dvc")
    allow = ("-c", "protocol.file.allow=always")
    run_git(store.root, *allow, "submodule", "--quiet", "add", str(theirs), ".dvc")
    commit_all(store.root, "all")
    root = tmp_path / "mine"
    run_git(tmp_path, *allow, "clone", "--quiet", "--recurse-submodules", str(store.root), str(root))
    assert (root / ".dvc" / "config.local").is_file()
    with pytest.raises(StorageError, match=r"config\.local: the remote 'team' sets profile"):
        Store.open(root).require_remote()


@pytest.mark.parametrize("add", [("add", "--force"), ()], ids=["tracked", "own"])
def test_a_clone_does_not_choose_where_dagster_keeps_its_runs(
    store: Store, tmp_path: Path, marker: Path, add: tuple[str, ...]
) -> None:
    """Such settings name servers, folders, Python classes, and variables that are sent as passwords."""
    elsewhere = tmp_path / "elsewhere"
    settings = store.root / ".dagster" / "dagster.yaml"
    settings.parent.mkdir()
    settings.write_text(f"storage: {{sqlite: {{base_dir: {elsewhere}}}}}\n")
    if add:
        run_git(store.root, *add, ".dagster/dagster.yaml")
    project = Project.open(store.root)
    events = read_events(project.dagster_home)
    assert elsewhere.exists() is not bool(add)
    if add:
        assert events.unread is not None
        assert "git tracks" in events.unread
        with pytest.raises(StorageError, match=r"dagster\.yaml: git tracks (.|\n)*remedy: .*git rm --cached"):
            prepare_dagster_home(project)
        assert not elsewhere.exists()
    else:
        prepare_dagster_home(project)


def test_tracked_files_name_no_cache_outside_the_project(store: Store, tmp_path: Path) -> None:
    """Objects are written and removed there."""
    with (store.root / ".dvc" / "config").open("a") as stream:
        stream.write(f"[cache]\n    dir = {tmp_path / 'theirs'}\n")
    with pytest.raises(StorageError, match=r"is outside the project(.|\n)*remedy: .*--local"):
        Store.open(store.root)
    (store.root / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {tmp_path / 'mine'}\n")
    assert Store.open(store.root).cache.folder == tmp_path / "mine"
    (store.root / ".dvc" / "config.local").unlink()
    text = (store.root / ".dvc" / "config").read_text()
    (store.root / ".dvc" / "config").write_text(text.replace(str(tmp_path / "theirs"), "../objects"))
    assert Store.open(store.root).cache.folder == store.root / "objects"


def test_a_bare_repository_among_the_files_of_a_clone_starts_nothing(tmp_path: Path, marker: Path) -> None:
    """Git takes a folder with HEAD, objects/ and refs/ for a repository, and its settings name programs."""
    root = tmp_path / "top" / "project"
    run_git(tmp_path, "init", "--quiet", "--bare", str(root))
    run_git(tmp_path, "init", "--quiet", str(root.parent))
    tree = run_git(root, "mktree").strip()
    commit = run_git(root, "commit-tree", "-m", "none", tree)
    (root / "HEAD").write_text(commit)
    (root / "config").write_text(
        f"[core]\n    repositoryformatversion = 0\n    bare = false\n    worktree = {root}\n"
        f'    fsmonitor = "echo ran > {marker}; false"\n'
    )
    read_git_state(root)
    assert not marker.exists()
    _write(init_store(root).root, "config.local", {"url": "s3://bucket", "profile": "theirs"})
    with pytest.raises(StorageError, match="sets profile"):
        Store.open(root).require_remote()


def _write(root: Path, name: str, settings: dict[str, str]) -> None:
    """Writes a remote's settings into one of DVC's files."""
    lines = "".join(f"    {option} = {value}\n" for option, value in settings.items())
    core = "[core]\n    remote = team\n" if name == "config.local" else "    remote = team\n"
    path = root / ".dvc" / name
    shared = "[core]\n    analytics = false\n" if name == "config" else ""
    path.write_text(f"{shared}{core}['remote \"team\"']\n{lines}")
