"""The tree shows the architecture: who may import or include whom, and how long a module may be."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "frontend" / "rechunk_podman"

VALUES = {
    "errors",
    "pathtable",
    "model",
    "log",
    "units",
    "files",
    "signals",
    "temporary",
    "workers",
    "patterns",
}
"""The modules that every folder may use."""

ALLOWED = {
    "errors": set(),
    "pathtable": {"native"},
    "model": {"errors", "native", "pathtable"},
    "log": set(),
    "patterns": set(),
    "units": {"patterns"},
    "files": {"errors", "signals", "temporary"},
    "signals": set(),
    "temporary": {"patterns", "signals"},
    "workers": set(),
    "native": {"model", "native"},
    "rootfs": VALUES | {"native", "rootfs"},
    "boot": VALUES | {"boot"},
    "packages": VALUES | {"rootfs", "packages"},
    "components": VALUES | {"native", "rootfs", "packages", "components"},
    "planning": VALUES | {"planning"},
    "oci": VALUES | {"native", "rootfs", "oci"},
    "programs": VALUES | {"oci", "programs"},
    "registry": VALUES | {"oci", "programs", "registry"},
    "build": VALUES
    | {
        "boot",
        "rootfs",
        "packages",
        "components",
        "planning",
        "oci",
        "programs",
        "registry",
        "build",
        "__init__",
    },
    "split": VALUES | {"oci", "programs", "registry", "build", "publish", "explain", "split", "__init__"},
    "publish": VALUES | {"oci", "programs", "registry", "build", "publish"},
    "images": VALUES | {"rootfs", "oci", "programs", "registry"},
    "explain": VALUES
    | {"history", "rootfs", "components", "planning", "oci", "registry", "images", "build", "explain"},
    "history": VALUES | {"rootfs", "packages", "components", "oci", "registry", "images", "history"},
    "lint": VALUES
    | {"native", "boot", "rootfs", "packages", "components", "oci", "registry", "images", "explain", "lint"},
    "changelog": VALUES
    | {"rootfs", "packages", "planning", "oci", "programs", "registry", "images", "explain", "changelog"},
    "__init__": {"api", "errors", "oci", "registry", "build", "split", "explain"},
    "api": {"errors", "oci", "registry", "build", "split", "explain"},
    "init": VALUES | {"programs", "init"},
}
"""Folder or module of the package -> what it may import of the package; cli may import everything."""

INCLUDED = {
    "text.h": set(),
    "entry.h": set(),
    "confined.h": set(),
    "tar.h": {"confined.h", "entry.h", "text.h"},
    "objects.h": {"Python.h"},
    "headers.h": {"tar.h"},
    "table.h": {"objects.h"},
    "text.c": {"text.h"},
    "confined.c": {"confined.h"},
    "tar.c": {"tar.h"},
    "listing.c": {"objects.h", "confined.h", "entry.h", "text.h"},
    "headers.c": {"headers.h"},
    "entries.c": {"objects.h", "headers.h"},
    "search.c": {"objects.h"},
    "table.c": {"table.h"},
    "paths.c": {"objects.h", "table.h"},
    "contents.c": {"objects.h", "confined.h"},
    "stream.c": {"objects.h", "structmember.h", "table.h", "tar.h"},
    "module.c": {"objects.h", "confined.h"},
}
"""File of native/ -> its headers, but for those of libc and of the compiler."""

MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted(PACKAGE.rglob("*.[ch]"))


def part_of(module: Path) -> str:
    relative = module.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports_of(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [node.module or ""]
            if node.module == "rechunk_podman":
                names = [f"rechunk_podman.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "rechunk_podman":
                part = rest.partition(".")[0]
                found.add("__init__" if part in ("", "__version__") else part)
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_plan(module):
    part = part_of(module)
    if part in ("cli", "__main__"):
        return
    assert part in ALLOWED, f"{part} is not in the plan of the house"
    assert imports_of(module) <= ALLOWED[part]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_has_one_job(module):
    assert len(module.read_text().splitlines()) <= 420


def test_planning_does_no_io():
    for module in sorted((PACKAGE / "planning").glob("*.py")):
        tree = ast.parse(module.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "open", f"{module.name} opens a file"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                # A replay times the plans that it makes; nothing else there has a clock.
                banned = {"random", "os", "pathlib"} | ({"time"} if module.stem != "simulate" else set())
                assert not banned & set(names), f"{module.name} imports {names}"


def test_only_cli_prints_exits_or_knows_typer():
    for module in MODULES:
        if part_of(module) in ("cli", "__main__"):
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in ("print", "sys.exit", "exit"), f"{module}: {name}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "typer" not in ast.unparse(node), f"{module} knows typer"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_includes_follow_the_plan(source):
    assert source.parent == PACKAGE / "native"
    lines = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)', source.read_text(), re.MULTILINE)
    own = {path.name for path in SOURCES} | {"Python.h", "structmember.h"}
    assert set(lines) & own == INCLUDED[source.name]
    quoted = re.findall(r'#\s*include\s*"([^"]+)', source.read_text())
    assert set(quoted) <= own


def test_every_source_is_in_the_plan():
    assert {path.name for path in SOURCES} == INCLUDED.keys()


@pytest.mark.parametrize(
    "header", [path for path in SOURCES if path.suffix == ".h"], ids=lambda path: path.name
)
def test_headers_declare_and_hold_no_code(header):
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    assert not re.search(r"\)\s*\{|\bstatic\b|\binline\b", text)


def test_the_extension_is_imported_by_its_public_names():
    for module in MODULES:
        if part_of(module) != "native":
            assert "native._native" not in module.read_text(), module


def test_extended_attributes_go_through_pyxattr():
    names = {"getxattr", "listxattr", "setxattr", "removexattr"}
    users = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in names:
                assert ast.unparse(node.value) == "xattr", f"{module}: {ast.unparse(node)}"
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                assert not names & {alias.name for alias in node.names}, module
            if isinstance(node, ast.Import) and "xattr" in [alias.name for alias in node.names]:
                users.add(str(module.relative_to(PACKAGE)))
    assert users == {"rootfs/scan.py"}


def test_modules_of_tests_have_names_of_their_own():
    """pytest imports a module of tests by its name alone, since the folders are no packages."""
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
