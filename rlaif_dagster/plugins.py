"""Plug-ins: kinds of things that any installed distribution can add, found by their entry points.

A group of entry points holds one kind, such as the judge providers in `rlaif_dagster.judges`. The package lists its own
in `pyproject.toml`, in the same way as any other distribution. Nothing is looked up before it is asked for, nothing is
imported but the plug-in that is asked for, and the package's own are found without a look at other distributions.

    JUDGES = PlugIns(group="rlaif_dagster.judges", noun="judge provider", kind=JudgeSettings)
    JUDGES.load("openai")
    AnyJudge = Annotated[JudgeSettings, ChosenBy(JUDGES, "provider")]  # in a pydantic model
"""

import functools
import importlib.metadata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from packaging.utils import canonicalize_name
from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from rlaif_dagster.errors import PlugInError
from rlaif_dagster.reader import MISSING_PLUG_IN

OWN_DISTRIBUTION: Final = "rlaif-dagster"

_Kind = TypeVar("_Kind", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlugIn:
    """One entry point.

    Attributes:
        name: The name by which input files choose it.
        distribution: The distribution that offers it.
        version: The distribution's installed version.
        entry_point: Where its code is.
    """

    name: str
    distribution: str
    version: str
    entry_point: importlib.metadata.EntryPoint

    @property
    def origin(self) -> dict[str, str] | None:
        """The distribution and its version, which recipes state; None for the package's own, whose code they know."""
        if self.distribution == OWN_DISTRIBUTION:
            return None
        return {"distribution": self.distribution, "version": self.version}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlugIns(Generic[_Kind]):
    """The plug-ins of one group, each a class of settings.

    Attributes:
        group: The group of entry points.
        noun: What one of them is, for messages.
        kind: The class that each of them has as its base.
    """

    group: str
    noun: str
    kind: type[_Kind]

    def find_plug_in(self, name: str) -> PlugIn | None:
        """The plug-in of a name; None if no installed distribution offers it. The package's own names are taken.

        Raises:
            PlugInError: If several distributions offer the name.
        """
        own = _list_own(self.group).get(name)
        if own is not None:
            return own
        offered = _list_others(self.group).get(name, ())
        if len(offered) > 1:
            names = " and ".join(f"{each.distribution} {each.version}" for each in offered)
            raise PlugInError(
                f"the {self.noun} {name!r} is offered by {names}", remedy="uninstall all but one of them"
            )
        return offered[0] if offered else None

    def describe_plug_in(self, name: str) -> str:
        """A plug-in's name, and for one of another distribution where it comes from, for people."""
        found = self.find_plug_in(name)
        if found is None or found.origin is None:
            return name
        return f"{name} ({describe_origin(found.origin)})"

    def list_names(self) -> list[str]:
        """The names of all that are installed, the package's own first."""
        return [*sorted(_list_own(self.group)), *sorted(_list_others(self.group))]

    def require_origin(self, name: str, origin: Mapping[str, str] | None) -> None:
        """Requires that a name still means the code that it meant when something was recorded.

        Args:
            name: The name.
            origin: `PlugIn.origin` of then.

        Raises:
            PlugInError: If it is of another distribution or version now, or of none.
        """
        then = describe_origin(origin)
        found = self.find_plug_in(name)
        if found is None:
            raise PlugInError(
                f"no installed distribution offers the {self.noun} {name!r}; it was recorded with {then}",
                remedy=f"install the {OWN_DISTRIBUTION} that has it"
                if origin is None
                else f"pip install '{origin['distribution']}=={origin['version']}'",
            )
        if found.origin != origin:
            raise PlugInError(
                f"the {self.noun} {name!r} is of {describe_origin(found.origin)}, but it was recorded with {then}",
                remedy="`rlaif run`, which records it again, or install what it was recorded with",
            )

    def load(self, name: str) -> type[_Kind]:
        """Imports the plug-in of a name.

        Raises:
            PlugInError: If no installed distribution offers it, or it cannot be imported or used.
        """
        found = self.find_plug_in(name)
        if found is None:
            raise PlugInError(
                f"no installed distribution offers the {self.noun} {name!r}",
                remedy=f"install the one that does, or name one of {', '.join(self.list_names())}",
            )
        try:
            loaded = found.entry_point.load()
        except Exception as error:  # foreign code may raise anything at its import
            raise PlugInError(
                f"the {self.noun} {name!r} of {found.distribution} {found.version} cannot be imported: "
                f"{type(error).__name__}: {error}",
                remedy=f"install a version of {found.distribution} that fits this one of {OWN_DISTRIBUTION}",
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, self.kind)):
            raise PlugInError(
                f"the {self.noun} {name!r} of {found.distribution} {found.version} is no subclass of "
                f"{self.kind.__module__}.{self.kind.__qualname__}",
                remedy=f"correct the entry point {found.entry_point.value!r} of {found.distribution}",
            )
        return loaded


@dataclass(frozen=True, slots=True)
class ChosenBy(Generic[_Kind]):
    """Annotates a field whose class is the plug-in that one of its own fields names.

    Attributes:
        plug_ins: What there is to choose from.
        field: The field that names one.
        base: A base that the one chosen must have here; None if any will do.
    """

    plug_ins: PlugIns[_Kind]
    field: str
    base: type[_Kind] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A validator that gives the fields to the class chosen; a value is written as what it is."""
        return core_schema.no_info_plain_validator_function(self._validate)

    def _validate(self, value: Any) -> _Kind:
        base = self.base or self.plug_ins.kind
        if isinstance(value, base):
            return value
        if not isinstance(value, Mapping):
            raise PydanticCustomError("model_type", "expected named fields")
        name = value.get(self.field)
        if not isinstance(name, str):
            missing = f"the field {self.field} is missing"
            problem = missing if name is None else f"expected a text, got {name!r}"
            raise self._refuse(name, problem, f"set it to one of {self._list_fitting()}")
        try:
            if self.plug_ins.find_plug_in(name) is None:
                problem = f"no installed distribution offers the {self.plug_ins.noun} {name!r}"
                raise self._refuse(
                    name, problem, f"set {self.field} to one of {self._list_fitting()}", MISSING_PLUG_IN
                )
            chosen = self.plug_ins.load(name)
        except PlugInError as error:
            raise self._refuse(name, error.problem, error.remedy) from error
        if not issubclass(chosen, base):
            raise self._refuse(
                name, f"{name!r} cannot stand here", f"set {self.field} to one of {self._list_fitting()}"
            )
        return chosen.model_validate(value)

    def list_kinds(self) -> dict[str, type[_Kind]]:
        """All that can be chosen, by name.

        Raises:
            PlugInError: If one of them cannot be imported.
        """
        base = self.base or self.plug_ins.kind
        loaded = {name: self.plug_ins.load(name) for name in self.plug_ins.list_names()}
        return {name: kind for name, kind in loaded.items() if issubclass(kind, base)}

    def _list_fitting(self) -> str:
        """The names that can be chosen, for people; without those that cannot even be imported."""
        names = []
        for name in self.plug_ins.list_names():
            with suppress(PlugInError):
                if issubclass(self.plug_ins.load(name), self.base or self.plug_ins.kind):
                    names.append(name)
        return ", ".join(names)

    def _refuse(self, name: Any, problem: str, remedy: str, kind: str = "value_error") -> ValidationError:
        told = f"{problem}; remedy: {remedy}"
        error = PydanticCustomError(kind, "{error}", {"error": told})
        detail = InitErrorDetails(type=error, loc=(self.field,), input=name)
        return ValidationError.from_exception_data(self.plug_ins.noun, [detail])


def describe_origin(origin: Mapping[str, str] | None) -> str:
    """Where a plug-in's code comes from, for people."""
    return OWN_DISTRIBUTION if origin is None else f"{origin['distribution']} {origin['version']}"


@functools.cache
def _list_own(group: str) -> dict[str, PlugIn]:
    """The package's own plug-ins of a group, by name.

    Raises:
        PlugInError: If the package's metadata is not there, or is older than its code.
    """
    try:
        own = importlib.metadata.distribution(OWN_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        found = []
    else:
        found = [_describe(entry, own) for entry in own.entry_points.select(group=group)]
    if not found:
        raise PlugInError(
            f"the metadata of {OWN_DISTRIBUTION} lists no entry points {group}: it is older than the code",
            remedy=f"install {OWN_DISTRIBUTION} again, with `pip install --no-deps -e .` where it is a checkout",
        )
    return {each.name: each for each in found}


@functools.cache
def _list_others(group: str) -> dict[str, tuple[PlugIn, ...]]:
    """The plug-ins of all other distributions by name, each name as often as it is offered."""
    own = _list_own(group)
    found: dict[str, tuple[PlugIn, ...]] = {}
    for entry in importlib.metadata.entry_points(group=group):
        plug_in = _describe(entry, entry.dist)
        if plug_in.distribution != OWN_DISTRIBUTION and entry.name not in own:
            found[entry.name] = (*found.get(entry.name, ()), plug_in)
    return found


def _describe(
    entry: importlib.metadata.EntryPoint, distribution: importlib.metadata.Distribution | None
) -> PlugIn:
    if distribution is None:
        raise TypeError(f"the entry point {entry.name!r} says no distribution")
    return PlugIn(
        name=entry.name,
        distribution=canonicalize_name(distribution.name),
        version=distribution.version,
        entry_point=entry,
    )
