"""Draws what a version was made from: boxes in rows, each below everything that it reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_BOX = (232.0, 46.0)  # width and height of a box, in pixels
_GAPS = (22.0, 34.0)  # between the boxes of a row, and between rows
_MARGIN = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A box: its two lines of text, and the names of the nodes that it reads."""

    name: str
    title: str
    subtitle: str
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedNode:
    """A node, and the position of the upper left corner of its box, in pixels."""

    node: Node
    left: float
    top: float

    @property
    def middle(self) -> float:
        """The x coordinate of its centre."""
        return self.left + _BOX[0] / 2

    @property
    def bottom(self) -> float:
        """The y coordinate of its lower edge."""
        return self.top + _BOX[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line from a node to one that reads it, as an SVG path; a minor one is implied by others."""

    path: str
    minor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Boxes and lines on a canvas; no two boxes overlap, and every line runs downwards."""

    width: float
    height: float
    box: tuple[float, float]
    nodes: tuple[PlacedNode, ...]
    lines: tuple[Line, ...]


def draw_picture(nodes: Sequence[Node]) -> Picture:
    """Places nodes.

    Args:
        nodes: The nodes, each after everything that it reads.
    """
    by_name = {node.name: node for node in nodes}
    rows = _order_rows(by_name, _find_rows(nodes))
    width = max(len(row) * (_BOX[0] + _GAPS[0]) - _GAPS[0] for row in rows)
    placed = {
        name: PlacedNode(
            node=by_name[name],
            left=_MARGIN
            + (width - len(row) * (_BOX[0] + _GAPS[0]) + _GAPS[0]) / 2
            + place * (_BOX[0] + _GAPS[0]),
            top=_MARGIN + number * (_BOX[1] + _GAPS[1]),
        )
        for number, row in enumerate(rows)
        for place, name in enumerate(row)
    }
    ancestors = _find_ancestors(nodes)
    return Picture(
        width=width + 2 * _MARGIN,
        height=len(rows) * (_BOX[1] + _GAPS[1]) - _GAPS[1] + 2 * _MARGIN,
        box=_BOX,
        nodes=tuple(placed.values()),
        lines=tuple(
            Line(
                path=_connect(placed[read], placed[node.name]),
                minor=any(read in ancestors[other] for other in node.reads),
            )
            for node in nodes
            for read in node.reads
        ),
    )


def _find_rows(nodes: Sequence[Node]) -> list[list[str]]:
    """Puts each node one row below the lowest that it reads, and sources just above their first reader."""
    depth: dict[str, int] = {}
    for node in nodes:
        depth[node.name] = 1 + max((depth[read] for read in node.reads), default=-1)
    for node in nodes:
        readers = [depth[other.name] for other in nodes if node.name in other.reads]
        if not node.reads and readers:
            depth[node.name] = min(readers) - 1
    return [
        [node.name for node in nodes if depth[node.name] == row] for row in range(max(depth.values()) + 1)
    ]


def _order_rows(by_name: Mapping[str, Node], rows: list[list[str]]) -> list[list[str]]:
    """Orders each row by the mean position of what its nodes read, so that fewer lines cross."""
    places: dict[str, float] = {}
    ordered = []
    for row in rows:

        def mean_place(name: str, row: list[str] = row) -> float:
            read = [places[other] for other in by_name[name].reads if other in places]
            return sum(read) / len(read) if read else row.index(name) / len(row)

        ordered.append(sorted(row, key=mean_place))
        places.update({name: (index + 1) / (len(row) + 1) for index, name in enumerate(ordered[-1])})
    return ordered


def _find_ancestors(nodes: Sequence[Node]) -> dict[str, set[str]]:
    ancestors: dict[str, set[str]] = {}
    for node in nodes:
        ancestors[node.name] = set(node.reads).union(*(ancestors[read] for read in node.reads))
    return ancestors


def _connect(source: PlacedNode, target: PlacedNode) -> str:
    """Draws a curve that leaves downwards and arrives from above."""
    bend = (target.top - source.bottom) / 2
    return (
        f"M {source.middle:.1f} {source.bottom:.1f} C {source.middle:.1f} {source.bottom + bend:.1f} "
        f"{target.middle:.1f} {target.top - bend:.1f} {target.middle:.1f} {target.top:.1f}"
    )
