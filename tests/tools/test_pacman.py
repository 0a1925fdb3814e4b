"""Root filesystems of pacman: one that pacman fills, and one made from the records of an Arch Linux."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Prepared, Source, plan_only
from rechunk_podman.packages.alpm import text
from support.assigning import assigned
from support.needs import needs_root, require

BUILT = 1_700_000_000
UPDATED = {"glibc", "openssl", "systemd", "curl", "pacman", "ca-certificates", "sqlite"}
"""Sources of the update of an Arch Linux."""


def pack(target: Path, name: str, version: str, files: dict[str, str], base: str) -> Path:
    """Write a package as makepkg does (alpm-package(7)): .PKGINFO, .MTREE, then the files."""
    info = f"pkgname = {name}\npkgbase = {base}\npkgver = {version}\narch = any\nsize = 1\n"
    info += f"builddate = {BUILT}\nbackup = etc/{name}.conf\n"
    mtree = ["#mtree", "/set type=file uid=0 gid=0 mode=644"]
    for path, content in files.items():
        digest = hashlib.sha256(content.encode()).hexdigest()
        mtree.append(f"./{path} time={BUILT}.0 size={len(content)} sha256digest={digest}")
    path = target / f"{name}-{version}-any.pkg.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        members = {".PKGINFO": info.encode(), ".MTREE": gzip.compress("\n".join([*mtree, ""]).encode())}
        members |= {file: content.encode() for file, content in files.items()}
        for file, data in members.items():
            member = tarfile.TarInfo(file)
            member.size, member.mtime, member.mode = len(data), BUILT, 0o644
            archive.addfile(member, io.BytesIO(data))
    return path


@needs_root
def test_an_update_by_pacman_changes_its_base_alone(tmp_path: Path) -> None:
    require("pacman")
    root, packages = tmp_path / "root", tmp_path / "packages"
    (root / "var/lib/pacman").mkdir(parents=True)
    packages.mkdir()
    config = tmp_path / "pacman.conf"
    config.write_text("[options]\nArchitecture = auto\nSigLevel = Never\nLocalFileSigLevel = Never\n")

    def install(version: str, *names: str) -> None:
        paths = []
        for name, base in (("saw", "tools"), ("hammer", "tools"), ("zlib", "zlib")):
            if name in names:
                files = {f"usr/bin/{name}": f"{name} {version}", f"etc/{name}.conf": name}
                paths.append(pack(packages, name, version, files, base))
        command = ["pacman", "-U", "--noconfirm", "--noscriptlet", "--config", config, "--root", root]
        command += ["--dbpath", root / "var/lib/pacman", "--cachedir", packages, *paths]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    install("1-1", "saw", "hammer", "zlib")
    before = assigned(root)
    assert {"usr/bin/saw", "usr/bin/hammer", "etc/saw.conf"} <= set(before.paths["alpm/tools"])
    assert (before["alpm/tools"].version, before["alpm/tools"].built) == ("1-1", BUILT)
    install("2-1", "saw", "hammer")
    after = assigned(root)
    assert after["alpm/tools"].version == "2-1"
    assert after["alpm/tools"] != before["alpm/tools"]
    changed = {name for name, own in after.components.items() if before.components.get(name) != own}
    assert changed - {"alpm/tools", "database/alpm"} <= {"unclaimed/var/log"}
    assert after["alpm/zlib"] == before["alpm/zlib"]


def arch(top: Path, fixture: Path) -> None:
    """Make the files of an Arch Linux from the records of its packages, without their contents."""
    with tarfile.open(fixture) as archive:
        archive.extractall(top)  # noqa: S202 (our own archive)
    for record in sorted((top / "var/lib/pacman/local").glob("*/mtree")):
        defaults: dict[str, str] = {}
        for line in text.unpack(record.read_bytes(), 1 << 26).decode().splitlines()[1:]:
            name, *words = line.split()
            values = dict(word.split("=", 1) for word in words)
            if name == "/set":
                defaults |= values
            elif not re.match(r"\./\.[A-Z]+$", name):
                encoded = re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1], 8)]), name[2:].encode())
                make_entry(top / os.fsdecode(encoded), defaults | values)


def make_entry(path: Path, values: dict[str, str]) -> None:
    """Make a directory, symlink or sparse file as an mtree describes it."""
    (path if values["type"] == "dir" else path.parent).mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        return
    if values["type"] == "link":
        path.symlink_to(values["link"])
        return
    with path.open("wb") as file:
        file.truncate(int(values["size"]))
    path.chmod(int(values["mode"], 8))
    os.utime(path, (float(values["time"]),) * 2)


def shipped(prepared: Prepared, names: set[str]) -> tuple[int, int]:
    """Return the bytes of the components of these sources and the database, and of the layers they are in."""
    size = {component.id: component.size for component in prepared.assignment.components}
    changed = {ident for ident in size if ident.source == "database"}
    changed |= {ident for ident in size if ident.source == "alpm" and ident.name in names}
    layers = [layer.components for layer in prepared.plan.layers if changed & set(layer.components)]
    return sum(size[ident] for ident in changed), sum(size[ident] for layer in layers for ident in layer)


def test_an_update_of_seven_sources_of_an_arch_linux(repository: Path, tmp_path: Path) -> None:
    """All files are 563 MB."""
    fixture = repository.parent / "shared" / "fixtures" / "alpm-local-arch.tar.gz"
    if not fixture.exists():
        pytest.skip("the database of a real Arch Linux is not beside the checkout")
    arch(tmp_path, fixture)
    prepared = plan_only(Source(str(tmp_path)), BuildOptions(threads=1, max_layers=64))
    size = {str(component.id): component.size for component in prepared.assignment.components}
    assert sum(name.startswith("alpm/") for name in size) == 117
    # the database's digests stand for the contents, which are not there
    assert sum(bytes_ for name, bytes_ in size.items() if name.startswith("unclaimed/")) < 10_000
    own, layers = shipped(prepared, UPDATED)
    assert own <= layers <= 1.01 * own < 143_000_000
