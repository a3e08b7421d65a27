"""Finds models by name: the embedded ones, folders inside the project, and Hugging Face ids pinned to a commit.

Only safetensors weights are loaded, never pickles, and no code from a model folder is run.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

from rlaif_dagster.digest import Digest, FolderManifest, JsonValue
from rlaif_dagster.errors import InputError, ModelError
from rlaif_dagster.reader import resolve_inside
from rlaif_dagster.weights import CAUSAL_LM, inspect_model, open_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja")
"""The files that are copied from a model folder; weights in other formats are not copied."""

EmbeddedName = Literal["policy", "judge"]
EMBEDDED_PREFIX: Final = "embedded:"
_EMBEDDED_FOLDER: Final = Path(__file__).parent / "embedded" / "models"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


class ModelSettings(BaseModel):
    """Which model to start from."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str
    """`embedded:policy`, a folder inside the project, or a Hugging Face id such as `org/name`."""
    revision: str | None = None
    """For a Hugging Face id: the full commit hash, so that the name always means the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where a model's files come from.

    Attributes:
        name: The name in the input file.
        folder: The folder, or None for a Hugging Face id.
        revision: The commit of a Hugging Face id, else None.
        digest: The content digest of the folder's model files, or None for a Hugging Face id.
    """

    name: str
    folder: Path | None
    revision: str | None
    digest: Digest | None

    def describe(self) -> JsonValue:
        """Describes the source for a recipe: by content, if that is available."""
        if self.digest is not None:
            return {"digest": str(self.digest)}
        return {"model": self.name, "revision": self.revision}


def embedded_path(name: EmbeddedName) -> Path:
    """Returns the folder of an embedded model, for `from_pretrained`."""
    return _EMBEDDED_FOLDER / name


def resolve_embedded(name: str) -> Path | None:
    """Returns the folder of `embedded:policy` or `embedded:judge`; None for any other name."""
    for known in get_args(EmbeddedName):
        if name == EMBEDDED_PREFIX + known:
            return embedded_path(known)
    return None


def find_model(root: Path, name: str, revision: str | None, *, file: Path, field: str) -> ModelSource:
    """Finds a model by its name in an input file.

    Args:
        root: The project's folder.
        name: See `ModelSettings`.
        revision: See `ModelSettings`.
        file: The input file, for messages.
        field: The field, for messages.

    Raises:
        InputError: If there is no such model, or its revision is not pinned.
    """
    section, dot, _ = field.rpartition(".")
    revision_field = f"{section}{dot}revision"
    folder = resolve_embedded(name)
    if folder is None and name.startswith(EMBEDDED_PREFIX):
        raise InputError(
            f"there is no embedded model {name!r}",
            file=file,
            field=field,
            remedy="name embedded:policy or embedded:judge",
        )
    if folder is None and not _HUB_ID.fullmatch(name):
        resolve_inside(root, name, file=file, field=field)
    if folder is None and (root / name).is_dir():
        folder = resolve_inside(root, name, file=file, field=field)
    if folder is not None:
        if revision is not None:
            raise InputError(
                f"the model {name!r} is a folder, which has no revision (got {revision!r})",
                file=file,
                field=revision_field,
                remedy="remove `revision`; a folder is identified by its content",
            )
        _require_model_files(folder, file=file, field=field)
        return ModelSource(name=name, folder=folder, revision=None, digest=_digest_model_files(folder))
    if revision is None or not _HUB_ID.fullmatch(name):
        raise InputError(
            f"there is no model folder {name!r} in the project",
            file=file,
            field=field,
            remedy="correct the path (relative to the project), use embedded:policy or embedded:judge, or, for a "
            "Hugging Face id such as org/name, set `revision` to the full 40-digit commit hash",
        )
    if not _COMMIT.fullmatch(revision):
        raise InputError(
            f"the revision {revision!r} of the Hugging Face model {name!r} is not a commit",
            file=file,
            field=revision_field,
            remedy="set it to the full 40-digit commit hash, so that the name always means the same bytes",
        )
    return ModelSource(name=name, folder=None, revision=revision, digest=None)


def copy_model(source: ModelSource, destination: Path, *, link: bool = False) -> None:
    """Copies a model's files into a folder; a Hugging Face id is downloaded first.

    Args:
        source: The model.
        destination: The folder.
        link: Make symbolic links instead of copies.

    Raises:
        ModelError: If the download fails or has no safetensors weights.
    """
    folder = source.folder or _download(source)
    destination.mkdir(parents=True, exist_ok=True)
    for path in _list_model_files(folder):
        if link:
            (destination / path.name).symlink_to(path)
        else:
            shutil.copyfile(path, destination / path.name)


def copy_causal_lm(source: ModelSource, destination: Path, *, link: bool = False) -> None:
    """Copies a causal language model's files into a folder, and refuses them if the weights do not fit.

    Args:
        source: The model.
        destination: The folder.
        link: Make symbolic links instead of copies, and do not check the weights.

    Raises:
        ModelError: If the download fails, or the model cannot be opened; see `open_causal_lm`.
    """
    copy_model(source, destination, link=link)
    if not link:
        inspect_model(destination, CAUSAL_LM, name=f"the model {source.name}")


def open_causal_lm(folder: Path, *, dtype: str) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Opens a causal language model and its tokenizer, in evaluation mode; see `weights.open_model`.

    Args:
        folder: A model folder.
        dtype: "float32", "bfloat16", "float16", or "auto" for the precision of the files.

    Raises:
        ModelError: If the folder cannot be opened, or its weights do not fit.
    """
    opened = open_model(folder, CAUSAL_LM, dtype=dtype)
    return opened.model, opened.tokenizer


def _download(source: ModelSource) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(source.name, revision=source.revision, allow_patterns=list(MODEL_FILES))
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"the model {source.name} at {source.revision} cannot be downloaded ({error}).\n"
            "  remedy: check the name, the revision and the network, or put the folder into the project"
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"the model {source.name} at {source.revision} has no safetensors weights.\n"
            "  remedy: convert it (transformers saves safetensors) and name the folder"
        )
    return folder


def _require_model_files(folder: Path, *, file: Path, field: str) -> None:
    for pattern in ("config.json", "*.safetensors", "tokenizer*"):
        if not any(folder.glob(pattern)):
            raise InputError(
                f"the model folder {folder.name!r} has no {pattern}",
                file=file,
                field=field,
                remedy="use a folder that `save_pretrained` wrote for both model and tokenizer, "
                "with safetensors weights",
            )


def _list_model_files(folder: Path) -> list[Path]:
    return sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()})


def _digest_model_files(folder: Path) -> Digest:
    return FolderManifest.from_paths(folder, _list_model_files(folder)).digest
