"""The bytes of an update of an application, for several ways to lay its image into layers.

    python benchmarks/applications.py [--kind node --kind python] [--layers 64] [--write]

Two applications, each on a Debian base by mmdebstrap: one of Node.js with more than 300 packages by npm, one
of Python with numpy, pandas and Django in a virtual environment by pip. The update has a newer version of one
dependency, and a change of the code. A rebuild installs all packages anew, as in practice.

Bytes are those of blobs compressed as zstd:

* the files that changed: the new and the changed files of the update, in one tar;
* the layers as a Dockerfile makes them: base, dependencies, code. Those of dependencies and code change;
* the layers of `rechunk-podman build --max-layers N`, the update with `--previous`: those that the image
  before does not have. Each update is verified to hold its files.

--write puts the table into docs/comparison.md. Needs root, npm and the registries, and 6 GB in TMPDIR.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from figures import write_figures
from images import debian
from images.cache import cached, call, need

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "comparison.md"
BEGIN, END = "<!-- applications: begin -->\n", "<!-- applications: end -->\n"
MOMENTS = ("release", "updated")

BASES = {"node": ("ca-certificates", "nodejs"), "python": ("ca-certificates", "python3", "python3-venv")}
DEPENDENCIES = {"node": "srv/app/node_modules", "python": "opt/venv"}
TITLES = {
    "node": "Node.js: a newer {}",
    "python": "Python: a newer {}",
}

MODULES = {
    "express": "4.21.1",
    "axios": "1.7.7",
    "lodash": "4.17.21",
    "react": "18.3.1",
    "react-dom": "18.3.1",
    "typescript": "5.6.3",
    "webpack": "5.95.0",
    "eslint": "9.13.0",
    "jest": "29.7.0",
    "pg": "8.13.1",
    "winston": "3.15.0",
    "date-fns": "4.1.0",
}
WHEELS = {
    "numpy": "2.1.2",
    "pandas": "2.2.3",
    "django": "5.1.2",
    "requests": "2.32.3",
    "sqlalchemy": "2.0.36",
    "celery": "5.4.0",
    "pillow": "11.0.0",
    "boto3": "1.35.50",
    "lxml": "5.3.0",
    "cryptography": "43.0.3",
    "pydantic": "2.9.2",
    "gunicorn": "23.0.0",
    "psycopg2-binary": "2.9.10",
}
UPDATES = {
    "node": {"axios": "1.7.8", "typescript": "5.7.2", "pg": "8.13.0"},
    "python": {"django": "5.1.3", "pandas": "2.2.2", "requests": "2.32.2"},
}
"""Kind -> dependency -> its other version: each is a measurement of its own."""


def base(kind: str) -> Path:
    """The root filesystem that the application stands on."""

    def build(folder: Path) -> None:
        need("mmdebstrap")
        sources = [f"deb {debian.MIRROR} {debian.SUITE} main"]
        debian.bootstrap(folder / "root", debian.SUITE, BASES[kind], sources)

    return cached(f"application-base-{kind}", "1", build) / "root"


def application(kind: str, versions: dict[str, str], name: str) -> Path:
    """The application with these versions of its dependencies: a root filesystem without the base."""

    def build(folder: Path) -> None:
        # at one path, which stands in some of the files
        top = Path(tempfile.gettempdir()) / "rechunk-benchmark-root"
        shutil.rmtree(top, ignore_errors=True)
        (_node if kind == "node" else _python)(top, versions)
        shutil.move(top, folder / "root")

    return cached(f"application-{kind}-{name}", "2", build) / "root"


def _code(app: Path, name: str) -> None:
    """Write 60 files of code, of which two depend on the name of the moment."""
    for number in range(60):
        path = app / f"src/part{number % 6}/file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"line {line} of file {number}\n" for line in range(200))
        path.write_text(text + (f"version {name}\n" if number < 2 else ""))


def _node(top: Path, versions: dict[str, str]) -> None:
    app = top / "srv/app"
    app.mkdir(parents=True)
    (app / "package.json").write_text(
        json.dumps({"name": "app", "version": "1.0.0", "dependencies": versions})
    )
    options = ("--prefix", app, "--no-audit", "--no-fund", "--ignore-scripts", "--legacy-peer-deps")
    call("npm", "install", *options)
    _code(app, str(sorted(versions.items())))


def _python(top: Path, versions: dict[str, str]) -> None:
    environment = top / "opt/venv"
    environment.parent.mkdir(parents=True)
    stamped = {"SOURCE_DATE_EPOCH": "1700000000"}
    call("/usr/bin/python3", "-m", "venv", environment, env=stamped)
    wheels = [f"{name}=={version}" for name, version in versions.items()]
    call(environment / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *wheels, env=stamped)
    _code(top / "srv/app", str(sorted(versions.items())))


def compressed(folder: Path, *paths: str) -> int:
    """The bytes of a tar of these paths (all by default) as zstd."""
    tar = ["tar", "--create", "--directory", str(folder), "--numeric-owner", "--no-recursion", "--null"]
    if not paths:
        paths = tuple(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    with tempfile.TemporaryFile() as listed, tempfile.TemporaryFile() as target:
        listed.write("\0".join(paths).encode("utf-8", "surrogateescape"))
        listed.seek(0)
        with subprocess.Popen([*tar, "--files-from=-"], stdin=listed, stdout=subprocess.PIPE) as packing:
            subprocess.run(["zstd", "-q", "-c"], stdin=packing.stdout, stdout=target, check=True)
        assert packing.returncode == 0
        return target.seek(0, 2)


def changed(old: Path, new: Path) -> list[str]:
    """The files of `new` that `old` has not, or not with this content."""
    found = []
    for path in sorted(new.rglob("*")):
        name = path.relative_to(new)
        before = old / name
        if path.is_symlink():
            is_same = before.is_symlink() and before.readlink() == path.readlink()
        elif path.is_file():
            is_same = (
                before.is_file() and not before.is_symlink() and before.read_bytes() == path.read_bytes()
            )
        else:
            continue
        if not is_same:
            found.append(str(name))
    return found


def blobs(layout: Path) -> dict[str, int]:
    """The layers of the image in a layout: digest -> bytes."""
    index = json.loads((layout / "index.json").read_text())
    digest = index["manifests"][0]["digest"].partition(":")[2]
    manifest = json.loads((layout / "blobs/sha256" / digest).read_text())
    return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


def build(root: Path, output: Path, layers: int, previous: Path | None = None) -> dict[str, int]:
    """Build an image of the files; return its layers."""
    command = [sys.executable, "-m", "rechunk_podman", "build", "--rootfs", root, "--output", f"oci:{output}"]
    command += ["--max-layers", str(layers), "--compression", "zstd"]
    if previous is not None:
        command += ["--previous", f"oci:{previous}"]
    call(*command)
    if previous is not None:
        # blobs of the image before are not written again
        call("cp", "--archive", "--no-clobber", f"{previous}/blobs", output)
        call(sys.executable, "-m", "rechunk_podman", "verify", root, f"oci:{output}")
    return blobs(output)


def whole(kind: str, part: Path, folder: Path) -> Path:
    """The base and the application in one root filesystem."""
    call("cp", "-a", base(kind), folder)
    call("cp", "-a", "--no-target-directory", part, folder)
    return folder


def measure(kind: str, name: str, layers: list[int]) -> list[str]:
    """Return the rows of the table for the update of a dependency."""
    versions = MODULES if kind == "node" else WHEELS
    parts = [application(kind, versions, "release")]
    parts.append(application(kind, {**versions, name: UPDATES[kind][name]}, name))
    files = changed(*parts)
    least = compressed(parts[1], *files)
    paths = [str(path.relative_to(parts[1])) for path in sorted(parts[1].rglob("*"))]
    is_code = [not f"{path}/".startswith(f"{DEPENDENCIES[kind]}/") for path in paths]
    plain = sum(
        compressed(parts[1], *(path for path, own in zip(paths, is_code, strict=True) if own == which))
        for which in (False, True)
    )
    title = TITLES[kind].format(name)
    rows = [f"| {title} | the {len(files)} files that changed | | {megabytes(least)} | 1.00 |"]
    rows.append(f"| | as a Dockerfile makes them | 3 | {megabytes(plain)} | {plain / least:.2f} |")
    with tempfile.TemporaryDirectory() as folder:
        roots = [whole(kind, part, Path(folder, moment)) for part, moment in zip(parts, MOMENTS, strict=True)]
        for count in layers:
            old, new = Path(folder, f"old{count}"), Path(folder, f"new{count}")
            had = build(roots[0], old, count)
            has = build(roots[1], new, count, old)
            size = sum(size for digest, size in has.items() if digest not in had)
            label = f"`build --max-layers {count}`"
            rows.append(f"| | {label} | {len(has)} | {megabytes(size)} | {size / least:.2f} |")
    return rows


def megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", action="append", choices=list(BASES))
    parser.add_argument("--layers", action="append", type=int)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = [
        "| update | layers | how many | bytes | of the files that changed |",
        "|---|---|---|---|---|",
    ]
    print(*rows, sep="\n", flush=True)
    for kind in options.kind or BASES:
        for name in UPDATES[kind]:
            found = measure(kind, name, options.layers or [64, 400])
            print(*found, sep="\n", flush=True)
            rows += found
    if options.write:
        write_figures(DOCUMENT, BEGIN, END, "\n".join([*rows, ""]))


if __name__ == "__main__":
    main()
