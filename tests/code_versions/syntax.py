"""What the statements of a module define and say, the same in each version of Python."""

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlaif_dagster.digest import JsonValue

TOP = "<module>"
"""The name of what a module does when it is imported, beside defining names."""


@dataclass
class Module:
    """A module's statements by the names that they define, and what its imports mean.

    Attributes:
        imports: For each name from this package the modules and the names in them; None where a module is meant.
        foreign: For each name from elsewhere where it is from.
    """

    name: str
    path: Path
    statements: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, set[tuple[str, str | None]]] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dump:
    """Writes syntax as JSON, without docstrings, imports and the types of variables and functions.

    Attributes:
        shared_names: Names that several modules define: where they are imported from counts.
        left_out: The `id` of each statement that is left out.
    """

    module: Module
    shared_names: Collection[str]
    left_out: Collection[int] = ()

    def of_part(self, part: ast.stmt, *, is_field: bool = True) -> JsonValue:
        """A part of a class or a module; the type of a class's field counts, because classes are built from it."""
        dumped = self.of(part)
        if is_field and isinstance(part, ast.AnnAssign):
            return [dumped, self.of(part.annotation)]
        return dumped

    def of(self, node: object) -> JsonValue:
        """A node, a list of nodes, or a plain value."""
        match node:
            case ast.AST():
                return self._of_node(node)
            case list():
                return [self.of(part) for part in _that_count(node)]
            case _:
                return str(node)

    def _of_node(self, node: ast.AST) -> JsonValue:
        match node:
            case ast.Constant(value=value):
                return ["Constant", repr(value)]
            case ast.Name(id=name):
                return ["Name", name, *self._origins(name)]
            case ast.AnnAssign(target=target, value=value):
                return self.of(ast.Assign(targets=[target], value=value or ast.Constant(...)))
            case ast.ClassDef(body=body):
                parts = [self.of_part(part) for part in _that_count(body) if id(part) not in self.left_out]
                return [
                    "ClassDef",
                    node.name,
                    parts,
                    self.of([*node.bases, *node.keywords, *node.decorator_list]),
                ]
        ignored = ("ctx", "annotation", "returns", "type_comment")
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return [
            type(node).__name__,
            *([name, self.of(value)] for name, value in fields if name not in ignored),
        ]

    def _origins(self, name: str) -> Iterator[str]:
        """Says where an imported name comes from, if the name alone does not."""
        if name in self.module.foreign:
            yield self.module.foreign[name]
        for target, symbol in sorted(self.module.imports.get(name, ()), key=str):
            if symbol in self.shared_names:
                yield f"{target}.{symbol}"
            elif symbol not in (None, name):
                yield str(symbol)


def defined_names(statement: ast.stmt) -> list[str]:
    """The names that a statement of a module defines; `TOP` if it does something else."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Import() | ast.ImportFrom() | ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
            return []
        case _ if _is_text(statement):
            return []
    nodes = list(ast.walk(statement))
    stored = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    nested = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return stored + nested or [TOP]


def _that_count(parts: list[Any]) -> list[Any]:
    """Leaves docstrings out, and imports: a name that is used tells where it is from."""
    return [
        part for part in parts if not _is_text(part) and not isinstance(part, ast.Import | ast.ImportFrom)
    ]


def _is_text(part: object) -> bool:
    return (
        isinstance(part, ast.Expr)
        and isinstance(part.value, ast.Constant)
        and isinstance(part.value.value, str)
    )
