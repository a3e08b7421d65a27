import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_dagster.digest import Digest, FolderManifest, canonical_json
from rlaif_dagster.seeds import SEED_BITS, derive_seed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)
# Lone surrogates are not text that UTF-8 can carry.
TEXT_JSON = JSON.filter(lambda value: "\\ud" not in json.dumps(value))


def test_the_digest_of_known_bytes_is_the_published_one() -> None:
    """FIPS 180-4's example "abc"."""
    assert (
        str(Digest.from_bytes(b"abc"))
        == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@given(st.binary())
def test_a_digest_reads_back_from_its_text(data: bytes) -> None:
    digest = Digest.from_bytes(data)
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize("text", ["", "abc", "md5:" + "0" * 64, "sha256:" + "0" * 63, "sha256:" + "A" * 64])
def test_a_text_that_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a digest"):
        Digest.parse(text)


@given(TEXT_JSON)
def test_canonical_json_keeps_the_value(value: object) -> None:
    assert json.loads(canonical_json(value)) == value  # type: ignore[arg-type]


def test_canonical_json_does_not_see_the_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": 2}) == canonical_json({"a": 2, "b": 1}) == b'{"a":2,"b":1}'


def test_canonical_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


@given(st.dictionaries(st.sampled_from("abcdef"), st.binary(max_size=8), min_size=1))
def test_a_folder_digest_tells_names_and_bytes_apart(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    before = FolderManifest.from_folder(folder)
    assert FolderManifest.from_folder(folder) == before
    name = sorted(files)[0]
    (folder / name).rename(folder / "renamed")
    assert FolderManifest.from_folder(folder).digest != before.digest
    (folder / "renamed").rename(folder / name)
    (folder / name).write_bytes(files[name] + b"x")
    assert FolderManifest.from_folder(folder).digest != before.digest


def test_a_linked_file_counts_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "file").write_bytes(b"data")
    (tmp_path / "two" / "file").symlink_to(tmp_path / "one" / "file")
    assert FolderManifest.from_folder(tmp_path / "one") == FolderManifest.from_folder(tmp_path / "two")


@given(st.integers(min_value=0), st.text())
def test_seeds_are_functions_of_root_and_identity_within_63_bits(root: int, name: str) -> None:
    seed = derive_seed(root, "stage", name)
    assert 0 <= seed < 2**SEED_BITS
    assert seed == derive_seed(root, "stage", name)
    assert seed != derive_seed(root + 1, "stage", name)
    assert seed != derive_seed(root, "stage" + name)
