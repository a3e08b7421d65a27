"""Signs and verifies releases with OpenSSF model-signing and a key pair, offline.

What is signed is a folder: the released policy's files, and beside them `rlaif/release.json` (which evaluation, which
checks, which versions it was made from) and `rlaif/record.json`, its lineage record. A record names its predecessors by
digest, so the whole history up to the release is signed too.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlaif_dagster.digest import Digest, iter_files
from rlaif_dagster.errors import InputError, SignatureError
from rlaif_dagster.extras import STANDARDS, using_extra
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.releases import Release, find_policy
from rlaif_dagster.lineage.reuse import work_folder
from rlaif_dagster.lineage.running import hold_run
from rlaif_dagster.lineage.services import view_version
from rlaif_dagster.lineage.tracing.subjects import open_versions
from rlaif_dagster.names import RELEASE_JSON, RELEASED_POLICY
from rlaif_dagster.versioning.scratch import raising_storage_errors, write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from model_signing.hashing import Config

SIGNATURES: Final = "signatures"
"""The folder of signatures, in a project and in its remote."""
SIGNATURE_SUFFIX: Final = ".sig"
_NAME: Final = re.compile(r"([0-9a-f]{64})\.([0-9a-f]{64})\.sig")
RECORD_JSON: Final = "record.json"
BESIDE: Final = "rlaif"
"""The folder beside the policy's files with the other signed files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature of a release.

    Attributes:
        path: The file.
        key: sha256 of the public key, which identifies it; not a secret.
    """

    path: Path
    key: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a valid signature proves.

    Attributes:
        signature: The signature.
        num_files: Number of signed files.
        num_bytes: Number of signed bytes.
        num_records: Number of lineage records up to the release, each named by the next.
    """

    signature: Signature
    num_files: int
    num_bytes: int
    num_records: int


def sign_release(
    project: Project, release: Release, key: Path, *, password: bytes | None = None
) -> Signature:
    """Signs a release and stores the signature in the project. The key is only read: never copied or named.

    Args:
        project: The project.
        release: The release.
        key: A private key of an elliptic curve (NIST P-256, P-384 or P-521), PEM; not inside the project.
        password: The password of an encrypted key.

    Raises:
        InputError: If the key cannot be used, or is inside the project.
        CorruptVersionError: If stored bytes are not those recorded.
        StorageError: If a version is not available, or the signature cannot be written.
        MissingExtraError: If the library is not installed.
    """
    with using_extra(STANDARDS):
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from model_signing import signing

    if key.resolve().is_relative_to(project.root):
        raise InputError(
            "the private key is inside the project, so git could publish it",
            file=key,
            remedy="move it outside the project, where only the people who sign can read it",
        )
    config = signing.Config()  # type: ignore[no-untyped-call]
    with _naming_key(key, "private"):
        identity = _identify(load_pem_private_key(key.read_bytes(), password).public_key())
        config.use_elliptic_key_signer(private_key=key, password=password)  # type: ignore[arg-type] # bytes in truth
    signature = Signature(path=_path_of(project, release, identity), key=identity)
    config.set_hashing_config(_hash_all())
    with _stage(project, release) as folder, raising_storage_errors(signature.path):
        unfinished = folder.with_suffix(SIGNATURE_SUFFIX)
        config.sign(folder, unfinished)
        write_whole(signature.path, unfinished.read_bytes(), scratch=project.scratch / "scratch")
    return signature


def verify_release(project: Project, release: Release, key: Path) -> Verification:
    """Verifies that the holder of a key signed a release, and that it is unchanged.

    Args:
        project: The project.
        release: The release.
        key: The public key, PEM.

    Raises:
        InputError: If the key cannot be used.
        LedgerError: If the history is damaged.
        SignatureError: If there is no signature by this key, or it is not valid.
        CorruptVersionError: If stored bytes are not those recorded.
        StorageError: If a version is not available.
        MissingExtraError: If the library is not installed.
    """
    identity = identify_public_key(key)
    signature = Signature(path=_path_of(project, release, identity), key=identity)
    if not signature.path.is_file():
        others = [found.key.short for found in find_signatures(project, release)]
        raise SignatureError(
            f"release {release.number} ({release.digest.short}) is not signed with the key {identity.short}"
            + (f"; it is signed with {', '.join(others)}" if others else "")
            + ".\n  remedy: name another key, or get signatures/ from the machine that signed it (`rlaif pull`)"
        )
    with _stage(project, release) as folder:
        fault = find_fault(folder, signature.path, key)
        if fault is not None:
            raise SignatureError(
                f"{signature.path}: the signature of release {release.number} does not hold: {fault}.\n"
                "  remedy: the release here is not what was signed; `rlaif audit` shows what changed"
            )
        files = [path.stat().st_size for path in iter_files(folder)]
    return Verification(
        signature=signature,
        num_files=len(files),
        num_bytes=sum(files),
        num_records=_count_history(project, release.record),
    )


def identify_public_key(key: Path) -> Digest:
    """Computes the identity of a public key, after checking that it can be used.

    Raises:
        InputError: If it cannot.
        MissingExtraError: If the library is not installed.
    """
    with using_extra(STANDARDS):
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from model_signing import verifying

    with _naming_key(key, "public"):
        verifying.Config().use_elliptic_key_verifier(public_key=key)  # type: ignore[no-untyped-call]
        return _identify(load_pem_public_key(key.read_bytes()))


def find_fault(folder: Path, signature: Path, key: Path) -> str | None:
    """Says why a signature by a key is not valid for a folder; None if it is."""
    from cryptography.exceptions import InvalidSignature
    from model_signing import verifying

    config = verifying.Config().use_elliptic_key_verifier(public_key=key)  # type: ignore[no-untyped-call]
    try:
        config.set_hashing_config(_hash_all()).verify(folder, signature)
    except (ValueError, TypeError, LookupError, InvalidSignature) as error:
        return str(error) or type(error).__name__
    return None


def find_signatures(project: Project, release: Release) -> tuple[Signature, ...]:
    """Finds the signatures of a release that are here; does not verify them."""
    found = []
    for path in sorted((project.root / SIGNATURES).glob(f"{release.record.record_id}.*{SIGNATURE_SUFFIX}")):
        if named := read_name(path):
            found.append(Signature(path=path, key=named[1]))
    return tuple(found)


def read_name(path: Path) -> tuple[str, Digest] | None:
    """Reads the record and the key from the name of a signature's file; None for another file."""
    named = _NAME.fullmatch(path.name)
    return (named[1], Digest(named[2])) if named else None


def list_whole_signatures(folder: Path) -> tuple[Path, ...]:
    """Lists the signatures in a folder without those that were fetched incompletely; does not verify them."""
    return tuple(path for path in sorted(folder.glob(f"*{SIGNATURE_SUFFIX}")) if _is_whole(path))


def _is_whole(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except ValueError:
        return False


def _path_of(project: Project, release: Release, key: Digest) -> Path:
    return project.root / SIGNATURES / f"{release.record.record_id}.{key.sha256}{SIGNATURE_SUFFIX}"


@contextmanager
def _stage(project: Project, release: Release) -> Iterator[Path]:
    """Makes one verified folder of everything that is signed; weights are links."""
    policy = find_policy(project, release)
    with (
        hold_run(project, "signature"),
        open_versions(project, **{RELEASED_POLICY: release.record}) as folders,
        work_folder(project) as work,
    ):
        folder = work / "signed"
        view_version(project, policy, folder)
        lay_beside(folder, (folders[RELEASED_POLICY] / RELEASE_JSON).read_bytes(), release.record)
        yield folder


def lay_beside(folder: Path, release_json: bytes, record: MaterialisationRecord) -> None:
    """Adds the other signed files to a policy's folder."""
    (folder / BESIDE).mkdir()
    (folder / BESIDE / RELEASE_JSON).write_bytes(release_json)
    (folder / BESIDE / RECORD_JSON).write_bytes(record.to_bytes())


def _hash_all() -> "Config":
    from model_signing import hashing

    config = hashing.Config()  # type: ignore[no-untyped-call]
    config.use_file_serialization(allow_symlinks=True).set_ignored_paths(paths=[], ignore_git_paths=False)
    return config.set_allow_symlinks(True)


def _identify(key: "PublicKeyTypes") -> Digest:
    """Computes the digest by which model-signing names a public key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return Digest.from_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@contextmanager
def _naming_key(key: Path, kind: str) -> Iterator[None]:
    """Reports what is wrong with a key without showing any of its content."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        yield
    except (OSError, ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"not a {kind} key that can be used ({type(error).__name__})",
            file=key,
            remedy="name a PEM file with a key of the curve P-256, P-384 or P-521; the password of an encrypted one "
            "is read from RLAIF_KEY_PASSWORD",
        ) from None


def _count_history(project: Project, record: MaterialisationRecord) -> int:
    """Counts a record and all its predecessors; the ledger has checked each against its name."""
    by_id = {known.record_id: known for known in project.ledger.records()}
    reached = {record.record_id}
    todo = [record]
    while todo:
        for name in todo.pop().previous:
            if name not in reached:
                reached.add(name)
                todo.append(by_id[name])
    return len(reached)


def describe_verification(release: Release, verification: Verification) -> dict[str, Any]:
    """Describes what was proved, as JSON."""
    return {
        "release": release.number,
        "digest": str(release.digest),
        "policy": str(release.policy),
        "record": release.record.record_id,
        "key": str(verification.signature.key),
        "num_files": verification.num_files,
        "num_bytes": verification.num_bytes,
        "num_records": verification.num_records,
    }
