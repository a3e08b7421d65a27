"""Every field of every spec is marked, and the marks are those that people decided: `spec_fields.json` holds them.

A field that is to be marked otherwise, added or removed: `python -m tests.graph.test_specs`.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import field, fields, make_dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from rlaif_dagster.digest import Digest
from rlaif_dagster.graph.build import Graph
from rlaif_dagster.graph.specs import (
    Mark,
    derive_settings,
    describe_value,
    find_numerics,
    forget,
    identity,
    list_marks,
    spec,
    speed,
)
from rlaif_dagster.judging.settings import GateSettings
from rlaif_dagster.lineage.reuse import make_recipe
from rlaif_dagster.lineage.wanted import find_wanted_recipes
from rlaif_dagster.numerics import NumericsSettings
from tests.graph.every_graph import read_every_graph
from tests.plain_stages import make_plain_stage

GOLDEN = Path(__file__).with_name("spec_fields.json")
STALE = Path(__file__).parent.parent / "lineage" / "stale_assets.json"
ONLY_ONE_VALUE: Final[set[str]] = set()
"""Identity fields that have the same value in all projects."""


def find_specs() -> dict[str, type]:
    """The classes of specs that stages have, by name."""
    found = {
        type(stage.identity.spec).__name__: type(stage.identity.spec) for stage in read_every_graph().stages
    }
    return dict(sorted(found.items()))


def word_mark(mark: Mark) -> str:
    return f"identity, said by {mark.said_by}" if mark.is_identity else "speed only"


def word_marks(made: Any) -> dict[str, str]:
    return {name: word_mark(mark) for name, mark in list_marks(made).items()}


def find_changed_marks(
    golden: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """What differs, each with the field's name."""
    return [
        f"{name}.{one}: {golden.get(name, {}).get(one)} -> {now.get(name, {}).get(one)}"
        for name in {**golden, **now}
        for one in {**golden.get(name, {}), **now.get(name, {})}
        if golden.get(name, {}).get(one) != now.get(name, {}).get(one)
    ]


def test_the_marks_of_all_specs_are_those_that_were_decided() -> None:
    now = {name: word_marks(made) for name, made in find_specs().items()}
    assert find_changed_marks(json.loads(GOLDEN.read_text()), now) == []


def list_identity() -> Iterator[tuple[type, str, Mark]]:
    for made in find_specs().values():
        for name, mark in list_marks(made).items():
            if mark.is_identity:
                yield made, name, mark


def test_an_identity_field_that_is_taken_out_of_its_recipe_is_named() -> None:
    """Each in turn: marked as speed only, it is missing from the recipe, and the test above names it."""
    golden = json.loads(GOLDEN.read_text())
    for made, taken, mark in list_identity():
        mutant = make_dataclass(
            made.__name__,
            [
                (
                    one.name,
                    Any,
                    speed() if one.name == taken else field(metadata=one.metadata),
                )
                for one in fields(made)
            ],
        )
        words = {name: word_marks(one) for name, one in find_specs().items()} | {
            made.__name__: word_marks(mutant)
        }
        assert find_changed_marks(golden, words) == [
            f"{made.__name__}.{taken}: {word_mark(mark)} -> speed only"
        ]
        example = next(s for s in read_every_graph().stages if type(s.identity.spec) is made).identity.spec
        lost = mutant(**{one.name: getattr(example, one.name) for one in fields(made)})
        if mark.said_by == "numerics":
            assert find_numerics(lost) is None
        if mark.said_by == "settings" and not mark.optional:
            assert derive_settings(lost) != derive_settings(example)


def test_a_field_without_a_mark_is_refused_where_its_class_is_defined() -> None:
    with pytest.raises(TypeError, match=r"Careless\.num_samples is marked neither"):

        @spec
        class Careless:
            seed: int = identity()
            num_samples: int


def list_pairs() -> Iterator[tuple[str, Graph, Graph]]:
    """Each project before and after a flip of a field, and each beside the one before it."""
    every = read_every_graph()
    yield from ((flip.name, every.projects[flip.project], flip.graph) for flip in every.flips)
    yield from (
        (f"{one} and {other}", every.projects[one], every.projects[other])
        for one, other in itertools.combinations(every.projects, 2)
    )


def list_differing(one: Graph, other: Graph) -> Iterator[tuple[str, str, Mark]]:
    """Yields where stages of a name have specs of a class and other values of a field: stage, field, mark."""
    for name in one.keys() & other.keys():
        old, new = one[name].identity.spec, other[name].identity.spec
        for field_name, mark in list_marks(old).items() if type(old) is type(new) else ():
            values = [getattr(spec, field_name) for spec in (old, new)]
            if mark.is_identity:  # two folders with the same model are the same
                values = [describe_value(value, without=mark.without) for value in values]
            if values[0] != values[1]:
                yield name, f"{type(old).__name__}.{field_name}", mark


def test_another_value_of_an_identity_field_is_another_recipe() -> None:
    """By its key in the settings, by the numerics, or by what is read and what that wants."""
    seen = set()
    for pair, one, other in list_pairs():
        wanted = [find_wanted_recipes(graph, {}, graph) for graph in (one, other)]
        for name, field_name, mark in list_differing(one, other):
            if mark.is_identity:
                seen.add(field_name)
                assert wanted[0][name] != wanted[1][name], f"{pair}: {name} does not mind {field_name}"
    assert {f"{made.__name__}.{name}" for made, name, _ in list_identity()} - seen == ONLY_ONE_VALUE


def test_another_value_of_a_speed_field_makes_nothing_stale() -> None:
    stale, seen = json.loads(STALE.read_text()), set()
    for pair, one, other in list_pairs():
        marks = {field_name: mark for _, field_name, mark in list_differing(one, other)}
        seen |= {field_name for field_name, mark in marks.items() if not mark.is_identity}
        if pair in stale and marks and not any(mark.is_identity for mark in marks.values()):
            assert stale[pair] == []
    speeds = {
        f"{name}.{one}"
        for name, made in find_specs().items()
        for one, mark in list_marks(made).items()
        if not mark.is_identity
    }
    assert seen == speeds


def test_another_value_of_a_speed_field_is_the_same_recipe() -> None:
    for stage in read_every_graph().projects["rated"].values():
        for name, mark in list_marks(stage.identity.spec).items():
            if not mark.is_identity:
                other = replace(stage.identity, spec=replace(stage.identity.spec, **{name: "another"}))
                assert make_recipe(replace(stage, identity=other), {}) == make_recipe(stage, {})


def test_settings_say_content_and_leave_out_what_is_none_or_read_elsewhere() -> None:
    @spec
    class Example:
        gates: GateSettings = identity(without=("canary", "min_coverage"))
        file: Digest = identity()
        words: tuple[str, ...] = identity()
        nothing: int | None = identity()
        left_out: int | None = identity(optional=True)
        policy: str = identity(said_by="inputs")
        numerics: NumericsSettings = identity(said_by="numerics")
        batch_size: int = speed()

    gates = GateSettings(max_unparsed_rate=0.5, min_coverage=0.25)
    example = Example(
        gates=forget(gates, ("canary", "min_coverage")),
        file=Digest.from_bytes(b"x"),
        words=("a", "b"),
        nothing=None,
        left_out=None,
        policy="base_policy",
        numerics=NumericsSettings(),
        batch_size=4,
    )
    settings = derive_settings(example)
    assert settings == {
        "gates": gates.model_dump(mode="json", exclude={"canary", "min_coverage"}),
        "file": str(Digest.from_bytes(b"x")),
        "words": ["a", "b"],
        "nothing": None,
    }
    assert find_numerics(example) == NumericsSettings()
    with pytest.raises(TypeError, match=r"GateSettings\.min_coverage is not part of the recipe"):
        derive_settings(replace(example, gates=gates))


def test_a_path_is_no_identity(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a recipe cannot describe a"):
        make_recipe(make_plain_stage("a", lambda _: None, settings=tmp_path), {})  # type: ignore[arg-type, return-value]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({n: word_marks(made) for n, made in find_specs().items()}, indent=1) + "\n")
