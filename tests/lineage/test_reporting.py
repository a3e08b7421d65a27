"""The report of a release: self-contained, true to what was stored, and every figure can be looked up."""

import html
import re
import shlex
import shutil
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rlaif_dagster.cli.main import app
from rlaif_dagster.cli.report import report_command
from rlaif_dagster.cli.sign import find_release
from rlaif_dagster.digest import Digest
from rlaif_dagster.errors import StorageError
from rlaif_dagster.evaluation.win_rate import EvaluationMetrics
from rlaif_dagster.lineage.exporting.closure import VersionLineage
from rlaif_dagster.lineage.project import Project
from rlaif_dagster.lineage.record import MaterialisationRecord
from rlaif_dagster.lineage.reporting.page import RECOMPUTE, find_sources, report_release, splice
from rlaif_dagster.lineage.reporting.picture import Node, draw_picture

from .candidates import build
from .conftest import Keys
from .test_signing import sign

LOADING = {"src", "srcset", "data", "action", "poster", "background", "ping"}


class Page(HTMLParser):
    """Collects tags, attributes, anchors and the texts of cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


@pytest.fixture(scope="module")
def page(released: Project) -> str:
    return report_release(released, find_release(released, None))


def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    parsed = Page(page)
    assert parsed.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "video", "audio"})
    names = {name for name, _ in parsed.attributes}
    assert names.isdisjoint(LOADING)
    assert not [name for name in names if name.startswith("on")]
    assert all(
        (value or "").startswith("#") for name, value in parsed.attributes if name in ("href", "xlink:href")
    )
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", page)
    loaded = re.sub(r' xmlns(:\w+)?="[^"]+"', "", page)
    assert not re.findall(r"https?://", loaded)
    assert "default-src 'none'" in page


def test_every_link_on_the_page_leads_somewhere(page: str) -> None:
    parsed = Page(page)
    ids = {value for name, value in parsed.attributes if name == "id"}
    assert {(value or "")[1:] for name, value in parsed.attributes if name == "href" and value != "#"} <= ids
    assert {"release", "lineage", "verify", "versions", "constitution", "judge", "training", "limits"} <= ids


def test_without_what_is_put_in_it_is_the_stored_page(released: Project, page: str) -> None:
    stored = (released.root / "data" / "evaluation" / "report.html").read_text(encoding="utf-8")
    title, top, bottom = "Release 1: ", "<p>top</p>", "<p>bottom</p>"
    spliced = splice(stored, title=title, top=top, bottom=bottom)
    assert spliced.replace(title, "").replace(top, "").replace(bottom, "") == stored
    rest = page
    for piece in re.split(r"(?<=<title>)|(?<=<body>\n)|(?=  <footer>)", stored):
        assert piece in rest
        rest = rest[rest.index(piece) + len(piece) :]
    assert rest == ""


def test_every_version_is_in_the_picture_and_in_the_table(released: Project, page: str) -> None:
    for record in released.ledger.records():
        assert f">{record.asset}</text>" in page
        assert page.count(record.output.digest) >= 1
    assert page.count("<rect x=") >= len(released.ledger.records())
    marked = re.findall(r'stroke="var\(--aligned\)" stroke-width="2"/>\s*<text [^>]*>([^<]+)</text>', page)
    assert marked == ["aligned_policy", "released_policy"]


def test_every_figure_can_be_looked_up_by_its_command(
    released: Project, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command gives a file of that sha256; and the win rates follow from the comparisons."""
    monkeypatch.chdir(tmp_path)
    rows = re.findall(r"<td>([\w/.]+)<br><code>(\w{64})</code></td><td><code>(rlaif [^<]+)</code>", page)
    assert len(rows) == 10
    for path, sha256, command in rows:
        _, *arguments = shlex.split(command)
        if not Path(arguments[-1]).exists():
            done = CliRunner().invoke(app, [*arguments, "--project", str(released.root)])
            assert done.exit_code == 0, done.output
        assert Digest.from_file(tmp_path / path).sha256 == sha256
    snippet = html.unescape(page[page.index("from pathlib") :].partition("</code>")[0])
    assert snippet == RECOMPUTE.format(confidence=0.95)
    names: dict[str, Any] = {"print": lambda value: names.update(found=value)}
    exec(compile(snippet, "report.html", "exec"), names)  # noqa: S102 - our own page
    stored = EvaluationMetrics.from_json((tmp_path / "evaluation" / "metrics.json").read_bytes())
    assert names["found"].win_rate_judge == stored.win_rate_judge
    assert names["found"].by_principle == stored.by_principle


def test_of_several_rounds_the_figures_are_those_of_the_round_that_was_released(released: Project) -> None:
    """The release reads the evaluations of two rounds, and names the second."""
    lineage = VersionLineage.from_project(released, "released_policy")
    *behind, release = lineage.records
    second = {"aligned_policy", "evaluation"}

    def rename(name: str) -> str:
        return f"round_2/{name}" if name in second else name

    def to_second_round(record: MaterialisationRecord) -> MaterialisationRecord:
        inputs = {rename(name): ref for name, ref in record.inputs.items()}
        return record.model_copy(update={"asset": rename(record.asset), "inputs": inputs})

    later = [to_second_round(record) for record in behind if record.asset in second]
    renamed = VersionLineage(root=lineage.root, records=(*behind, *later, to_second_round(release)))
    found = {source.path: source.command for source in find_sources(renamed, later[-1])}
    digest = Digest.parse(later[-1].output.digest).sha256
    assert found["evaluation/metrics.json"] == f"rlaif checkout round_2/evaluation@{digest} evaluation"
    assert found["aligned_policy/training.json"].startswith("rlaif checkout round_2/aligned_policy@")
    assert found["reward_model/training.json"].startswith("rlaif checkout reward_model@")


def test_the_other_commands_on_the_page_exist(page: str) -> None:
    for command in re.findall(r"<td><code>(rlaif [^<]+)</code></td></tr>", page):
        _, name, *_ = shlex.split(command)
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


def test_the_same_ledger_and_signatures_give_the_same_page(
    released: Project, page: str, tmp_path: Path
) -> None:
    shutil.copytree(released.root, tmp_path / "copy", symlinks=True)
    copy = Project.open(tmp_path / "copy")
    release = find_release(copy, None)
    assert report_release(copy, release) == page
    keys = Keys(tmp_path)
    _, public = sign(copy, release, keys)
    signed = report_release(copy, release)
    digest = Digest.from_bytes(public.read_bytes())
    assert str(digest) in signed
    assert str(digest) not in page


def test_a_reason_that_a_person_wrote_is_text(default_project: Path) -> None:
    """A release that rests on an override, with markup in its reason, and a page with all places."""
    from dataclasses import replace

    from rlaif_dagster.inputs.overrides import Override
    from rlaif_dagster.lineage.reporting import page as room

    project = Project.open(default_project)
    build(project, "one")
    release = find_release(project, None)
    override = Override(
        asset="evaluation",
        digest=str(release.digest),
        check="win_rate_over_half",
        reason="<script>alert(1)</script>\u202e{{ 7 * 7 }}",
    )
    lineage = VersionLineage.from_project(project, f"released_policy@{release.digest.sha256}")
    top, bottom = room._render(project, replace(release, rests_on=(override,)), lineage, lineage.subject)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;⟨U+202E⟩{{ 7 * 7 }}" in top
    assert "<script" not in top + bottom


def test_an_evaluation_without_a_place_for_it_is_named(default_project: Path) -> None:
    with pytest.raises(StorageError, match=r"no place for a release's part \(<title> occurs 0 times"):
        splice("<body>\n  <footer>", title="", top="", bottom="")


def test_the_command_writes_the_page(released: Project, page: str, tmp_path: Path) -> None:
    report_command(released.root, "1", tmp_path / "release.html")
    assert (tmp_path / "release.html").read_text(encoding="utf-8") == page


@st.composite
def draw_graphs(draw: st.DrawFn) -> list[Node]:
    count = draw(st.integers(1, 14))
    return [
        Node(
            name=str(number),
            title=f"asset {number}",
            subtitle="digest",
            reads=tuple(map(str, sorted(draw(st.sets(st.integers(0, number - 1), max_size=4)))))
            if number
            else (),
        )
        for number in range(count)
    ]


@given(draw_graphs())
def test_no_boxes_overlap_and_every_line_runs_down_inside_the_picture(nodes: list[Node]) -> None:
    picture = draw_picture(nodes)
    width, height = picture.box
    assert {placed.node for placed in picture.nodes} == set(nodes)
    for one, other in combinations(picture.nodes, 2):
        assert abs(one.left - other.left) >= width + 10 or abs(one.top - other.top) >= height + 10
    for placed in picture.nodes:
        assert 0 <= placed.left <= picture.width - width
        assert 0 <= placed.top <= picture.height - height
    place = {placed.node.name: placed for placed in picture.nodes}
    for node in nodes:
        assert all(place[read].bottom < place[node.name].top for read in node.reads)
    assert len(picture.lines) == sum(len(node.reads) for node in nodes)


def test_a_line_is_minor_if_others_imply_it() -> None:
    """c reads a and b, b reads a: the line from a to c says nothing more."""
    nodes = [
        Node(name="a", title="a", subtitle=""),
        Node(name="b", title="b", subtitle="", reads=("a",)),
        Node(name="c", title="c", subtitle="", reads=("a", "b")),
    ]
    assert [line.minor for line in draw_picture(nodes).lines] == [False, True, False]
