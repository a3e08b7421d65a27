"""What the reference tables have to say, taken from the schemas."""

import dataclasses
import datetime
import json
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, JsonValue, RootModel
from pydantic.fields import FieldInfo

from rlaif_dagster.plugins import ChosenBy

if TYPE_CHECKING:
    import pyarrow as pa

NONE = "–"
"""An empty cell."""
MEANING = "meaning"
"""The column that no schema decides."""
_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    Any: "any",
    JsonValue: "any",
    datetime.datetime: "time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRow:
    """What a table says of one field of a file that a person writes, or of a record."""

    field: str
    type: str
    default: str
    range: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRow:
    """What a table says of one column of a parquet file; `a[].b` is a member of the structs in list `a`."""

    column: str
    type: str
    null: str


def expect_rows(source: Any, columns: list[str]) -> list[dict[str, str]]:
    """The rows that a table of a source must have, in those of its columns that a schema decides."""
    if isinstance(source, type) and issubclass(source, BaseModel):
        rows = [dataclasses.asdict(row) for row in describe_fields(source)]
    elif isinstance(source, type):
        rows = [{"name": name} for name in list_attributes(source)]
    else:
        rows = [dataclasses.asdict(row) for row in describe_columns(source() if callable(source) else source)]
    return [{column: row[column] for column in columns if column != MEANING} for row in rows]


def describe_fields(model: type[BaseModel]) -> list[FieldRow]:
    """The rows of a model's table."""
    return [
        FieldRow(
            field=f"`{name}`",
            type=describe_type(field.annotation),
            default=_describe_default(field),
            range=_describe_range(field),
        )
        for name, field in model.model_fields.items()
    ]


def describe_type(annotation: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe_type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        kinds = dict.fromkeys(describe_type(kind) for kind in arguments if kind is not type(None))
        return " or ".join([*kinds, *(["null"] if type(None) in arguments else [])])
    if origin in (list, tuple, dict):
        kind, member = ("mapping to", arguments[1]) if origin is dict else ("list of", arguments[0])
        return f"{kind} {describe_type(member)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object"
    return _WORDS[annotation]


def _describe_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, BaseModel):
        return "all defaults" if default == type(default)() else "see file"
    return f"`{json.dumps(default) if not isinstance(default, str) else default}`"


def _describe_range(field: FieldInfo) -> str:
    limits = []
    for item in field.metadata:
        match item:
            case Ge(ge=bound):
                limits.append(f"≥ {bound:g}")
            case Gt(gt=bound):
                limits.append(f"> {bound:g}")
            case Le(le=bound):
                limits.append(f"≤ {bound:g}")
            case Lt(lt=bound):
                limits.append(f"< {bound:g}")
            case MinLen():
                limits.append("not empty")
            case _:
                pass
    return ", ".join(limits) or NONE


def reach_models(annotation: Any, metadata: Iterable[Any] = ()) -> Iterator[type[BaseModel]]:
    """Yields each model that a type is made of, itself first; a root model stands for what it wraps.

    A type that is chosen by name stands for all that can be chosen.
    """
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
    choice = next((item for item in metadata if isinstance(item, ChosenBy)), None)
    if choice is not None:
        for model in choice.list_kinds().values():
            yield from reach_models(model)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not issubclass(annotation, RootModel):
            yield annotation
        for field in annotation.model_fields.values():
            yield from reach_models(field.annotation, field.metadata)
    else:
        for argument in get_args(annotation):
            yield from reach_models(argument)


def describe_columns(schema: "pa.Schema") -> list[ColumnRow]:
    """The rows of a parquet table's table."""
    return [row for field in schema for row in _describe_column(field, "")]


def _describe_column(field: "pa.Field", prefix: str) -> Iterator[ColumnRow]:
    import pyarrow as pa

    name = prefix + field.name
    is_list = pa.types.is_list(field.type)
    yield ColumnRow(
        column=f"`{name}`",
        type="list of struct" if is_list else str(field.type),
        null="yes" if field.nullable else "no",
    )
    if is_list:
        for member in field.type.value_type:
            yield from _describe_column(member, f"{name}[].")


def list_attributes(value: type[Any]) -> list[str]:
    """The names of a dataclass's fields."""
    return [f"`{field.name}`" for field in dataclasses.fields(value)]
