"""Laws of a project on disk: an ordinary DVC project that keeps to itself."""

from pathlib import Path

import pytest

from rlaif_dagster.errors import StorageError
from rlaif_dagster.versioning.store import Store, init_store
from tests.versioning.conftest import list_all_files, run_dvc, run_git, write_folder


@pytest.mark.slow
def test_a_project_is_what_dvc_init_makes_without_touching_gits_index(project_path: Path) -> None:
    init_store(project_path)
    assert (
        project_path / ".dvc" / "config"
    ).read_text() == "[core]\n    analytics = false\n    autostage = false\n"
    assert (project_path / ".gitignore").read_text() == "/data\n/.rlaif/\n"
    seen = run_git(project_path, "status", "--porcelain", "--untracked-files=all").splitlines()
    assert seen == ["?? .dvc/.gitignore", "?? .dvc/config", "?? .dvcignore", "?? .gitignore"]
    run_dvc(project_path, "status")
    assert run_git(project_path, "status", "--porcelain", "--untracked-files=all").splitlines() == seen


@pytest.mark.slow
def test_a_project_works_without_git(tmp_path: Path) -> None:
    store = init_store(tmp_path / "lone")
    version = store.add("a", write_folder(tmp_path / "output", {"x": b"1"}))
    store.pin("a", version.md5)
    store.publish("a", version.md5, version.digest)
    assert run_dvc(store.root, "status") == "Data and pipelines are up to date.\n"


def test_making_a_project_again_changes_nothing(project_path: Path) -> None:
    init_store(project_path)
    with (project_path / ".dvc" / "config").open("a") as stream:
        stream.write("    check_update = false\n")
    before = list_all_files(project_path)
    init_store(project_path)
    assert list_all_files(project_path) == before


def test_what_git_ignores_is_added_to(project_path: Path) -> None:
    (project_path / ".gitignore").write_text("data/\n*.tmp")
    init_store(project_path)
    assert (project_path / ".gitignore").read_text() == "data/\n*.tmp\n/.rlaif/\n"


@pytest.mark.slow
def test_dvcs_own_records_stay_inside_the_project(project_path: Path) -> None:
    """By default DVC keeps them in a folder shared by the whole machine; a relative one would move about."""
    store = init_store(project_path)
    folder = project_path / "data" / "sub"
    folder.mkdir(parents=True)
    assert f"Repo.site_cache_dir: {project_path}/.dvc/site/" in run_dvc(folder, "version")
    assert list(folder.iterdir()) == []
    moved = project_path.rename(project_path.with_name("moved"))
    reopened = Store.open(moved)
    assert str(moved) in (moved / ".dvc" / "config.local").read_text()
    assert reopened.cache.folder == moved / ".dvc" / "cache" != store.cache.folder


def test_a_persons_own_settings_stay(project_path: Path) -> None:
    init_store(project_path)
    local = project_path / ".dvc" / "config.local"
    text = "# mine\n[core]\n    site_cache_dir = /srv/site\n[cache]\n    dir = ../../shared cache\n"
    local.write_text(text)
    store = Store.open(project_path)
    assert local.read_text() == text
    assert store.cache.folder == project_path.parent / "shared cache"
    local.write_text("# mine\n['remote \"x\"']\n    url = ../x y\n")
    Store.open(project_path)
    assert local.read_text().startswith("# mine\n")
    assert "url = ../x y" in local.read_text()


def test_a_folder_that_is_no_project_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no \.dvc/config(.|\n)*rlaif init"):
        Store.open(tmp_path)


def test_wrong_settings_name_the_file(project_path: Path) -> None:
    init_store(project_path)
    (project_path / ".dvc" / "config").write_text("[core]\n    analytics = perhaps\n")
    with pytest.raises(StorageError, match=r"config(.|\n)*remedy"):
        Store.open(project_path)
