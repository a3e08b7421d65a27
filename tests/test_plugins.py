"""A plug-in is what an installed distribution offers, and what is wrong with one is said with a remedy."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from rlaif_dagster.errors import PlugInError
from rlaif_dagster.plugins import OWN_DISTRIBUTION, ChosenBy, PlugIns

Offer = Callable[..., None]
NUMBERS = itertools.count()


class Kind(BaseModel):
    """What the plug-ins of these tests are."""


class Own(Kind):
    """One of the package's own."""


class Other(Kind):
    """One of another distribution."""


class NoKind:
    """None."""


@pytest.fixture
def plug_ins() -> PlugIns[Kind]:
    """A group of its own for each test: what is found is kept as long as the process runs."""
    return PlugIns(group=f"tests.group_{next(NUMBERS)}", noun="kind", kind=Kind)


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plug_ins: PlugIns[Kind]) -> Offer:
    """Installs distributions that offer classes of this module, or of another; the first is found first."""

    def install(distribution: str, version: str = "1.0", module: str = __name__, **entries: str) -> None:
        folder = tmp_path / distribution / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {module}:{target}" for name, target in entries.items()]
        (folder / "entry_points.txt").write_text("\n".join([f"[{plug_ins.group}]", *lines, ""]))
        monkeypatch.syspath_prepend(tmp_path / distribution)

    return install


def test_the_own_and_those_of_others_are_found_with_their_origin(
    plug_ins: PlugIns[Kind], offer: Offer
) -> None:
    offer(OWN_DISTRIBUTION, "9.9", own="Own")
    offer("Other_Thing", "2.0", other="Other")
    assert plug_ins.list_names() == ["own", "other"]
    assert plug_ins.load("own") is Own
    assert plug_ins.load("other") is Other
    own, other = plug_ins.find_plug_in("own"), plug_ins.find_plug_in("other")
    assert own is not None
    assert own.origin is None
    assert other is not None
    assert other.origin == {"distribution": "other-thing", "version": "2.0"}
    assert plug_ins.describe_plug_in("own") == "own"
    assert plug_ins.describe_plug_in("other") == "other (other-thing 2.0)"


def test_a_name_of_the_packages_own_is_taken(plug_ins: PlugIns[Kind], offer: Offer) -> None:
    """Installing something else never changes what a project's files mean."""
    offer(OWN_DISTRIBUTION, own="Own")
    offer("other", own="Other")
    assert plug_ins.load("own") is Own
    assert plug_ins.list_names() == ["own"]


def test_a_name_that_two_distributions_offer_is_refused(plug_ins: PlugIns[Kind], offer: Offer) -> None:
    offer(OWN_DISTRIBUTION, own="Own")
    offer("one", "1.0", other="Other")
    offer("two", "2.0", other="Other")
    with pytest.raises(
        PlugInError, match=r"offered by two 2\.0 and one 1\.0\n  remedy: uninstall all but one"
    ):
        plug_ins.load("other")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("missing", "cannot be imported: .*missing.*\n  remedy: install a version of other that fits"),
        ("NoKind", "is no subclass of tests.test_plugins.Kind\n  remedy: correct the entry point"),
    ],
)
def test_one_that_cannot_be_used_is_refused(
    plug_ins: PlugIns[Kind], offer: Offer, target: str, words: str
) -> None:
    offer(OWN_DISTRIBUTION, own="Own")
    offer("other", other=target)
    with pytest.raises(PlugInError, match=rf"the kind 'other' of other 1\.0 {words}"):
        plug_ins.load("other")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("class Kind(:", "SyntaxError: invalid syntax"),
        ("None + 1", "TypeError: unsupported operand"),
        (
            "import pydantic\nclass Kind(pydantic.BaseModel):\n    field = 1",
            "PydanticUserError: A non-annotated",
        ),
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
    ],
)
def test_one_whose_module_fails_in_any_way_is_refused_and_hides_no_mistake_elsewhere(
    plug_ins: PlugIns[Kind],
    offer: Offer,
    tmp_path: Path,
    code: str,
    words: str,
) -> None:
    """A plug-in's module is code of others: whatever it raises, commands that do not use it still work."""
    module = f"broken_{next(NUMBERS)}"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / f"{module}.py").write_text(code)
    offer(OWN_DISTRIBUTION, own="Own")
    offer("other", module=module, other="Kind")
    with pytest.raises(PlugInError, match=rf"(?s)the kind 'other' of other 1\.0 cannot be imported: {words}"):
        plug_ins.load("other")
    adapter = TypeAdapter(Annotated[Kind, ChosenBy(plug_ins, "which")])
    with pytest.raises(ValidationError, match="offers the kind 'third'; remedy: set which to one of own"):
        adapter.validate_python({"which": "third"})


def test_one_that_nobody_offers_is_refused_with_those_that_there_are(
    plug_ins: PlugIns[Kind], offer: Offer
) -> None:
    offer(OWN_DISTRIBUTION, own="Own")
    offer("other", other="Other")
    assert plug_ins.find_plug_in("third") is None
    with pytest.raises(PlugInError, match=r"offers the kind 'third'\n  remedy: .*own, other"):
        plug_ins.load("third")


def test_metadata_older_than_the_code_is_refused_with_what_to_do(plug_ins: PlugIns[Kind]) -> None:
    with pytest.raises(PlugInError, match=r"older than the code\n  remedy: install rlaif-dagster again"):
        plug_ins.find_plug_in("own")


def test_what_was_recorded_has_to_come_from_where_it_came_from(plug_ins: PlugIns[Kind], offer: Offer) -> None:
    offer(OWN_DISTRIBUTION, own="Own")
    offer("other", "2.0", other="Other")
    plug_ins.require_origin("own", None)
    plug_ins.require_origin("other", {"distribution": "other", "version": "2.0"})
    with pytest.raises(PlugInError, match=r"is of other 2\.0, but it was recorded with other 1\.0\n"):
        plug_ins.require_origin("other", {"distribution": "other", "version": "1.0"})
    with pytest.raises(PlugInError, match=r"is of rlaif-dagster, but it was recorded with other 1\.0\n"):
        plug_ins.require_origin("own", {"distribution": "other", "version": "1.0"})
    with pytest.raises(PlugInError, match=r"recorded with gone 1\.0\n  remedy: pip install 'gone==1\.0'"):
        plug_ins.require_origin("third", {"distribution": "gone", "version": "1.0"})
    with pytest.raises(
        PlugInError, match=r"recorded with rlaif-dagster\n  remedy: install the rlaif-dagster"
    ):
        plug_ins.require_origin("third", None)


def test_one_that_is_broken_hides_no_mistake_elsewhere(plug_ins: PlugIns[Kind], offer: Offer) -> None:
    offer(OWN_DISTRIBUTION, own="Own")
    offer("other", other="missing")
    adapter = TypeAdapter(Annotated[Kind, ChosenBy(plug_ins, "which", Own)])
    with pytest.raises(ValidationError, match="offers the kind 'third'; remedy: set which to one of own"):
        adapter.validate_python({"which": "third"})
