"""Exports: each is read back with its format's own library, and all of them tell the same digests."""

import base64
import datetime
import json
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from rlaif_dagster.cli.main import app
from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import InputError, LedgerError, MissingExtraError
from rlaif_dagster.graph.stage import Stage
from rlaif_dagster.lineage.exporting.closure import VersionLineage, name_version_in_full, write_manifest
from rlaif_dagster.lineage.exporting.formats import FORMATS
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord, VersionRef
from rlaif_dagster.lineage.reuse import MaterialiseResult
from tests.conftest import call_rlaif
from tests.docs.pages import read_examples
from tests.lineage.conftest import MakeStage

Named = set[tuple[str, str]]
"""Names of versions and files, each with its sha256."""


@pytest.fixture(scope="module")
def policy(released: Project) -> VersionLineage:
    return VersionLineage.from_project(released, "aligned_policy")


@pytest.fixture(scope="module")
def labels(released: Project) -> VersionLineage:
    return VersionLineage.from_project(released, "ai_preferences")


def list_named(lineage: VersionLineage) -> Named:
    """What the ledger says."""
    named = set()
    for record in lineage.records:
        named.add((name_version_in_full(record), Digest.parse(record.output.digest).sha256))
        named |= {
            (f"{name_version_in_full(record)}/{file.path}", file.sha256) for file in record.output.files
        }
    return named


def read_openlineage(text: str, folder: Path) -> Named:
    """Every event is put together again from the classes of the client, which refuse what does not fit."""
    from openlineage.client import event_v2, facet_v2
    from openlineage.client.generated.test_run import TestExecution, TestRunFacet

    version_facet = facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet
    statistics_facet = facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet

    def without_head(facet: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in facet.items() if not key.startswith("_")}

    named = set()
    for line in text.splitlines():
        event = json.loads(line)
        version_of = {}
        for dataset in [*event["inputs"], *event["outputs"]]:
            version_of[dataset["name"]] = version_facet(
                **without_head(dataset["facets"]["version"])
            ).datasetVersion
        [output] = event["outputs"]
        statistics = statistics_facet(**without_head(output["outputFacets"]["outputStatistics"]))
        files = output["facets"]["rlaif_files"]["files"]
        assert (statistics.fileCount, statistics.size) == (len(files), sum(file["size"] for file in files))
        for facet in [event["run"]["facets"].get("test")]:
            if facet:
                TestRunFacet(tests=[TestExecution(**test) for test in facet["tests"]])
        event_v2.RunEvent(
            eventTime=event["eventTime"],
            eventType=event_v2.RunState[event["eventType"]],
            producer=event["producer"],
            run=event_v2.Run(runId=event["run"]["runId"]),
            job=event_v2.Job(namespace=event["job"]["namespace"], name=event["job"]["name"]),
        )
        digest = version_of[output["name"]].removeprefix("sha256:")
        named.add((f"{output['name']}@{digest}", digest))
        named |= {(f"{output['name']}@{digest}/{file['path']}", file["sha256"]) for file in files}
    return named


def read_prov(text: str, folder: Path) -> Named:
    from prov.model import ProvDocument, ProvEntity

    document = ProvDocument.deserialize(content=text, format="json")
    named = set()
    for entity in document.get_records(ProvEntity):
        [digest] = entity.get_attribute("rlaif:digest")
        named.add((str(entity.identifier).partition("/")[2], digest.removeprefix("sha256:")))
    from urllib.parse import unquote

    return {(unquote(name), digest) for name, digest in named}


def read_cyclonedx(text: str, folder: Path) -> Named:
    from cyclonedx.model.bom import Bom
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = Bom.from_json(json.loads(text))  # type: ignore[attr-defined]
    assert bom.validate()

    def walk(components: Any) -> Iterator[tuple[str, str]]:
        for component in components:
            for digest in component.hashes:
                yield component.bom_ref.value, digest.content
            yield from walk(component.components)

    return set(walk([bom.metadata.component, *bom.components]))


def read_croissant(text: str, folder: Path) -> Named:
    import mlcroissant

    file = folder / "croissant.json"
    file.write_text(text, encoding="utf-8")
    metadata = mlcroissant.Dataset(jsonld=str(file)).metadata
    assert not metadata.issues.errors
    for item in metadata.distribution:
        if item.content_url.startswith("data:"):
            manifest = base64.b64decode(item.content_url.partition(",")[2])
            assert Digest.from_bytes(manifest).sha256 == item.sha256
    return {(item.id, item.sha256) for item in metadata.distribution}


def read_intoto(text: str, folder: Path) -> Named:
    from google.protobuf.json_format import Parse, ParseDict
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    statement = Statement.copy_from_pb(Parse(text, Message()))
    statement.validate()
    assert statement.pb.predicate_type == "https://slsa.dev/provenance/v1"
    provenance = ParseDict(json.loads(text)["predicate"], Provenance())
    version, *files = statement.pb.subject
    named = {(version.name, version.digest["sha256"])}
    named |= {(f"{version.name}/{file.name}", file.digest["sha256"]) for file in files}
    for resource in provenance.build_definition.resolved_dependencies:
        named.add((resource.name, resource.digest["sha256"]))
        assert not resource.content or Digest.from_bytes(resource.content).sha256 == resource.digest["sha256"]
    return named


def read_card(text: str, folder: Path) -> Named:
    from huggingface_hub import RepoCard

    file = folder / "README.md"
    file.write_text(text, encoding="utf-8")
    card = RepoCard.load(file)
    assert "rlaif" in card.data.tags
    rows = re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", card.text, re.MULTILINE)
    return set(rows)


READERS: dict[str, Callable[[str, Path], Named]] = {
    "openlineage": read_openlineage,
    "prov": read_prov,
    "cyclonedx": read_cyclonedx,
    "croissant": read_croissant,
    "intoto": read_intoto,
    "model-card": read_card,
    "dataset-card": read_card,
}
IGNORED = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:rdflib", "ignore::DeprecationWarning:mlcroissant"
)


def test_every_format_is_read_back_here() -> None:
    assert set(READERS) == set(FORMATS)


@pytest.mark.slow
@IGNORED
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "dataset-card"])
def test_every_format_tells_of_a_model_what_the_ledger_says(
    policy: VersionLineage, tmp_path: Path, name: str
) -> None:
    assert READERS[name](FORMATS[name](policy), tmp_path) == list_named(policy)


@IGNORED
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "model-card"])
def test_every_format_tells_of_a_table_what_the_ledger_says(
    labels: VersionLineage, tmp_path: Path, name: str
) -> None:
    assert READERS[name](FORMATS[name](labels), tmp_path) == list_named(labels)


def test_an_openlineage_event_has_what_the_specification_requires(policy: VersionLineage) -> None:
    """What the client's classes let pass: forms of times, ids and URIs, and the head of every facet."""

    def require_uri(value: str) -> None:
        assert urlsplit(value).scheme and urlsplit(value).path, value

    for line in FORMATS["openlineage"](policy).splitlines():
        event = json.loads(line)
        assert datetime.datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
        assert event["schemaURL"].endswith("OpenLineage.json#/$defs/RunEvent")
        require_uri(event["producer"])
        datasets = [*event["inputs"], *event["outputs"]]
        facets = [
            *event["run"]["facets"].values(),
            *event["job"]["facets"].values(),
            *(facet for dataset in datasets for facet in dataset["facets"].values()),
            *(facet for dataset in event["outputs"] for facet in dataset["outputFacets"].values()),
        ]
        assert len(facets) > len(datasets)
        for facet in facets:
            require_uri(facet["_producer"])
            require_uri(facet["_schemaURL"])
        assert all(one["namespace"] and one["name"] for one in (event["job"], *datasets))


def test_the_lineage_goes_back_to_every_source(policy: VersionLineage) -> None:
    assets = [record.asset for record in policy.records]
    assert assets[-1] == "aligned_policy"
    assert {"constitution", "judge", "prompts", "base_policy", "judgements", "ai_preferences"} <= set(assets)
    for record in policy.records:
        assert [parent.asset for parent in policy.parents_of(record)] == sorted(record.inputs)


@pytest.mark.parametrize("name", ["openlineage", "prov", "cyclonedx", "intoto"])
def test_every_step_names_what_it_was_made_from(policy: VersionLineage, name: str) -> None:
    """Edges, in each format's own words, are those of the ledger."""
    document = (
        json.loads(f"[{FORMATS[name](policy).replace(chr(10), ',').rstrip(',')}]")
        if (name == "openlineage")
        else json.loads(FORMATS[name](policy))
    )
    expected = {
        (name_version_in_full(record), f"{parent}@{Digest.parse(ref.digest).sha256}")
        for record in policy.records
        for parent, ref in record.inputs.items()
    }

    def name_dataset(dataset: Any) -> str:
        return f"{dataset['name']}@{dataset['facets']['version']['datasetVersion'].removeprefix('sha256:')}"

    if name == "openlineage":
        found = {
            (name_dataset(event["outputs"][0]), name_dataset(dataset))
            for event in document
            for dataset in event["inputs"]
        }
    elif name == "prov":
        found = {
            tuple(
                edge[f"prov:{end}Entity"].removeprefix("rlaif:version/").replace("%40", "@")
                for end in ("generated", "used")
            )
            for edge in document["wasDerivedFrom"].values()
        }
    elif name == "cyclonedx":
        found = {
            (item["ref"], other)
            for item in document["dependencies"]
            for other in item.get("dependsOn", ())
            if not other.startswith("pkg:")
        }
    else:  # in-toto lists what went in without edges
        behind = document["predicate"]["buildDefinition"]["resolvedDependencies"]
        assert {item["name"] for item in behind if "content" in item} == {other for _, other in expected}
        return
    assert found == expected


@pytest.mark.slow
def test_the_same_ledger_gives_the_same_bytes(released: Project, labels: VersionLineage) -> None:
    """In another process, with another order of sets."""
    names = [name for name in FORMATS if name != "model-card"]
    code = f"""
from pathlib import Path
from rlaif_dagster.digest import Digest
from rlaif_dagster.lineage.exporting.closure import VersionLineage
from rlaif_dagster.lineage.exporting.formats import FORMATS
from rlaif_dagster.lineage.project import Project
lineage = VersionLineage.from_project(Project.open(Path({str(released.root)!r})), "ai_preferences")
print({{name: Digest.from_bytes(FORMATS[name](lineage).encode()).short for name in {names}}})
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    here = {name: Digest.from_bytes(FORMATS[name](labels).encode()).short for name in names}
    assert done.stdout.strip() == str(here)


@IGNORED
def test_croissant_opens_the_rows_of_a_table(released: Project, labels: VersionLineage) -> None:
    import mlcroissant

    from rlaif_dagster.tables import read_table

    file = released.root / "croissant.json"
    file.write_text(FORMATS["croissant"](labels), encoding="utf-8")
    try:
        read = list(mlcroissant.Dataset(jsonld=str(file)).records("preferences"))
    finally:
        file.unlink()
    rows = read_table(released.root / "data" / "ai_preferences" / "preferences.parquet")
    assert [row["preferences/pair_id"].decode() for row in read] == [row["pair_id"] for row in rows]
    assert [float(row["preferences/p_a"]) for row in read] == [row["p_a"] for row in rows]


def test_a_reused_version_is_told_with_its_making(
    project: Project, make_stage: MakeStage, run: Callable[[Stage], MaterialiseResult]
) -> None:
    first = run(make_stage("text", "one")).record
    run(make_stage("text", "two"))
    again = run(make_stage("text", "one")).record
    assert again.reused_from == first.record_id
    assert VersionLineage.from_project(project, "text").records == (first,)


def test_a_manifest_that_is_not_the_recorded_one_is_not_written(policy: VersionLineage) -> None:
    record = policy.subject
    other = record.output.model_copy(update={"files": record.output.files[:1]})
    with pytest.raises(LedgerError, match=r"aligned_policy names sha256:.*\n.*rlaif audit"):
        write_manifest(record.model_copy(update={"output": other}))


def test_a_card_is_of_what_the_version_is(policy: VersionLineage, labels: VersionLineage) -> None:
    with pytest.raises(InputError, match=r"aligned_policy is not a data set.*\n.*model-card"):
        FORMATS["dataset-card"](policy)
    with pytest.raises(InputError, match=r"ai_preferences is not a model.*\n.*dataset-card"):
        FORMATS["model-card"](labels)


def test_large_seeds_are_not_rounded_in_doubles(policy: VersionLineage) -> None:
    def with_seed(record: MaterialisationRecord, seed: int) -> MaterialisationRecord:
        parts = record.recipe_parts.model_copy(update={"settings": {"seed": seed}})
        return record.model_copy(update={"recipe_parts": parts, "inputs": dict[str, VersionRef]()})

    def export(seed: int) -> Any:
        lineage = VersionLineage(root=policy.root, records=(with_seed(policy.subject, seed),))
        definition = json.loads(FORMATS["intoto"](lineage))["predicate"]["buildDefinition"]
        return definition["externalParameters"]["settings"]["seed"]

    assert (export(7), export(2**53 + 1)) == (7, str(2**53 + 1))


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("openlineage", "openlineage.client.serde"),
        ("prov", "prov.model"),
        ("cyclonedx", "cyclonedx.output.json"),
        ("croissant", "mlcroissant"),
        ("intoto", "in_toto_attestation.v1.statement"),
    ],
)
def test_a_library_that_is_missing_names_its_extra(
    policy: VersionLineage, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # so Python finds no such module
    told = rf"{library}.*\n.*pip install 'rlaif-dagster\[standards\]'"
    with pytest.raises(MissingExtraError, match=told):
        FORMATS[name](policy)


def test_the_command_writes_a_file_or_prints(released: Project, tmp_path: Path) -> None:
    from rlaif_dagster.cli.export import export_command

    export_command(released.root, "aligned_policy", "prov", tmp_path / "prov.json")
    done = call_rlaif("export", "aligned_policy", "--format", "prov", project=released.root)
    assert done.stdout == (tmp_path / "prov.json").read_text()
    with pytest.raises(InputError, match=r"unknown format 'xml'.*\n.*openlineage, prov"):
        export_command(released.root, "aligned_policy", "xml", None)


@pytest.mark.slow
@IGNORED
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_the_page_says_runs(
    released: Project, policy: VersionLineage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command and snippet on the page, in order, in the project's folder."""
    shutil.copytree(released.root, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for example in read_examples("standards.md"):
        if example.language == "python":
            exec(compile(example.text, "standards.md", "exec"), {})  # noqa: S102 - our own page
        for line in example.text.splitlines() if example.language == "console" else ():
            assert line.startswith("$ "), line
            words = line.removeprefix("$ ").replace("3f0c9d21", policy.subject.output.digest[7:15])
            program, *arguments = shlex.split(words, comments=True)
            if program == "openssl":
                subprocess.run([program, *arguments], check=True, capture_output=True)
                continue
            assert program == "rlaif"
            done = CliRunner().invoke(app, arguments, catch_exceptions=False)
            assert done.exit_code == 0, done.output
