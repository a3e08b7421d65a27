"""Reads YAML and JSONL files written by people, and reports faults by file, line and field.

Every fault is an `InputError` with file, line and field. YAML is loaded safely; a repeated key is a fault
(plain YAML silently keeps the last one).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rlaif_dagster.errors import InputError, MissingPlugInError
from rlaif_dagster.former_names import find_new_name

if TYPE_CHECKING:
    import yaml
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

_Model = TypeVar("_Model", bound="BaseModel")
MISSING_PLUG_IN: Final = "plug_in_missing"
"""The type of a validation error whose input names a plug-in that no installed distribution offers."""
_Location = tuple[int | str, ...]
_NUM_SHOWN = 80  # characters of a wrong value that a message shows


def read_text(path: Path) -> str:
    """Reads a UTF-8 text file.

    Raises:
        InputError: If it is missing, is not a file, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(
            "the file does not exist",
            file=path,
            remedy="create it, or run `rlaif init DIR` for a project with every input file",
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"byte {error.object[error.start]:#04x} is not UTF-8",
            file=path,
            line=line,
            remedy="save the file as UTF-8",
        ) from error
    except OSError as error:
        raise InputError(
            f"the file cannot be read ({error.strerror})", file=path, remedy="check its path and permissions"
        ) from error


def read_yaml(path: Path, model: type[_Model]) -> _Model:
    """Reads a YAML file into a pydantic model.

    Raises:
        InputError: If the file is missing, is not YAML, repeats a key, or does not fit the schema.
    """
    import yaml
    from pydantic import ValidationError

    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = dict(_node_lines(node, ())) if node is not None else {}
        _refuse_repeated_keys(node, (), path)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise InputError(
            f"this is not valid YAML: {error.problem}",
            file=path,
            line=mark.line + 1 if mark else None,
            remedy="correct the syntax (indentation, quotes, colons)",
        ) from error
    except yaml.YAMLError as error:
        raise InputError(
            f"this is not valid YAML: {error}", file=path, remedy="correct the syntax of the file"
        ) from error
    except RecursionError as error:
        raise InputError(
            "the file is nested too deeply, or refers to itself", file=path, remedy="write it out flat"
        ) from error
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise InputError(
            f"expected named fields at the top level, got {found}",
            file=path,
            line=1,
            remedy=f"write the fields {', '.join(sorted(model.model_fields))}",
        )
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _as_input_error(error, model, file=path, lines=lines) from error


def read_jsonl(path: Path, model: type[_Model]) -> Iterator[tuple[int, _Model]]:
    """Reads a JSONL file; yields (line number, row), skipping blank lines.

    Raises:
        InputError: At the first line that is not JSON or does not fit the schema.
    """
    from pydantic import ValidationError

    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_refuse_repeated_names)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"this line is not valid JSON ({error}): {_shorten(line)}",
                file=path,
                line=number,
                remedy="write one JSON object on each line",
            ) from error
        try:
            row = model.model_validate(value)
        except ValidationError as error:
            raise _as_input_error(error, model, file=path, lines={}, line=number) from error
        for name in row.model_extra or {}:
            if renamed := _explain_renamed((name,), model):
                raise InputError(renamed[0], file=path, line=number, field=name, remedy=renamed[1])
        yield number, row


def resolve_inside(root: Path, relative: str, *, file: Path, field: str) -> Path:
    """Resolves a path that an input file names; it must be inside the project.

    Raises:
        InputError: If it leads outside the project's folder.
    """
    try:
        path = (root / relative).resolve()
        path.is_dir()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{_shorten(repr(relative))} is not a path ({error})", file=file, field=field, remedy="correct it"
        ) from error
    if not path.is_relative_to(root.resolve()):
        raise InputError(
            f"the path {relative!r} leads outside the project",
            file=file,
            field=field,
            remedy="copy the file or folder into the project and name it by a path relative to the project",
        )
    return path


def _node_lines(node: "yaml.Node", location: _Location) -> Iterator[tuple[_Location, int]]:
    import yaml

    yield location, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key is a list or a mapping", problem_mark=key.start_mark
                )
            yield from _node_lines(value, (*location, key.value))
            yield (*location, key.value), key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _node_lines(value, (*location, index))


def _refuse_repeated_keys(node: "yaml.Node | None", location: _Location, path: Path) -> None:
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise InputError(
                    f"the key {key.value!r} is given twice (first on line {seen[key.value]})",
                    file=path,
                    line=line,
                    field=_dotted((*location, key.value)),
                    remedy="keep one of them",
                )
            seen[key.value] = line
            _refuse_repeated_keys(value, (*location, key.value), path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _refuse_repeated_keys(value, (*location, index), path)


def _refuse_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"the key {repeated!r} is given twice")
    for text in (text for pair in pairs for text in pair if isinstance(text, str)):
        if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
            raise ValueError("half of a surrogate pair, which is not a character")
    return dict(pairs)


def _as_input_error(
    error: "ValidationError",
    model: type["BaseModel"],
    *,
    file: Path,
    lines: Mapping[_Location, int],
    line: int | None = None,
) -> InputError:
    details = error.errors()[0]
    location = tuple(details["loc"])
    # A discriminated union adds its tag to the location; the file does not have that step.
    known = location
    while known and known not in lines and lines:
        shorter = [known[:i] + known[i + 1 :] for i in range(len(known))]
        known = next((place for place in shorter if place in lines), known[:-1])
    renamed = _explain_renamed(location, model) if details["type"] == "extra_forbidden" else None
    problem, remedy = renamed or _explain(details)
    place = line or lines.get(known)
    if details["type"] == MISSING_PLUG_IN:
        name = str(details.get("input"))
        return MissingPlugInError(
            problem, file=file, line=place, field=_dotted(location), remedy=remedy, name=name
        )
    return InputError(
        problem,
        file=file,
        line=place,
        field=_dotted(location) or None,
        remedy=remedy,
    )


def _explain_renamed(location: _Location, model: type["BaseModel"]) -> tuple[str, str] | None:
    """Says what a field is called now; None if no earlier version had it."""
    new = find_new_name(location)
    if new is None or (len(location) == 1 and new not in model.model_fields):
        return None
    return f"the field {location[-1]} is called {new} now", f"rename it to {new}"


def _explain(  # noqa: PLR0911 - one return for each kind of fault
    details: "ErrorDetails",
) -> tuple[str, str]:
    got = _shorten(repr(details.get("input")))
    context: Mapping[str, Any] = details.get("ctx") or {}
    match details["type"]:
        case "missing":
            return "the field is missing", "add it"
        case "extra_forbidden":
            return f"unknown field (value {got})", "remove it, or correct its spelling"
        case kind if kind in ("value_error", MISSING_PLUG_IN):
            message = str(context.get("error", details["msg"]))
            problem, _, remedy = message.partition("; remedy: ")
            return problem, remedy or "correct the value"
        case "union_tag_not_found":
            return f"the field {context['discriminator']} is missing", "add it: it says which kind this is"
        case "union_tag_invalid":
            field, expected = context["discriminator"], context["expected_tags"]
            return f"{field} is {context['tag']!r}", f"set {field} to one of {expected}"
        case "model_type" | "model_attributes_type":
            return (
                f"expected named fields, got {got}",
                "write its fields, or remove the section to use the defaults",
            )
        case "float_type" if _is_number(details.get("input")):
            return (
                f"expected a number, got the text {got}",
                "YAML reads 1e-4 as text: write 1.0e-4, without quotes",
            )
        case _:
            return f"{_lower_first(details['msg'])}, got {got}", "correct the value"


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return isinstance(value, str)


def _dotted(location: _Location) -> str:
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _shorten(text: str) -> str:
    return text if len(text) <= _NUM_SHOWN else text[: _NUM_SHOWN - 1] + "…"
