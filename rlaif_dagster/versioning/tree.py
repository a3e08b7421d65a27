"""DVC's tree object: the list of a folder's files and their md5.

The law: `tree.md5 == md5(json.dumps(sorted [{md5, relpath}] by relpath, sort_keys=True)) + ".dir"`, which
is the address that `dvc add` gives to the same folder.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from rlaif_dagster.errors import StorageError

_FILE_MD5 = re.compile(r"[0-9a-f]{32}")
_TREE_MD5 = re.compile(r"[0-9a-f]{32}\.dir")
_ASSET_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*")
_RESERVED_PARTS = frozenset({"", ".", "..", ".dvc", ".dvcignore", ".git", ".hg"})
"""Names that would leave the folder, or that DVC ignores or refuses inside one."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a folder as (posix path inside the folder, md5), sorted by path."""

    files: tuple[tuple[str, str], ...]

    @classmethod
    def from_files(cls, files: Mapping[str, str]) -> "Tree":
        """Builds a tree from path -> md5."""
        return cls(tuple(sorted(files.items())))

    @classmethod
    def decode(cls, data: bytes) -> "Tree":
        """Reads a stored tree object; refuses paths outside the folder.

        Raises:
            ValueError: If the bytes are not a tree object.
        """
        files: dict[str, str] = {}
        for entry in json.loads(data):
            match entry:
                case {"relpath": str(path), "md5": str(md5)} if _FILE_MD5.fullmatch(md5):
                    if not is_plain_path(path) or path in files:
                        raise ValueError(f"{path!r} is not the path of one file inside the folder")
                    files[path] = md5
                case _:
                    raise ValueError(f"{entry!r} is not an entry of a tree")
        return cls.from_files(files)

    def encode(self) -> bytes:
        """Returns the bytes of the tree object, as DVC writes them."""
        entries = [{"md5": md5, "relpath": path} for path, md5 in self.files]
        return json.dumps(entries, sort_keys=True).encode()

    @property
    def md5(self) -> str:
        """DVC's address of the folder: `<32 hex digits>.dir`."""
        return hashlib.md5(self.encode(), usedforsecurity=False).hexdigest() + ".dir"

    def list_folders(self) -> tuple[str, ...]:
        """Lists every folder of the tree, at any depth."""
        return tuple(
            sorted({str(parent) for path, _ in self.files for parent in PurePosixPath(path).parents[:-1]})
        )

    def take_subtree(self, folder: str) -> "Tree":
        """Returns the files below a folder, with paths relative to it."""
        prefix = folder + "/"
        return Tree(
            tuple((path.removeprefix(prefix), md5) for path, md5 in self.files if path.startswith(prefix))
        )

    def replace_subtree(self, folder: str, subtree: "Tree") -> "Tree":
        """Returns this tree with everything below a folder replaced, and the rest kept."""
        prefix = folder + "/"
        kept = {path: md5 for path, md5 in self.files if path != folder and not path.startswith(prefix)}
        return Tree.from_files(kept | {prefix + path: md5 for path, md5 in subtree.files})


def is_plain_path(path: str) -> bool:
    """Says whether a posix path stays inside its folder and can be stored by DVC."""
    return (
        "\\" not in path and "\0" not in path and not any(part in _RESERVED_PARTS for part in path.split("/"))
    )


def check_tree_md5(md5: str) -> str:
    """Returns the address of a tree unchanged, after checking it.

    Raises:
        StorageError: If it is not `<32 hex digits>.dir`.
    """
    if not _TREE_MD5.fullmatch(md5):
        raise StorageError(
            f"{md5!r} is not the address of a version: it must be 32 hex digits followed by .dir\n"
            "  remedy: use the address in the ledger (`dvc_md5`)"
        )
    return md5


def check_asset(asset: str) -> str:
    """Returns an asset's folder name unchanged, after checking it; `/` separates nested folders.

    Raises:
        StorageError: If it could not be a folder inside `data/`.
    """
    if not all(_ASSET_PART.fullmatch(part) for part in asset.split("/")):
        raise StorageError(
            f"{asset!r} cannot name a folder in data/: each part must be letters, digits, _ . = -, "
            "and start with a letter, digit or _\n  remedy: rename the asset"
        )
    return asset
