"""An audit says of each signature whether it holds, changes nothing, and takes nobody's word for whose key it is."""

import json
import sys
from pathlib import Path

import pytest

from rlaif_dagster.errors import InputError, MissingExtraError
from rlaif_dagster.lineage.auditing.findings import AuditReport
from rlaif_dagster.lineage.project import Project

from .audited_projects import audit, name_findings
from .candidates import read_history, release_texts
from .conftest import Keys
from .test_signing import sign as sign_with_new_key


@pytest.fixture
def project(default_project: Path) -> Project:
    """Two releases."""
    return release_texts(default_project, "one", "two")


def sign(project: Project, keys: Keys, name: str, place: int = -1) -> tuple[Path, Path]:
    """Signs a release, the newest or another; gives the signature and the public key."""
    return sign_with_new_key(project, read_history(project).releases[place], keys, name)


def tell(report: AuditReport) -> list[tuple[str, bool | None]]:
    return [(each.file, each.holds) for each in report.signatures]


def test_a_signature_holds_where_the_key_is_named_and_is_told_where_it_is_not(
    project: Project, keys: Keys
) -> None:
    (first, mine), (second, _) = sign(project, keys, "me", 0), sign(project, keys, "other")
    report = audit(project.root, keys=[mine])
    assert report.findings == ()
    assert dict(tell(report)) == {f"signatures/{first.name}": True, f"signatures/{second.name}": None}
    [open_one] = [each for each in report.signatures if each.holds is None]
    assert open_one.key.removeprefix("sha256:") in second.name
    assert "rlaif audit --key FILE" in open_one.note
    assert tell(audit(project.root, "released_policy", keys=[])) == [(f"signatures/{second.name}", None)]


def test_a_signature_that_does_not_hold_is_found(project: Project, keys: Keys) -> None:
    """One of another release under this one's name, as from somebody who can write every file but has no key."""
    path, public = sign(project, keys, "me", 0)
    one, two = read_history(project).releases
    forged = path.with_name(path.name.replace(one.record.record_id, two.record.record_id))
    path.rename(forged)
    report = audit(project.root, keys=[public])
    assert name_findings(report.findings) == [("signature-broken", f"signatures/{forged.name}")]
    assert "Hash mismatch for 'model.safetensors'" in report.findings[0].found
    forged.write_bytes(forged.read_bytes()[:40])
    assert name_findings(audit(project.root, keys=[public]).findings) == [
        ("signature-broken", f"signatures/{forged.name}")
    ]
    assert audit(project.root, keys=[]).findings == ()


@pytest.mark.parametrize("envelope", [{"signatures": []}, {}, [], None])
def test_a_signature_file_that_is_malformed_is_a_finding(
    project: Project, keys: Keys, envelope: object
) -> None:
    path, public = sign(project, keys, "me")
    bundle = json.loads(path.read_bytes())
    path.write_text(json.dumps({**bundle, "dsseEnvelope": envelope}))
    assert name_findings(audit(project.root, keys=[public]).findings) == [
        ("signature-broken", f"signatures/{path.name}")
    ]


def test_a_signature_is_open_where_the_signed_bytes_are_not_sound(project: Project, keys: Keys) -> None:
    path, public = sign(project, keys, "me")
    [stored] = [
        file
        for file in project.store.cache.folder.rglob("*")
        if file.is_file() and file.stat().st_size == 3 and file.read_bytes() == b"two"
    ]
    stored.chmod(0o644)
    stored.write_bytes(b"six")
    report = audit(project.root, keys=[public])
    assert ("signature-broken", f"signatures/{path.name}") not in name_findings(report.findings)
    assert tell(report) == [(f"signatures/{path.name}", None)]
    assert "object-changed" in {finding.kind for finding in report.findings}


def test_a_key_that_signed_no_release_is_found(project: Project, keys: Keys) -> None:
    """Whoever names a key expects a signature: one that was taken away is missed."""
    path, public = sign(project, keys, "me")
    path.unlink()
    report = audit(project.root, keys=[public])
    assert name_findings(report.findings) == [("signature-missing", "signatures/")]
    policy_only = audit(project.root, "aligned_policy", keys=[public])
    assert policy_only.findings == ()
    assert any("none of the audited versions is a release" in words for words in policy_only.skipped)


def test_a_signed_record_that_is_gone_is_missed(project: Project, keys: Keys) -> None:
    """Though it was the newest, which no other record names."""
    path, _ = sign(project, keys, "me")
    release = read_history(project).releases[-1].record
    (project.ledger.folder / f"{release.record_id}.json").unlink()
    findings = name_findings(audit(project.root, keys=[]).findings)
    assert ("record-missing", f"signatures/{path.name}") in findings


def test_without_the_extra_an_audit_with_a_key_says_what_to_install(
    project: Project, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not say that a signature is missing; without a key it looks at everything else."""
    path, public = sign(project, keys, "me")
    path.unlink()
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rlaif-dagster\[standards\]'"):
        audit(project.root, keys=[public])
    assert audit(project.root, keys=[]).findings == ()


def test_what_is_no_key_stops_the_audit(project: Project, keys: Keys) -> None:
    with pytest.raises(InputError, match="not a public key"):
        audit(project.root, keys=[keys.folder / "missing.pub"])
