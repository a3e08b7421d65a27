"""Laws of the tree object: DVC's address, and parts that can be exchanged."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.errors import StorageError
from rlaif_dagster.versioning.tree import Tree, check_asset, check_tree_md5

NAMES = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=6)
MD5S = st.text("0123456789abcdef", min_size=32, max_size=32)
A, B, C = "a" * 32, "b" * 32, "c" * 32


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@st.composite
def flat_trees(draw: st.DrawFn) -> Tree:
    """Trees of up to six files, each in a folder of its own kind: no file is another's folder."""
    files = draw(st.dictionaries(NAMES, MD5S, max_size=6))
    depth = draw(st.integers(0, 2))
    return Tree.from_files({"d/" * depth + "x" + name: md5 for name, md5 in files.items()})


@given(flat_trees())
def test_md5_is_that_of_dvc(tree: Tree) -> None:
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree as DvcTree

    theirs: Any = DvcTree()  # type: ignore[no-untyped-call]
    for path, md5 in reversed(tree.files):
        theirs.add(tuple(path.split("/")), Meta(), HashInfo("md5", md5))
    theirs.digest()
    assert tree.md5 == theirs.oid
    assert tree.encode() == theirs.as_bytes()


def test_md5_worked_by_hand() -> None:
    text = f'[{{"md5": "{B}", "relpath": "a/z"}}, {{"md5": "{A}", "relpath": "b"}}]'
    assert Tree.from_files({"b": A, "a/z": B}).md5 == _md5(text) + ".dir"
    assert Tree(()).md5 == _md5("[]") + ".dir"


@given(flat_trees())
def test_a_tree_survives_its_wire_form(tree: Tree) -> None:
    assert Tree.decode(tree.encode()) == tree


@given(flat_trees(), flat_trees(), flat_trees())
def test_subtrees_are_exchanged_alone(one: Tree, other: Tree, newer: Tree) -> None:
    whole = Tree(()).replace_subtree("round_2/one", one).replace_subtree("round_2/other", other)
    changed = whole.replace_subtree("round_2/one", newer)
    assert changed.take_subtree("round_2/one") == newer
    assert changed.take_subtree("round_2/other") == other
    assert changed.replace_subtree("round_2/one", one) == whole


def test_a_subtree_replaces_a_file_of_its_name_and_no_longer_name() -> None:
    whole = Tree.from_files({"ab": A, "a": A, "a.b/c": B})
    assert whole.replace_subtree("a", Tree.from_files({"x": C})).files == (
        ("a.b/c", B),
        ("a/x", C),
        ("ab", A),
    )


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a/../x", "a//x", "./x", "", "a\\x", "a\0", ".git/x", "a/.dvcignore"]
)
def test_a_tree_names_nothing_outside_its_folder(path: str) -> None:
    with pytest.raises(ValueError, match="path of one file"):
        Tree.decode(json.dumps([{"md5": A, "relpath": path}]).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[",
        b'["x"]',
        b'{"x": 1}',
        b'[{"relpath": "x"}]',
        b'[{"md5": "../../x", "relpath": "x"}]',
        b"\xff",
    ],
)
def test_other_bytes_are_no_tree(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):  # each says in its own words what is wrong
        Tree.decode(data)


@pytest.mark.parametrize("md5", [A, f"{A}.dir/..", f"../{A}.dir", f"{A.upper()}.dir", f"{A}.dir\n", ""])
def test_an_address_is_hex_and_dir(md5: str) -> None:
    assert check_tree_md5(f"{A}.dir") == f"{A}.dir"
    with pytest.raises(StorageError, match="ledger"):
        check_tree_md5(md5)


@pytest.mark.parametrize("asset", ["", ".", "..", "../x", "a//b", "/a", "a/", ".dvc", "a b", "a\n"])
def test_an_asset_is_a_folder_inside_data(asset: str) -> None:
    assert check_asset("round_2/sampled_responses") == "round_2/sampled_responses"
    with pytest.raises(StorageError, match="rename the asset"):
        check_asset(asset)
