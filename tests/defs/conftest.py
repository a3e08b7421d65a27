"""A project and a Dagster instance, both real and both empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from rlaif_dagster.lineage.project import Project
from rlaif_dagster.versioning.store import init_store


@pytest.fixture
def project(tmp_path: Path) -> Project:
    init_store(tmp_path)
    return Project.open(tmp_path)


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance
