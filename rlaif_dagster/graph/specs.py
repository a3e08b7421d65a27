"""Specs: everything that a stage's `compute` sees besides its context, with a mark on each field.

An *identity* field decides what is made, and is part of the recipe. A *speed* field only says how fast, where and at
what price it is made, or how it is counted and reported; changing it makes nothing stale. A class with an unmarked
field is refused, and recipe settings are derived from the spec alone: so nothing that decides a stage's output can be
missing from its recipe.

    @spec
    class PlateauSpec:
        plateau: PlateauSettings = identity()
        confidence: float = identity()
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, Protocol, TypeVar, cast, dataclass_transform, runtime_checkable

from pydantic import BaseModel

from rlaif_dagster.digest import Digest, JsonValue
from rlaif_dagster.numerics import NumericsSettings

_T = TypeVar("_T")

SaidBy = Literal["settings", "numerics", "inputs"]
"""The part of a recipe that contains an identity field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The mark of a field: what it decides.

    Attributes:
        is_identity: Whether it decides what is made.
        said_by: The part of the recipe that contains it.
        without: Fields of its value that the recipe leaves out; they are at their defaults, so nothing depends on them.
        optional: Whether it is left out if it is None.
        whole: Whether its value is the whole settings, not a part of them.
    """

    is_identity: bool
    said_by: SaidBy = "settings"
    without: frozenset[str] = frozenset()
    optional: bool = False
    whole: bool = False


_MARK: Final = "mark"


def identity(
    *,
    said_by: SaidBy = "settings",
    without: Collection[str] = (),
    optional: bool = False,
    whole: bool = False,
) -> Any:
    """Marks a field that decides what is made; see `Mark`."""
    mark = Mark(is_identity=True, said_by=said_by, without=frozenset(without), optional=optional, whole=whole)
    return field(metadata={_MARK: mark})


def speed() -> Any:
    """Marks a field that only says how fast, where or at what price something is made."""
    return field(metadata={_MARK: Mark(is_identity=False)})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(identity, speed))
def spec(cls: type[_T]) -> type[_T]:
    """Makes a class a spec: a frozen dataclass whose keyword fields are all marked.

    Raises:
        TypeError: If a field is not marked.
    """
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    for name in made.__annotations__:
        if not any(found.name == name and _MARK in found.metadata for found in fields(cast("Any", made))):
            raise TypeError(f"{cls.__name__}.{name} is marked neither `identity()` nor `speed()`")
    return made


def list_marks(spec: Any) -> dict[str, Mark]:
    """Lists the marks of a spec, or of a spec class, by field."""
    return {found.name: found.metadata[_MARK] for found in fields(spec)}


def derive_settings(spec: Any) -> JsonValue:
    """Derives the settings of a recipe: every identity field that is not in another part of the recipe."""
    settings: dict[str, JsonValue] = {}
    for name, mark in list_marks(spec).items():
        value = getattr(spec, name)
        if not mark.is_identity or mark.said_by != "settings" or (mark.optional and value is None):
            continue
        if mark.whole:
            return describe_value(value)
        settings[name] = describe_value(value, without=mark.without)
    return settings


def find_numerics(spec: Any) -> NumericsSettings | None:
    """Finds how numbers are computed, if a model runs."""
    for name, mark in list_marks(spec).items():
        if mark.said_by == "numerics":
            return cast("NumericsSettings | None", getattr(spec, name))
    return None


_Model = TypeVar("_Model", bound=BaseModel)


def forget(value: _Model, names: Collection[str]) -> _Model:
    """Resets some fields of settings to their defaults, if they exist; see `Mark.without`."""
    defaults = {
        name: info.get_default(call_default_factory=True)
        for name, info in type(value).model_fields.items()
        if name in names
    }
    return value.model_copy(update=defaults)


@runtime_checkable
class Described(Protocol):
    """A value that describes itself by content, not by path."""

    def describe(self) -> JsonValue:
        """The value in a recipe."""


@runtime_checkable
class Digested(Protocol):
    """A value that is identified by the digest of its content."""

    @property
    def digest(self) -> Digest:
        """The digest of its content."""


def describe_value(value: Any, *, without: Collection[str] = ()) -> JsonValue:
    """Describes a value for a recipe: by content, never by path.

    Raises:
        TypeError: If the value cannot be described, or a left-out field is not at its default.
    """
    if isinstance(value, Described):
        return value.describe()
    if isinstance(value, BaseModel):
        return _dump(value, without)
    if isinstance(value, Digest | Digested):
        return str(value if isinstance(value, Digest) else value.digest)
    if isinstance(value, Mapping):
        return {name: describe_value(member) for name, member in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [describe_value(member) for member in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a recipe cannot describe a {type(value).__name__}")


def _dump(value: BaseModel, without: Collection[str]) -> JsonValue:
    for name, info in type(value).model_fields.items():
        if name in without and getattr(value, name) != info.get_default(call_default_factory=True):
            raise TypeError(
                f"{type(value).__name__}.{name} is not part of the recipe, so it must have its default"
            )
    return cast("JsonValue", value.model_dump(mode="json", exclude=set(without)))
