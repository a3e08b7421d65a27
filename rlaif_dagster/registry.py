"""Registries: what the modules of a package define under one name. A new module in the package is all that it takes."""

import importlib
import pkgutil
from typing import Any


def collect(package: str, name: str) -> tuple[Any, ...]:
    """Imports every module of a package and returns what each defines under a name, in the modules' order.

        collect("rlaif_dagster.training.methods", "SETTINGS")

    Both are written out where this is called: `tests.code_versions` reads there which definitions are reached.

    Raises:
        TypeError: If a module does not define it.
    """
    path = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(path)]
    for module in modules:
        if not hasattr(module, name):
            raise TypeError(f"{module.__name__} defines no {name}, as every module of {package} has to")
    return tuple(getattr(module, name) for module in modules)
