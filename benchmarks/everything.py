"""The owners of the files of an image with everything at once, and the bytes of an update of each kind.

    python benchmarks/everything.py [--layers 64] [--alpine minirootfs.tar.gz] [--write]

Debian with two kernels, a Python environment by pip, a Node.js application by npm, Flatpak applications with
their runtime, and an image in a storage of its own. Each update changes one thing in the image of the update
before; the last one changes nothing. With --alpine, a root filesystem of Alpine Linux is measured, too, as
Alpine publishes it (alpine-minirootfs-VERSION-ARCH.tar.gz). Its update is a package that this script makes
and apk installs.

Bytes are those of blobs compressed as zstd: of the new and changed files in one tar, and of the layers of
`build --max-layers N --previous` that the image before has not. Each update is verified to hold its files.

--write puts the tables into docs/comparison.md. Needs root, podman, skopeo, flatpak, npm, the mirrors and
registries, and 8 GB in TMPDIR.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from hashlib import sha1, sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from applications import DOCUMENT, MODULES, UPDATES, WHEELS, application, build, compressed
from figures import write_figures
from images import debian
from images.cache import cached, call, need
from support.flatpak import Flatpak
from support.oci_material import Layout, directory, make_tar, member

BEGIN, END = "<!-- everything: begin -->\n", "<!-- everything: end -->\n"
PACKAGES = (
    "ca-certificates",
    "git",
    "linux-image-amd64",
    "linux-image-cloud-amd64",
    "nodejs",
    "openssl",
    "python3-venv",
)
STORE = "usr/lib/containers/storage"
SHOWN = 4
"""Components of a source that the table names."""


def base() -> Path:
    """Debian as of the point release, with both kernels."""

    def make(folder: Path) -> None:
        sources = [f"deb {debian.MIRROR} {debian.SUITE} main"]
        debian.bootstrap(folder / "root", debian.SUITE, PACKAGES, sources)

    return cached("everything-base", "1", make) / "root"


class Image:
    """The root filesystem and what makes its updates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        call("cp", "-a", base(), self.root)
        self._copy(application("python", WHEELS, "release"))
        self._copy(application("node", MODULES, "release"))
        self.flatpak = Flatpak(folder / "flatpak")
        self._installation()
        self._store("1")

    def _copy(self, part: Path) -> None:
        call("cp", "-a", "--no-target-directory", part, self.root)

    def _installation(self) -> None:
        target = self.root / "var/lib/flatpak"
        shutil.rmtree(target, ignore_errors=True)
        call("cp", "-a", self.flatpak.root / "var/lib/flatpak", target)

    def _store(self, version: str) -> None:
        """Put an image of two layers into the storage in the image: a base, and code of this version."""
        numbers = random.Random(1)
        base = [directory("usr"), member("usr/base.bin", data=numbers.randbytes(4_000_000))]
        code = [directory("srv"), member("srv/code", data=random.Random(version).randbytes(500_000))]
        layout = Layout(self.folder / f"store{version}")
        layout.layer(make_tar(base))
        layout.layer(make_tar(code))
        run = self.folder / "run"
        store = f"containers-storage:[overlay@{self.root}/{STORE}+{run}]localhost/web:{version}"
        call("skopeo", "copy", "--quiet", f"oci:{layout.finish()}", store)
        if version != "1":
            call("podman", "--root", self.root / STORE, "--runroot", run, "rmi", "localhost/web:1")

    def apt(self, *commands: str) -> None:
        """Run commands in the root filesystem, with security updates among its sources."""
        sources = self.root / "etc/apt/sources.list.d/security.list"
        sources.write_text(f"deb {debian.SECURITY_MIRROR} {debian.SUITE}-security main\n")
        resolver = self.root / "etc/resolv.conf"
        before = resolver.read_bytes() if resolver.exists() else None
        resolver.write_bytes(Path("/etc/resolv.conf").read_bytes())
        script = 'mount -t proc proc proc && exec chroot . sh -ec "$1"'
        steps = ["export DEBIAN_FRONTEND=noninteractive", "apt-get -qq update", *commands]
        steps += ["apt-get clean", "rm -rf /var/lib/apt/lists/*", "rm -f /var/log/apt/* /var/log/dpkg.log"]
        subprocess.run(
            ["unshare", "--mount", "sh", "-ec", script, "sh", "\n".join(steps)],
            cwd=self.root,
            check=True,
            stdout=sys.stderr,
        )
        sources.unlink()
        resolver.unlink()
        if before is not None:
            resolver.write_bytes(before)

    def python(self) -> None:
        shutil.rmtree(self.root / "opt/venv")
        self._copy(application("python", {**WHEELS, "django": UPDATES["python"]["django"]}, "django"))

    def node(self) -> None:
        shutil.rmtree(self.root / "srv/app/node_modules")
        self._copy(application("node", {**MODULES, "axios": UPDATES["node"]["axios"]}, "axios"))

    def application(self) -> None:
        self.flatpak.export("Two", "2")
        self.flatpak.update("Two")
        self._installation()

    def updates(self) -> dict[str, Callable[[], None]]:
        """Return what makes each update."""
        kernel = [
            "old=$(dpkg-query -W -f '${Package}\\n' 'linux-image-[0-9]*-cloud-amd64')",
            "apt-get -qq install --only-upgrade linux-image-cloud-amd64",
            "apt-get -qq purge $old",
        ]
        return {
            "Debian: a newer openssl": lambda: self.apt("apt-get -qq install --only-upgrade openssl libssl3"),
            "Debian: a newer kernel of the two": lambda: self.apt(*kernel),
            "pip: a newer django": self.python,
            "npm: a newer axios": self.node,
            "Flatpak: a newer application": self.application,
            "image in the image: newer code": lambda: self._store("2"),
            "nothing": lambda: None,
        }


class Alpine:
    """A root filesystem of Alpine Linux with a package of our own."""

    def __init__(self, folder: Path, archive: Path) -> None:
        self.root = folder / "alpine"
        self.root.mkdir()
        call("tar", "-xf", archive, "-C", self.root)
        self._package("1")

    def _package(self, version: str) -> None:
        """Let apk install a package that is made here: its archive of control data, and its files."""
        files = [directory("usr/lib/tool")]
        for number in range(4):
            text = random.Random(number if number else version).randbytes(100_000)
            files.append(member(f"usr/lib/tool/part{number}", data=text))
        for info, data in files:
            if info.isreg():
                digest = sha1(data, usedforsecurity=False).hexdigest()
                info.pax_headers = {"APK-TOOLS.checksum.SHA1": digest}
        data = gzip.compress(make_tar(files))
        about = {"pkgname": "tool", "pkgver": f"{version}-r0", "arch": "x86_64", "size": "400000"}
        about |= {"pkgdesc": "tool", "builddate": f"170000000{version}", "origin": "tool"}
        about["datahash"] = sha256(data).hexdigest()
        text = "".join(f"{key} = {value}\n" for key, value in about.items())
        # the archive of control data has no end: the files follow
        control = make_tar([member(".PKGINFO", data=text.encode())])
        (self.root / "tool.apk").write_bytes(
            gzip.compress(control[: 512 + -(-len(text) // 512) * 512]) + data
        )
        command = ["/sbin/apk", "add", "--no-network", "--allow-untrusted", "/tool.apk"]
        call("chroot", self.root, *command)
        (self.root / "tool.apk").unlink()

    def updates(self) -> dict[str, Callable[[], None]]:
        """Return what makes each update."""
        return {"Alpine: a newer package": lambda: self._package("2")}


def table(root: Path) -> list[str]:
    """Return a row for each source of components, and the share of all bytes that no source claims."""
    command = [sys.executable, "-m", "rechunk_podman", "components", root, "--json"]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    sources: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    for component in found["components"]:
        source, _, rest = component["id"].partition("/")
        sources[source].append((component["size"], rest, component["files"]))
    rows = ["| source | components | files | bytes | the largest |", "|---|---|---|---|---|"]
    for source, members in sorted(sources.items(), key=lambda item: -sum(size for size, _, _ in item[1])):
        members.sort(reverse=True)
        names = ", ".join(
            f"`{name if len(name) < 48 else f'{name[:46]}…'}`" for _, name, _ in members[:SHOWN]
        )
        size, files = sum(size for size, _, _ in members), sum(files for _, _, files in members)
        rows.append(f"| {source} | {len(members)} | {files} | {megabytes(size)} | {names} |")
    loose = found["unclaimed"]
    print(*(f"{file['size']:>12} {file['path']}" for file in loose["files"][:40]), sep="\n", file=sys.stderr)
    claimed = f"no source claims {megabytes(loose['size'])} ({loose['share']:.2%})"
    return [*rows, "", f"{megabytes(found['size'])} of files; {claimed}."]


def changed(old: Path, new: Path, since: float) -> list[str]:
    """The files of `new` that `old`, a copy of what it was, has not, or not with this content.

    Args:
        since: epoch seconds of the copy: files whose status did not change since then are not read.
    """
    found = []
    for folder, names, files in os.walk(new):
        for path in map(Path(folder).joinpath, [*names, *files]):
            name = path.relative_to(new)
            before = old / name
            if path.is_symlink():
                is_same = before.is_symlink() and before.readlink() == path.readlink()
            elif not path.is_file() or path.stat().st_ctime < since:
                continue
            else:
                is_same = before.is_file() and not before.is_symlink()
                is_same = is_same and before.read_bytes() == path.read_bytes()
            if not is_same:
                found.append(str(name))
    return sorted(found)


def measure(image: Image | Alpine, folder: Path, layers: int) -> list[str]:
    """Return the rows of the updates."""
    rows = []
    had_layout = folder / "layout"
    had = build(image.root, had_layout, layers)
    for number, (title, update) in enumerate(image.updates().items()):
        before, layout = folder / "before", folder / f"layout{number}"
        call("cp", "-a", image.root, before)
        since = time.time() - 1
        update()
        files = changed(before, image.root, since)
        shutil.rmtree(before)
        least = compressed(image.root, *files) if files else 0
        has = build(image.root, layout, layers, had_layout)
        size = sum(size for digest, size in has.items() if digest not in had)
        ratio = f"{size / least:.2f}" if least else ""
        rows.append(
            f"| {title} | {len(files)} | {megabytes(least)} | {megabytes(size)} | {ratio} | "
            f"{len(set(has) - set(had))} of {len(has)} |"
        )
        print(rows[-1], flush=True)
        shutil.rmtree(had_layout)
        had, had_layout = has, layout
    shutil.rmtree(had_layout)
    return rows


def megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--alpine", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    need("flatpak", "npm", "podman", "skopeo")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines, rows = [], []
        images = [Alpine(folder, options.alpine)] if options.alpine else []
        for image in [Image(folder), *images]:
            lines += [*table(image.root), ""]
            print(*lines, sep="\n", flush=True)
            rows += measure(image, folder, options.layers)
    lines += ["| update | files that changed | bytes of these | layers that travel | ratio | how many |"]
    lines += ["|---|---|---|---|---|---|", *rows]
    if options.write:
        write_figures(DOCUMENT, BEGIN, END, "\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
