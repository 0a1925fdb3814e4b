"""The package imports nothing but Python, itself and its declared dependencies."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions

PACKAGE = "rechunk_podman"


def normalised(name):
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(repository):
    """The distributions that the package depends on, and those of its options gzip and report."""
    text = (repository / "pyproject.toml").read_text()
    section = re.search(r"(?ms)^dependencies = \[$(.*?)^\]$", text)
    options = re.findall(r'(?m)^(?:gzip|report) = \["([A-Za-z0-9._-]+)', text)
    assert section is not None
    assert len(options) == 2
    return {normalised(name) for name in (*re.findall(r'(?m)^    "([A-Za-z0-9._-]+)', section[1]), *options)}


def imported(repository):
    """Top-level module -> a module of the package that imports it."""
    found = {}
    for path in sorted((repository / "frontend" / PACKAGE).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            found.update((name.partition(".")[0], path) for name in names)
    return found


def test_imports_are_declared_and_declarations_are_imported(repository):
    distributions = packages_distributions()
    others = {
        module: [normalised(name) for name in distributions.get(module, [module])]
        for module in imported(repository)
        if module != PACKAGE and module not in sys.stdlib_module_names
    }
    known = declared(repository)
    assert {module for module, names in others.items() if not known & set(names)} == set()
    assert known <= {name for names in others.values() for name in names}
