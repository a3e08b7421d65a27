"""Specs: all that a stage's `compute` sees beside its context, each field marked by what it decides.

An *identity* field decides what is made, and is part of the recipe. A *speed* field only says how fast, where and at
what price it is made, or how it is counted and told; a change of it makes nothing stale. A field without a mark is
refused where its class is defined, and settings are written from the spec alone: so nothing that decides a stage's
output can be missing from its recipe.

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

T = TypeVar("T")

SaidBy = Literal["settings", "numerics", "inputs"]
"""The part of a recipe that says what an identity field is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a field decides.

    Attributes:
        is_identity: Whether it decides what is made.
        said_by: The part of the recipe that says it.
        without: Fields of its value that the recipe leaves out; they have their defaults, so nobody reads them.
        optional: Whether it is left out where it is None.
        whole: Whether its value is the settings themselves, and no part of them.
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
    """Marks a field that says how fast, where or at what price, and nothing of what is made."""
    return field(metadata={_MARK: Mark(is_identity=False)})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(identity, speed))
def spec(cls: type[T]) -> type[T]:
    """Makes a class a spec: a frozen dataclass with keyword fields, every one of them marked.

    Raises:
        TypeError: If a field is not marked.
    """
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    for name in made.__annotations__:
        if not any(found.name == name and _MARK in found.metadata for found in fields(cast("Any", made))):
            raise TypeError(f"{cls.__name__}.{name} is marked neither `identity()` nor `speed()`")
    return made


def list_marks(spec: Any) -> dict[str, Mark]:
    """The marks of a spec, or of a class of specs, by field."""
    return {found.name: found.metadata[_MARK] for found in fields(spec)}


def derive_settings(spec: Any) -> JsonValue:
    """The settings of a recipe: every identity field that no other part of the recipe says."""
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
    """How numbers are computed, where a model runs."""
    for name, mark in list_marks(spec).items():
        if mark.said_by == "numerics":
            return cast("NumericsSettings | None", getattr(spec, name))
    return None


Model = TypeVar("Model", bound=BaseModel)


def forget(value: Model, names: Collection[str]) -> Model:
    """Settings with some fields, as far as there are such, at their defaults; see `Mark.without`."""
    defaults = {
        name: info.get_default(call_default_factory=True)
        for name, info in type(value).model_fields.items()
        if name in names
    }
    return value.model_copy(update=defaults)


@runtime_checkable
class Described(Protocol):
    """A value that says what it is by its content, and not by where it stands."""

    def describe(self) -> JsonValue:
        """What a recipe says of it."""


@runtime_checkable
class Digested(Protocol):
    """A value that is known by the digest of its content."""

    @property
    def digest(self) -> Digest:
        """Of its content."""


def describe_value(value: Any, *, without: Collection[str] = ()) -> JsonValue:
    """A value as a recipe states it: by content, never by path.

    Raises:
        TypeError: If nothing says how, or a field that is left out has another value than its default.
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
    raise TypeError(f"a recipe cannot state a {type(value).__name__}")


def _dump(value: BaseModel, without: Collection[str]) -> JsonValue:
    for name, info in type(value).model_fields.items():
        if name in without and getattr(value, name) != info.get_default(call_default_factory=True):
            raise TypeError(
                f"{type(value).__name__}.{name} is no part of the recipe, and so may not be given"
            )
    return cast("JsonValue", value.model_dump(mode="json", exclude=set(without)))
