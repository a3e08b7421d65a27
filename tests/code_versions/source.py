"""The definitions of a package: what each one says, and what else it names.

A definition is a function, a class or a constant of a module. Two kinds of class members are definitions of their own,
because the code of a stage that never mentions them cannot use them: methods (but for magic ones, and those with a
decorator that may register them), and the fields of pydantic models. A class that has a base outside the package, such
as a trainer, is one definition: the library may call any of its methods.
"""

import ast
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rlaif_dagster.digest import Digest
from tests.code_versions.syntax import TOP, Dump, Module, defined_names

Key = tuple[str, str]
"""A module and a name in it; or a folder that ends in a slash, and a file in it."""

PLAIN_DECORATORS = {"property", "cached_property", "staticmethod", "classmethod", "contextmanager"}
HARMLESS_BASES = {"typing.Protocol", "typing.Generic", "abc.ABC", "pydantic.BaseModel"}


@dataclass(frozen=True, slots=True)
class Definition:
    """What a definition says, and what it leads to.

    Attributes:
        digest: Of its source, without comments, docstrings and the types of variables, parameters and results.
        names: Other definitions that it names, in types as well: their methods may be called.
        mentions: Names of attributes and keywords, and all texts in it: members that it may use.
        members: Members that are reached only where they are mentioned.
    """

    digest: str
    names: frozenset[Key] = frozenset()
    mentions: frozenset[str] = frozenset()
    members: tuple[str, ...] = ()


class Source:
    """The source of a package, each module parsed once."""

    def __init__(self, root: Path, package: str) -> None:
        """Reads no module yet; `root` is the folder that holds the package."""
        self._package = package
        self._plug_ins = _read_plug_ins(root / "pyproject.toml")
        self._paths = {_name(path, root): path for path in (root / package).rglob("*.py")}
        self._modules: dict[str, Module] = {}
        self._definitions: dict[Key, Definition | None] = {}

    def find(self, key: Key) -> Definition | None:
        """The definition of a key; None where there is none."""
        if key not in self._definitions:
            self._definitions[key] = self._read_definition(*key)
        return self._definitions[key]

    def resolve(self, module_name: str, name: str) -> set[Key]:
        """The definitions that a name means in a module of the package, through imports."""
        if module_name not in self._paths:
            return set()
        module = self._module(module_name)
        if name in module.statements:
            return {(module_name, name)}
        found: set[Key] = set()
        for target, symbol in module.imports.get(name, ()):
            found |= self._all_of(target) if symbol is None else self.resolve(target, symbol)
        return found

    def resolve_registry(self, package: str, name: str) -> set[Key]:
        """What each module of a package defines under a name, as `rlaif_dagster.registry.collect` finds it."""
        modules = {module for module in self._paths if module.rpartition(".")[0] == package}
        return {key for module in modules for key in self.resolve(module, name)}

    def resolve_text(self, name: str) -> set[Key]:
        """The definitions of a module that is named in full, as the program of another process is.

        The group of the package's entry points stands for all that they name.
        """
        if name in self._plug_ins:
            return set().union(*(self.resolve(*target) for target in self._plug_ins[name]))
        path = self._paths.get(name)
        return set() if path is None or path.name == "__init__.py" else self._all_of(name)

    def _all_of(self, module_name: str) -> set[Key]:
        return {(module_name, name) for name in self._module(module_name).statements}

    def _module(self, name: str) -> Module:
        if name not in self._modules:
            self._modules[name] = self._parse(name)
        return self._modules[name]

    def _parse(self, name: str) -> Module:
        module = Module(name, self._paths[name])
        tree = ast.parse(module.path.read_text(encoding="utf-8"))
        for statement in tree.body:
            for defined in defined_names(statement):
                module.statements.setdefault(defined, []).append(statement)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self._read_import(module, node)
            elif isinstance(node, ast.ImportFrom):
                self._read_import_from(module, node)
        return module

    def _read_import(self, module: Module, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] == self._package:
                raise ValueError(
                    f"{module.path}: write `from {self._package}... import`, not `import {alias.name}`"
                )
            name = alias.asname or alias.name.split(".")[0]
            module.foreign[name] = alias.name if alias.asname else name

    def _read_import_from(self, module: Module, node: ast.ImportFrom) -> None:
        if node.level:
            raise ValueError(f"{module.path}: write `from {self._package}... import`, not a relative import")
        for alias in node.names:
            name, target = alias.asname or alias.name, f"{node.module}.{alias.name}"
            if str(node.module).split(".")[0] != self._package:
                module.foreign[name] = target
            else:
                meant = (target, None) if target in self._paths else (str(node.module), alias.name)
                module.imports.setdefault(name, set()).add(meant)

    @cached_property
    def _shared_names(self) -> set[str]:
        """Names that more than one module defines: an import that changes its source changes what they mean."""
        seen: set[str] = set()
        shared: set[str] = set()
        for name in self._paths:
            defined = set(self._module(name).statements)
            shared |= seen & defined
            seen |= defined
        return shared

    def _read_definition(self, module_name: str, name: str) -> Definition | None:
        if module_name.endswith("/"):
            return None
        module = self._module(module_name)
        if name in module.statements:
            statements = module.statements[name]
            members = self._lazy_members(module, statements)
            lazy = {id(part) for parts in members.values() for part in parts}
            return self._define(module, statements, lazy, tuple(f"{name}.{member}" for member in members))
        owner, _, member = name.partition(".")
        parts = self._lazy_members(module, module.statements.get(owner, [])).get(member)
        return self._define(module, parts, is_member=True) if parts else None

    def _define(
        self,
        module: Module,
        statements: Iterable[ast.stmt],
        lazy: Iterable[int] = (),
        members: tuple[str, ...] = (),
        is_member: bool = False,
    ) -> Definition:
        reader = _Reader(self, module, set(lazy))
        for statement in statements:
            reader.visit(statement)
        dump = Dump(module, self._shared_names, set(lazy))
        content = [dump.of_part(statement, is_field=is_member) for statement in statements]
        files = {
            path.name: path
            for path in module.path.parent.iterdir()
            if path.suffix != ".py" and path.is_file()
        }
        folder = f"{module.name if module.path.name == '__init__.py' else module.name.rpartition('.')[0]}/"
        for file in sorted(reader.mentions & set(files)):
            self._add_file((folder, file), files[file])
            reader.names.add((folder, file))
        if TOP in module.statements:
            reader.names.add((module.name, TOP))
        return Definition(
            Digest.from_json(content).sha256[:8], frozenset(reader.names), frozenset(reader.mentions), members
        )

    def _add_file(self, key: Key, path: Path) -> None:
        """A template's words may be attributes of what it shows."""
        words = frozenset(re.findall(r"[^\W\d]\w*", path.read_text(encoding="utf-8")))
        self._definitions[key] = Definition(Digest.from_file(path).sha256[:8], mentions=words)

    def _lazy_members(self, module: Module, statements: Iterable[ast.stmt]) -> dict[str, list[ast.stmt]]:
        members: dict[str, list[ast.stmt]] = {}
        for statement in statements:
            if not isinstance(statement, ast.ClassDef):
                continue
            bases = self._bases(module, statement)
            if not bases <= HARMLESS_BASES:
                continue
            for part in statement.body:
                match part:
                    case ast.FunctionDef(name=name, decorator_list=decorators):
                        if not name.startswith("__") and all(map(_is_plain, decorators)):
                            members.setdefault(name, []).append(part)
                    case ast.AnnAssign(target=ast.Name(id=name)) if "pydantic.BaseModel" in bases:
                        if name != "model_config":
                            members.setdefault(name, []).append(part)
        return members

    def _bases(self, module: Module, statement: ast.ClassDef) -> set[str]:
        """Where a class comes from outside the package, through its bases in the package."""
        found: set[str] = set()
        for base in statement.bases:
            node = base.value if isinstance(base, ast.Subscript) else base
            inside = self.resolve(module.name, node.id) if isinstance(node, ast.Name) else set()
            for target, name in inside:
                for parent in self._module(target).statements[name]:
                    if isinstance(parent, ast.ClassDef):
                        found |= self._bases(self._module(target), parent)
            if not inside:
                found.add(module.foreign.get(ast.unparse(node), ast.unparse(node)))
        return found


class _Reader(ast.NodeVisitor):
    """Collects what a statement names and mentions."""

    def __init__(self, source: Source, module: Module, lazy: set[int]) -> None:
        self.names: set[Key] = set()
        self.mentions: set[str] = set()
        self._source, self._module, self._lazy = source, module, lazy

    def visit(self, node: ast.AST) -> None:
        if id(node) in self._lazy:
            return
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                self.mentions.add(attribute)
                modules = {target for target, symbol in self._module.imports.get(name, ()) if symbol is None}
                for target in modules:
                    self.names |= self._source.resolve(target, attribute)
                if not modules:
                    self._add(name)
                return
            case ast.Attribute(attr=attribute):
                self.mentions.add(attribute)
            case ast.Call(
                func=ast.Name(id="collect"),
                args=[ast.Constant(value=str(package)), ast.Constant(value=str(name))],
            ):
                self.names |= self._source.resolve_registry(package, name)
            case ast.keyword(arg=str(name)):
                self.mentions.add(name)
            case ast.MatchClass(kwd_attrs=names):
                self.mentions.update(names)
            case ast.Name(id=name):
                self._add(name)
            case ast.Constant(value=str(text)):
                self.mentions.add(text)
                for word in text.split(" | "):  # a type that is named before it is defined
                    self._add(word)
                self.names |= self._source.resolve_text(text)
        self.generic_visit(node)

    def _add(self, name: str) -> None:
        self.names |= self._source.resolve(self._module.name, name)


def _read_plug_ins(file: Path) -> dict[str, list[Key]]:
    """The modules and the names in them that each group of a project's entry points names."""
    if not file.is_file():
        return {}
    groups = tomllib.loads(file.read_text(encoding="utf-8"))["project"].get("entry-points", {})
    return {
        group: [(module, name) for module, _, name in (text.partition(":") for text in entries.values())]
        for group, entries in groups.items()
    }


def _name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _is_plain(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).split(".")[-1] in PLAIN_DECORATORS | {"setter"}
