"""Finds the differences between two settings values, by path."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from rlaif_dagster.digest import JsonValue, canonical_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference; `old` is None if the value was added, `new` is None if it was removed."""

    path: str
    old: JsonValue
    new: JsonValue


def diff_values(old: JsonValue, new: JsonValue, path: str) -> Iterator[Change]:
    """Yields the differences of two JSON values, each at the deepest path that both have.

    Members of a list that have an `id` are matched by it. Other lists of objects are matched by position if they have
    the same length. All other lists are compared as a whole.

    Args:
        old: The value before.
        new: The value after.
        path: Where the values are, such as `inputs/judge.yaml:` or `inputs/pipeline.yaml: sampling`.
    """
    if canonical_json(old) == canonical_json(new):
        return
    old_named, new_named = _name_members(old), _name_members(new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from diff_values(old.get(key), new.get(key), join_path(path, key))
    elif old_named is not None and new_named is not None:
        for name in dict.fromkeys((*old_named, *new_named)):
            yield from diff_values(old_named.get(name), new_named.get(name), f"{path}[{name}]")
    elif _are_alike(old) and _are_alike(new) and len(old) == len(new):
        for place, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from diff_values(before, after, f"{path}[{place}]")
    else:
        yield Change(path=path, old=old, new=new)


def join_path(path: str, key: str) -> str:
    """Joins a path and the name of a field."""
    return f"{path} {key}" if path.endswith(":") else f"{path}.{key}"


def _are_alike(value: JsonValue) -> TypeGuard[Sequence[JsonValue]]:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(m, Mapping) for m in value)
    )


def _name_members(value: JsonValue) -> dict[str, JsonValue] | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return None
    named = {str(member["id"]): member for member in value if isinstance(member, Mapping) and "id" in member}
    return dict(named) if len(named) == len(value) else None
