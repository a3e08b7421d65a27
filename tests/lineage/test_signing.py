"""Signatures of releases: they hold for what was signed, by the key that signed it, and for nothing else."""

import errno
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from model_signing import signing

from rlaif_dagster.cli.sign import PASSWORD_VARIABLE, find_release, sign_command, verify_command
from rlaif_dagster.errors import CorruptVersionError, InputError, SignatureError, StorageError
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.releases import Release, find_policy
from rlaif_dagster.lineage.running import hold_run, no_run_starts
from rlaif_dagster.lineage.sharing import pull_project, push_project
from rlaif_dagster.lineage.signing import Verification, sign_release, verify_release
from rlaif_dagster.lineage.time_travel import checkout_version
from rlaif_dagster.progress import ignore_progress
from rlaif_dagster.versioning.store import init_store

from .candidates import build, release_texts
from .conftest import Keys
from .test_sharing import add_remote


@pytest.fixture
def project(default_project: Path) -> Project:
    return release_texts(default_project, "one")


@pytest.fixture
def release(project: Project) -> Release:
    return find_release(project, None)


def sign(project: Project, release: Release, keys: Keys, name: str = "me") -> tuple[Path, Path]:
    """Signs with a new key; gives the signature and the public key."""
    private, public = keys.make(name)
    return sign_release(project, release, private).path, public


def test_a_signature_holds_for_the_policy_the_release_and_the_history(
    project: Project, release: Release, keys: Keys
) -> None:
    """One file of weights, release.json and record.json; policy, evaluation and release are the whole history."""
    path, public = sign(project, release, keys)
    found = verify_release(project, release, public)
    sizes = [
        find_policy(project, release).output.size,
        release.record.output.size,
        len(release.record.to_bytes()),
    ]
    assert found == Verification(
        signature=found.signature,
        num_files=3,
        num_bytes=sum(sizes),
        num_records=len(project.ledger.records()),
    )
    assert found.signature.path == path
    assert path.parent == project.root / "signatures"


def test_signing_and_verifying_go_on_beside_a_run_and_wait_for_a_collection(
    project: Project, release: Release, keys: Keys
) -> None:
    with hold_run(project, "a-run"):
        _, public = sign(project, release, keys)
        assert verify_release(project, release, public).num_files == 3
    with ThreadPoolExecutor(1) as threads:
        with no_run_starts(project):  # as a collection does
            verifying = threads.submit(verify_release, project, release, public)
            with pytest.raises(TimeoutError):
                verifying.result(timeout=0.5)
        assert verifying.result().num_files == 3


def test_another_key_does_not_verify_and_is_told_whose_there_are(
    project: Project, release: Release, keys: Keys
) -> None:
    path, public = sign(project, release, keys)
    _, other = keys.make("other")
    signer = verify_release(project, release, public).signature.key.short
    with pytest.raises(SignatureError, match=rf"release 1 .* is not signed with the key .* with {signer}"):
        verify_release(project, release, other)
    # Not even if the signature is filed under the other key's name.
    name = verify_name(project, release, keys, other)
    shutil.copy(path, path.with_name(name))
    with pytest.raises(SignatureError, match=r"does not hold: .*[Kk]ey"):
        verify_release(project, release, other)


def verify_name(project: Project, release: Release, keys: Keys, public: Path) -> str:
    """The name that a signature by a key has: that of one made with it, which is removed."""
    path = sign_release(project, release, public.with_suffix(".key")).path
    path.unlink()
    return path.name


def test_weights_that_were_changed_do_not_verify(project: Project, release: Release, keys: Keys) -> None:
    _, public = sign(project, release, keys)
    [weights] = find_policy(project, release).output.files
    [stored] = [
        path
        for path in project.store.cache.folder.rglob("*")
        if path.is_file() and path.read_bytes() == b"one" and path.stat().st_size == weights.size
    ]
    stored.chmod(0o644)
    stored.write_bytes(b"One")
    stored.chmod(0o444)
    with pytest.raises(CorruptVersionError):
        verify_release(project, release, public)
    assert verify_command(project.root, None, public, as_json=False) == 1
    assert stored.read_bytes() == b"One"


def test_a_signature_does_not_hold_for_another_release(
    project: Project, release: Release, keys: Keys
) -> None:
    """Whoever can write every file can make a history that agrees with itself, but cannot sign it."""
    path, public = sign(project, release, keys)
    build(project, "two")
    second = find_release(project, None)
    forged = path.with_name(path.name.replace(release.record.record_id, second.record.record_id))
    shutil.copy(path, forged)
    with pytest.raises(
        SignatureError, match=r"release 2 does not hold: .*Hash mismatch for 'model.safetensors'"
    ):
        verify_release(project, second, public)
    assert verify_release(project, release, public).num_records == 3


@pytest.mark.parametrize("part", ["payload", "sig"])
@pytest.mark.parametrize("place", [0, 20, -8])
def test_a_changed_signature_does_not_hold(
    project: Project, release: Release, keys: Keys, part: str, place: int
) -> None:
    path, public = sign(project, release, keys)
    bundle = json.loads(path.read_text())
    holder = bundle["dsseEnvelope"] if part == "payload" else bundle["dsseEnvelope"]["signatures"][0]
    letters = list(holder[part])
    letters[place] = "A" if letters[place] != "A" else "B"
    holder[part] = "".join(letters)
    path.write_text(json.dumps(bundle))
    with pytest.raises(SignatureError, match="does not hold"):
        verify_release(project, release, public)


def test_the_private_key_is_nowhere_afterwards(
    project: Project, release: Release, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    private, _ = keys.make("me")
    secret = private.read_text().splitlines()[1]
    sign_command(project.root, None, private)
    printed = capsys.readouterr()
    assert secret not in printed.out + printed.err
    for path in project.root.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_a_key_in_the_project_is_refused(project: Project, release: Release, keys: Keys) -> None:
    private, _ = keys.make("me")
    inside = project.root / "inputs" / "me.key"
    shutil.copy(private, inside)
    with pytest.raises(InputError, match=r"git could publish it\n.*outside"):
        sign_release(project, release, inside)


def test_a_key_that_cannot_be_used_is_named_and_not_shown(
    project: Project, release: Release, keys: Keys
) -> None:
    for key in (
        keys.make("wrong curve", key=ed25519.Ed25519PrivateKey.generate()),
        keys.make("locked", password=b"x"),
    ):
        with pytest.raises(InputError, match="not a private key that can be used") as caught:
            sign_release(project, release, key[0])
        assert key[0].read_text().splitlines()[1] not in str(caught.value)
    _, public = keys.make("me")
    with pytest.raises(InputError, match="not a private key"):
        sign_release(project, release, public)
    with pytest.raises(InputError, match="not a public key"):
        verify_release(project, release, keys.folder / "missing.pub")


def test_an_encrypted_key_opens_with_its_password(
    project: Project, release: Release, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys.make("locked", password=b"open sesame")
    monkeypatch.setenv(PASSWORD_VARIABLE, "open sesame")
    sign_command(project.root, "1", private)
    assert verify_command(project.root, "1", public, as_json=False) == 0


def test_two_signers_at_once_do_not_meet(
    project: Project, release: Release, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one key, the second at the moment at which the first has just signed and nothing is in place."""
    private, public = keys.make("me")
    sign_in_library = signing.Config.sign
    paths: list[Path] = []

    def sign_twice(config: signing.Config, folder: Path, unfinished: Path) -> None:
        sign_in_library(config, folder, unfinished)
        paths.append(unfinished)
        if len(paths) == 1:
            with monkeypatch.context() as elsewhere:
                # Another process has a run lock of its own name.
                elsewhere.setattr("rlaif_dagster.lineage.signing.hold_run", lambda *_: nullcontext())
                sign_release(project, release, private)

    monkeypatch.setattr(signing.Config, "sign", sign_twice)
    path = sign_release(project, release, private).path
    assert len(set(paths)) == 2
    assert list(path.parent.iterdir()) == [path]
    assert verify_release(project, release, public).signature.path == path


def test_signing_that_fails_leaves_the_earlier_signature(
    project: Project, release: Release, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys.make("me")
    path = sign_release(project, release, private).path

    def run_full(config: signing.Config, folder: Path, unfinished: Path) -> None:
        unfinished.write_text('{"mediaType": ')
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(signing.Config, "sign", run_full)
    with pytest.raises(StorageError, match="free disk space"):
        sign_release(project, release, private)
    assert list(path.parent.iterdir()) == [path]
    assert verify_release(project, release, public).num_files == 3


@pytest.fixture
def there(project: Project, tmp_path: Path) -> Project:
    """Another machine with the same remote."""
    init_store(tmp_path / "theirs")
    for root in (project.root, tmp_path / "theirs"):
        add_remote(root, str(tmp_path / "remote"))
    return Project.open(tmp_path / "theirs")


def pull_lost(project: Project) -> tuple[str, ...]:
    return pull_project(project, heads_only=True, progress=ignore_progress).lost


def test_signatures_travel_with_the_versions(
    project: Project, release: Release, keys: Keys, there: Project
) -> None:
    path, public = sign(project, release, keys)
    push_project(Project.open(project.root), progress=ignore_progress)
    assert pull_lost(there) == ()
    assert (there.root / "signatures" / path.name).read_bytes() == path.read_bytes()
    assert verify_release(there, find_release(there, None), public).num_records == 3


def test_a_signature_that_was_cut_off_on_its_way_is_taken_when_it_is_whole(
    project: Project, release: Release, keys: Keys, there: Project, tmp_path: Path
) -> None:
    """In the remote by a push that was killed, or here: each side is fixed by the one that has it whole."""
    path, public = sign(project, release, keys)
    push_project(Project.open(project.root), progress=ignore_progress)
    whole = path.read_bytes()
    theirs, sent = (root / "signatures" / path.name for root in (there.root, tmp_path / "remote"))
    sent.write_bytes(whole[:-7])
    assert pull_lost(there) == (f"signatures/{path.name}",)
    assert not theirs.exists()
    push_project(Project.open(project.root), progress=ignore_progress)
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_bytes(whole[:9])
    push_project(Project.open(there.root), progress=ignore_progress)
    assert sent.read_bytes() == whole
    assert pull_lost(there) == ()
    assert verify_release(there, find_release(there, None), public).num_records == 3


def test_others_verify_it_without_this_package(
    project: Project, release: Release, keys: Keys, tmp_path: Path
) -> None:
    """As docs/standards.md says: the policy's folder, and beside it the release and its record."""
    from model_signing import verifying

    path, public = sign(project, release, keys)
    folder = tmp_path / "policy"
    checkout_version(project, f"aligned_policy@{release.policy.sha256}", folder)
    (folder / "rlaif").mkdir()
    shutil.copy(project.root / "data" / "released_policy" / "release.json", folder / "rlaif")
    shutil.copy(project.ledger.folder / f"{release.record.record_id}.json", folder / "rlaif" / "record.json")
    config = verifying.Config().use_elliptic_key_verifier(public_key=public)  # type: ignore[no-untyped-call]
    config.verify(folder, path)
    (folder / "model.safetensors").write_text("One")
    with pytest.raises(ValueError, match=r"Hash mismatch for 'model\.safetensors'"):
        config.verify(folder, path)


def test_nothing_is_verified_where_nothing_was_released(default_project: Path, keys: Keys) -> None:
    with pytest.raises(InputError, match="nothing has been released yet"):
        verify_command(default_project, None, keys.make("me")[1], as_json=False)
