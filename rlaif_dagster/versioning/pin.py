"""`data.dvc`: the one top-level file through which git pins the whole `data/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlaif_dagster.errors import StorageError
from rlaif_dagster.versioning.scratch import write_whole
from rlaif_dagster.versioning.tree import Tree, check_tree_md5

DATA_FOLDER = "data"
_OWN_KEYS = ("md5", "size", "nfiles", "hash", "path")
"""The keys that `dvc add` writes, in its order; further keys that a person added come after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The content of `data.dvc`: the address of the whole `data/`, its bytes (None: unknown) and files."""

    md5: str
    size: int | None
    num_files: int

    @classmethod
    def from_tree(cls, tree: Tree, sizes: dict[str, int]) -> "Pin":
        """Pins a tree; its size is known if the sizes of all its objects are."""
        known = [sizes.get(md5) for _, md5 in tree.files]
        size = None if None in known else sum(size for size in known if size is not None)
        return cls(md5=tree.md5, size=size, num_files=len(tree.files))


def read_pinned_md5(path: Path) -> str | None:
    """Reads the address that a `data.dvc` pins; None if there is no file or it pins nothing yet.

    Raises:
        StorageError: If the file is not what `dvc add data` writes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return parse_pin(text, path)


def parse_pin(text: str, path: Path) -> str | None:
    """Returns the address that the text of a `data.dvc` pins; None if it pins nothing yet.

    Args:
        text: The text.
        path: The file's name for error messages.

    Raises:
        StorageError: If it is not what `dvc add data` writes.
    """
    import yaml

    try:
        md5 = _get_output(yaml.safe_load(text), path).get("md5")
    except (yaml.YAMLError, ValueError) as error:
        raise StorageError(
            f"{path}: cannot be read: {error}\n"
            "  remedy: restore the last commit's with `git checkout HEAD -- data.dvc`, even during a merge, or "
            "delete the file; then `rlaif run` updates it"
        ) from error
    return None if md5 is None else check_tree_md5(str(md5))


def write_pin(path: Path, pin: Pin, *, scratch: Path) -> None:
    """Replaces `data.dvc` in one step, with the bytes that `dvc add data` would write; comments stay."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    document: Any = {"outs": [{}]}
    if path.exists():
        document = parse_yaml_for_update(path.read_text(encoding="utf-8"), str(path))
    output = document["outs"][0]
    values = {"md5": pin.md5, "size": pin.size, "nfiles": pin.num_files, "hash": "md5", "path": DATA_FOLDER}
    others = {key: value for key, value in output.items() if key not in _OWN_KEYS}
    output.clear()
    output.update({key: values[key] for key in _OWN_KEYS if values[key] is not None} | others)
    write_whole(path, dumps_yaml(document).encode(), scratch=scratch)


def _get_output(document: Any, path: Path) -> dict[str, Any]:
    """Returns the one output of a parsed `data.dvc`."""
    outputs = document.get("outs") if isinstance(document, dict) else None
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        raise ValueError("it must have exactly one entry under `outs`")
    if outputs[0].get("path") != DATA_FOLDER or "cmd" in document:
        raise ValueError(f"it must pin the folder {DATA_FOLDER!r} next to {path.name}, and run no command")
    return outputs[0]
