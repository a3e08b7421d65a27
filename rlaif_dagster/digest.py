"""Content digests: canonical JSON, files and folders.

The laws: equal content has equal digests, whatever wrote it; a digest's text names its algorithm; and
`Digest.parse(str(d)) == d`.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

JsonValue = None | bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
"""A value that JSON can express; not NaN or infinity."""

_encode_json = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode
_DIGEST_TEXT = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256 digest, written `sha256:<64 hex digits>`."""

    sha256: str

    def __post_init__(self) -> None:
        if not _DIGEST_TEXT.fullmatch(f"sha256:{self.sha256}"):
            raise ValueError(f"{self.sha256!r} is not 64 lower-case hex digits")

    def __str__(self) -> str:
        return f"sha256:{self.sha256}"

    @property
    def short(self) -> str:
        """The first 12 hex digits, for people; never used as an identity."""
        return self.sha256[:12]

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Reads `sha256:<hex>`.

        Raises:
            ValueError: If the text is anything else.
        """
        match = _DIGEST_TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a digest of the form sha256:<64 hex digits>")
        return cls(match.group(1))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Digest":
        """Digests bytes."""
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def from_json(cls, value: JsonValue) -> "Digest":
        """Digests a value by its canonical JSON."""
        return cls.from_bytes(canonical_json(value))

    @classmethod
    def from_file(cls, path: Path) -> "Digest":
        """Digests a file's bytes in constant memory."""
        with path.open("rb") as stream:
            return cls(hashlib.file_digest(stream, "sha256").hexdigest())


def canonical_json(value: JsonValue) -> bytes:
    """Encodes a value as sorted, compact UTF-8 JSON.

    Raises:
        ValueError: On NaN or an infinity.
    """
    return _encode_json(value).encode()


@dataclass(frozen=True, slots=True, order=True)
class FileEntry:
    """One file of a folder: its path inside the folder (posix), size in bytes and digest."""

    path: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class FolderManifest:
    """The files of a folder, sorted by path."""

    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> Digest:
        """The digest of the folder: over the names and digests of all its files."""
        return Digest.from_json([[file.path, str(file.digest)] for file in self.files])

    @property
    def size(self) -> int:
        """The total number of bytes."""
        return sum(file.size for file in self.files)

    @classmethod
    def from_folder(cls, folder: Path) -> "FolderManifest":
        """Reads every file below a folder; a symbolic link counts as the file that it points to."""
        return cls.from_paths(folder, iter_files(folder))

    @classmethod
    def from_paths(cls, folder: Path, paths: Iterable[Path]) -> "FolderManifest":
        """Reads the given files below a folder."""
        entries = (
            FileEntry(
                path=path.relative_to(folder).as_posix(),
                size=path.stat().st_size,
                digest=Digest.from_file(path),
            )
            for path in paths
        )
        return cls(tuple(sorted(entries)))


def iter_files(folder: Path) -> Iterator[Path]:
    """Yields every file below a folder, in no particular order."""
    for root, _, names in os.walk(folder):
        for name in names:
            yield Path(root, name)
