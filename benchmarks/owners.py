"""The owners of very many files: time of reading the package databases and of assigning every path.

    python benchmarks/owners.py [apk alpm dpkg rpm] [--runs N]

Each tree has 300,000 files of 2,400 packages, with the database of one package manager; then a node_modules
of 100,000 files in 5,000 packages is added. The last tree has 20,000 packages in ten node_modules; it is
planned, too. The scan is not measured. Trees are built once and kept. Each run is a process of its own, with
one thread; the best of the runs counts. The goals are user seconds.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import multiprocessing
import os
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from images.cache import cached, call
from rechunk_podman.components.assign import assign
from rechunk_podman.planning.plan import plan
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.workers import gc_paused
from support.rpm_headers import package, sqlite_database

VERSION = "1"
PACKAGES, FILES = 2_400, 125
"""Packages, and files in each."""
MODULES, PARTS = 5_000, 20
"""The same of the node_modules."""
PROJECTS, CROWD = 10, 20_000
"""Projects, and packages in the node_modules of all of them, which are components."""
BUILT = 1_600_000_000
GOALS = {"system": 3.0, "node_modules": 2.0}
"""Seconds: of the database with its files; what the node_modules may add."""


def files_of(number: int) -> dict[str, bytes]:
    """Return the files of a package: path -> content."""
    name = f"package{number:04}"
    directories = (f"usr/share/{name}", f"usr/lib/{name}/modules", f"usr/share/doc/{name}", "usr/bin")
    found = {}
    for index in range(FILES):
        path = f"{directories[0 if index % 8 else index // 8 % 4]}/{name}-file-{index:03}"
        found[path] = f"{path}\n".encode() * (index % 4 + 1)
    return found


def write(root: Path, path: str, content: bytes) -> None:
    """Write a file with the mtime BUILT; its directory exists."""
    with open(f"{root}/{path}", "wb") as file:
        file.write(content)
    os.utime(file.name, (BUILT, BUILT))


def write_files(root: Path) -> None:
    """Write the files of all packages."""
    for number in range(PACKAGES):
        for path, content in files_of(number).items():
            if not (directory := root / path).parent.is_dir():
                directory.parent.mkdir(parents=True)
            write(root, path, content)


def dpkg(root: Path) -> None:
    """Write dpkg's database."""
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    stanzas = []
    for number in range(PACKAGES):
        name, files = f"package{number:04}", files_of(number)
        stanzas.append(f"Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n")
        (info / f"{name}.list").write_text("/.\n" + "".join(f"/{path}\n" for path in files))
        sums = (f"{hashlib.md5(data).hexdigest()}  {path}\n" for path, data in files.items())  # noqa: S324
        (info / f"{name}.md5sums").write_text("".join(sums))
    (root / "var/lib/dpkg/status").write_text("\n".join(stanzas))


def apk(root: Path) -> None:
    """Write apk's database."""
    lines = []
    for number in range(PACKAGES):
        lines += [f"P:package{number:04}", "V:1-r0", "A:x86_64", f"t:{BUILT}"]
        directory = ""
        for path, data in files_of(number).items():
            head, _, name = path.rpartition("/")
            if head != directory:
                lines.append(f"F:{head}")
                directory = head
            digest = b64encode(hashlib.sha1(data).digest()).decode()  # noqa: S324
            lines += [f"R:{name}", f"Z:Q1{digest}"]
        lines.append("")
    (root / "lib/apk/db").mkdir(parents=True)
    (root / "lib/apk/db/installed").write_text("\n".join([*lines, ""]))


def alpm(root: Path) -> None:
    """Write pacman's database."""
    local = root / "var/lib/pacman/local"
    for number in range(PACKAGES):
        name, files = f"package{number:04}", files_of(number)
        record = local / f"{name}-1-1"
        record.mkdir(parents=True)
        (record / "desc").write_text(f"%NAME%\n{name}\n\n%VERSION%\n1-1\n\n%BUILDDATE%\n{BUILT}\n\n")
        (record / "files").write_text("%FILES%\n" + "".join(f"{path}\n" for path in files) + "\n")
        mtree = ["#mtree", "/set type=file uid=0 gid=0 mode=644"]
        for path, data in files.items():
            sums = (
                f"md5digest={hashlib.md5(data).hexdigest()} sha256digest={hashlib.sha256(data).hexdigest()}"  # noqa: S324
            )
            mtree.append(f"./{path} time={BUILT}.0 size={len(data)} {sums}")
        (record / "mtree").write_bytes(gzip.compress("\n".join([*mtree, ""]).encode(), 6, mtime=0))


def rpm(root: Path) -> None:
    """Write rpm's database."""
    records = []
    for number in range(PACKAGES):
        paths = sorted(f"/{path}" for path in files_of(number))
        records.append(package(f"package{number:04}", root, paths, built=BUILT))
    sqlite_database(root / "usr/lib/sysimage/rpm/rpmdb.sqlite", records)


MANAGERS: dict[str, Callable[[Path], None]] = {"apk": apk, "alpm": alpm, "dpkg": dpkg, "rpm": rpm}


def write_modules(modules: Path, count: int, parts: int) -> None:
    """Write a node_modules of so many packages, of so many files each."""
    for number in range(count):
        name = f"@scope{number % 50}/module{number:05}" if number % 10 == 0 else f"module{number:05}"
        top = modules / name
        (top / "lib").mkdir(parents=True)
        write(top, "package.json", f'{{"name": "{name}", "version": "1.0.{number}"}}'.encode())
        for index in range(parts - 1):
            write(top, f"lib/part{index:02}.js", f"// {name} {index}\n".encode() * (index + 1))


def trees(folder: Path) -> None:
    """Write all trees into a folder; those of one tree and another share the files."""
    write_files(folder / "files")
    write_modules(folder / "modules", MODULES, PARTS)
    for name, manager in MANAGERS.items():
        call("cp", "-al", folder / "files", folder / name)
        manager(folder / name)
        both = folder / f"{name}+node_modules"
        call("cp", "-al", folder / name, both)
        (both / "srv/app").mkdir(parents=True)
        call("cp", "-al", folder / "modules", both / "srv/app/node_modules")
    for project in range(PROJECTS):
        write_modules(folder / f"crowd/srv/app{project}/node_modules", CROWD // PROJECTS, 2)
    call("rm", "-r", folder / "files", folder / "modules")


def measure(tree: Path, planned: bool) -> tuple[float, float, float, int, int]:
    """Return (user, system and elapsed seconds, components, paths) of assigning, and planning, a tree."""
    with Root(tree) as root, gc_paused():
        scanned = scan(root)
        started, before = time.monotonic(), os.times()
        assignment = assign(root, scanned)
        if planned:
            plan(assignment.components, None, max_layers=64, now=BUILT)
        elapsed, now = time.monotonic() - started, os.times()
    return (
        now.user - before.user,
        now.system - before.system,
        elapsed,
        len(assignment.components),
        len(scanned),
    )


def best(tree: Path, runs: int, planned: bool = False) -> float:
    """Measure a tree so many times and print the best; return its user seconds."""
    context = multiprocessing.get_context("spawn")
    found = []
    for _ in range(runs):
        with context.Pool(1) as pool:
            found.append(pool.apply(measure, (tree, planned)))
    user, system, elapsed, components, paths = min(found)
    print(
        f"{tree.name:18}  {paths:9,}  {components:10,}  {user:6.2f}  {system:8.2f}  {elapsed:9.2f}",
        flush=True,
    )
    return user


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manager", nargs="*", metavar="MANAGER")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    folder = cached("benchmark-owners", VERSION, trees)
    run = partial(best, runs=arguments.runs)
    print("tree                    paths  components  user s  system s  elapsed s")
    late = []
    for name in arguments.manager or MANAGERS:
        system = run(folder / name)
        both = run(folder / f"{name}+node_modules")
        late += [f"{name}: {system:.2f} s"] * (system > GOALS["system"])
        late += [f"{name}+node_modules: {both - system:.2f} s more"] * (both - system > GOALS["node_modules"])
    run(folder / "crowd", planned=True)
    print("goals:", "; ".join(late) or "met")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
