"""The fingerprint of everything in this package that a stage's builder reaches, docstrings and comments left out.

From the builder's definition on, each name is followed to its definition, in its own module or through an import of
this package, at module level or inside a function. Templates (`*.jinja`) beside a module that is reached count too.
"""

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from rlaif_dagster.digest import Digest, JsonValue

PACKAGE = "rlaif_dagster"
ROOT = Path(__file__).parent.parent
IGNORED = tuple(f"{PACKAGE}.{room}" for room in ("errors", "progress", "graph.changes", "graph.price"))
"""What stages reach and what cannot change their output."""


@dataclass
class Module:
    """The definitions of a module by name, and what its imports of this package mean."""

    path: Path
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)


def fingerprint(module: str, name: str) -> str:
    """Digests all that a definition reaches."""
    seen: dict[tuple[str, str], JsonValue] = {}
    _follow(module, name, seen)
    templates = {
        str(path.relative_to(ROOT)): Digest.from_file(path).sha256
        for reached in sorted({module for module, _ in seen})
        for path in _read(reached).path.parent.glob("*.jinja")
    }
    return Digest.from_json(
        [[list(key), seen[key]] for key in sorted(seen)] + [sorted(templates.items())]
    ).short


@cache
def _read(name: str) -> Module:
    path = ROOT / Path(*name.split("."))
    path = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    module = Module(path)
    for statement in ast.parse(path.read_text()).body:
        for defined in _defined_names(statement):
            module.definitions.setdefault(defined, []).append(statement)
        for node in ast.walk(statement):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE):
                for alias in node.names:
                    target = f"{node.module}.{alias.name}"
                    is_module = (ROOT / Path(*target.split("."))).with_suffix(".py").exists()
                    module.imports[alias.asname or alias.name] = (
                        (target, None) if is_module else (node.module, alias.name)
                    )
    return module


def _defined_names(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case _:
            return []


def _follow(module_name: str, name: str, seen: dict[tuple[str, str], JsonValue]) -> None:
    key = (module_name, name)
    if key in seen or module_name in IGNORED:
        return
    module = _read(module_name)
    statements = module.definitions.get(name)
    if statements is None:
        if name in module.imports:
            target, symbol = module.imports[name]
            if symbol is not None:
                _follow(target, symbol, seen)
        return
    seen[key] = [_normalise(statement) for statement in statements]
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                target, symbol = module.imports.get(node.value.id, ("", ""))
                if symbol is None:
                    _follow(target, node.attr, seen)
            if isinstance(node, ast.Name):
                if node.id in module.definitions:
                    _follow(module_name, node.id, seen)
                elif node.id in module.imports and module.imports[node.id][1] is not None:
                    target, symbol = module.imports[node.id]
                    _follow(target, str(symbol), seen)


def _normalise(statement: ast.stmt) -> str:
    tree = ast.parse(ast.unparse(statement))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and body:
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
