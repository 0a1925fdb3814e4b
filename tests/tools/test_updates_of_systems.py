"""An update by each package manager of systems, through the command line: what travels, and what is said.

The packages are made here: saw and hammer of the source `tools`, and zlib. apk cannot be had: its database is
written after apk-package(5). Debian's rpm writes SQLite databases alone: its records are put into an ndb and
a Berkeley DB database here.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from support.assigning import assigned, make
from support.needs import needs_root, require
from support.rpm_headers import bdb_database, ndb_database
from support.tools import run
from support.updates import update

pytestmark = needs_root

BUILT = 1_700_000_000
SOURCES = {"tools": ("saw", "hammer"), "zlib": ("zlib",)}

Install = Callable[[Path, Path, str, tuple[str, ...]], None]
"""Installs sources in a version: (root filesystem, folder of its own, version, names of sources)."""


def content(name: str, version: str) -> str:
    """Return the program of a package."""
    return f"{name} {version}\n" * (20_000 if name == "zlib" else 2_000)


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


def pacman(root: Path, work: Path, version: str, sources: tuple[str, ...]) -> None:
    """Install packages by pacman."""
    require("pacman")
    (root / "var/lib/pacman").mkdir(parents=True, exist_ok=True)
    config = work / "pacman.conf"
    config.write_text("[options]\nArchitecture = auto\nSigLevel = Never\nLocalFileSigLevel = Never\n")
    packages = [
        pack(work, name, f"{version}-1", {f"usr/bin/{name}": content(name, version)}, source)
        for source in sources
        for name in SOURCES[source]
    ]
    options = ("--noconfirm", "--noscriptlet", "--config", config, "--root", root, "--cachedir", work)
    run("pacman", "-U", *options, "--dbpath", root / "var/lib/pacman", *packages)


def dpkg(root: Path, work: Path, version: str, sources: tuple[str, ...]) -> None:
    """Install packages by dpkg."""
    require("dpkg-deb")
    for directory in ("updates", "info"):
        (root / "var/lib/dpkg" / directory).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    packages = []
    for source in sources:
        for name in SOURCES[source]:
            head = f"Package: {name}\nSource: {source}\nVersion: {version}-1\nArchitecture: all\n"
            control = f"{head}Maintainer: x <x@example.org>\nDescription: x\n"
            data = content(name, version)
            sums = f"{hashlib.md5(data.encode()).hexdigest()}  usr/bin/{name}\n"
            files = {"DEBIAN/control": control, "DEBIAN/md5sums": sums, f"usr/bin/{name}": data}
            make(work / name, files, mtime=BUILT)
            packages.append(work / f"{name}-{version}.deb")
            run("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", work / name, packages[-1])
    run("dpkg", f"--root={root}", "--install", *packages)


def rpmbuild(work: Path, version: str, sources: tuple[str, ...]) -> list[Path]:
    """Build the packages of sources by rpmbuild."""
    require("rpmbuild")
    for source in sources:
        head = f"Name: {source}\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n"
        lines = [head, "%description\nx"]
        for name in SOURCES[source]:
            make(work / "content", {f"usr/bin/{name}": content(name, version)}, mtime=BUILT)
            lines.append(f"%package -n {name}\nSummary: x\n%description -n {name}\nx" * (name != source))
            lines.append(f"%files {f'-n {name}' * (name != source)}\n/usr/bin/{name}")
        (work / f"{source}.spec").write_text("\n".join([*lines, ""]))
        options = ["-bb", "--noclean", f"--buildroot={work}/content", f"--define=_topdir {work}/top"]
        options += [f"--define=_rpmdir {work}/rpms-{version}", f"--define=_dbpath {work}/none"]
        options += ["--define=__spec_install_pre %{___build_pre}", "--define=__os_install_post %{nil}"]
        options += ["--define=__check_files %{nil}", "--define=use_source_date_epoch_as_buildtime 1"]
        run("rpmbuild", *options, "--nodeps", work / f"{source}.spec", env={"SOURCE_DATE_EPOCH": str(BUILT)})
    return sorted((work / f"rpms-{version}").glob("**/*.rpm"))


def rpm(root: Path, work: Path, version: str, sources: tuple[str, ...]) -> None:
    """Install packages by rpm, whose database is SQLite's."""
    require("rpm")
    options = [f"--root={root}", "--define=_dbpath /usr/lib/sysimage/rpm", "--nosignature", "--nodeps"]
    run("rpm", *options, "--upgrade", *rpmbuild(work, version, sources))


def converted(name: str, write: Callable[[Path, Sequence[bytes]], None]) -> Install:
    """Return the function that installs by rpm and writes its records into a database of another kind."""

    def install(root: Path, work: Path, version: str, sources: tuple[str, ...]) -> None:
        own = work / "root"
        rpm(own, work, version, sources)
        shutil.copytree(own / "usr/bin", root / "usr/bin", dirs_exist_ok=True)
        with closing(sqlite3.connect(own / "usr/lib/sysimage/rpm/rpmdb.sqlite")) as connection:
            records = [blob for (blob,) in connection.execute("SELECT blob FROM Packages ORDER BY hnum")]
        (root / "var/lib/rpm").mkdir(parents=True, exist_ok=True)
        write(root / "var/lib/rpm" / name, records)

    return install


def dnf(root: Path, work: Path, version: str, sources: tuple[str, ...]) -> None:
    """Install packages by dnf from a repository of their own."""
    require("dnf", "createrepo_c")
    packages = rpmbuild(work, version, sources)
    run("createrepo_c", "--quiet", packages[0].parent)
    options = ["--quiet", "--assumeyes", f"--installroot={root}", "--releasever=1", "--disablerepo=*"]
    options += [f"--repofrompath=own,{packages[0].parent}", "--enablerepo=own", "--nogpgcheck"]
    # Debian's rpm keeps the database in the home directory
    (work / ".rpmmacros").write_text("%_dbpath /usr/lib/sysimage/rpm\n")
    names = [name for source in sources for name in SOURCES[source]]
    action = "upgrade" if version == "2" else "install"
    run("dnf", *options, action, *names, env={"HOME": str(work)})
    shutil.rmtree(root / "var/cache/dnf")


EXPRESSION = """
{ names, version }:
map (name: derivation {
  name = "${name}-${version}";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  # Nix kills a builder that closes its output before it ends, as cp does
  args = [ "-c" "/bin/cp ${./. + "/${name}"} $out; exit 0" ];
}) names
"""


def nix(root: Path, work: Path, version: str, sources: tuple[str, ...]) -> None:
    """Build derivations by Nix, in the root filesystem; delete those that the update replaces."""
    require("nix-build")
    (work / "default.nix").write_text(EXPRESSION)
    names = [name for source in sources for name in SOURCES[source]]
    make(work, {name: content(name, version) for name in names})
    profile = root / "nix/var/nix/gcroots"
    options = ["--store", root, "--option", "build-users-group", "", "--option", "substitute", "false"]
    options += ["--option", "sandbox-paths", "/bin /lib /lib64 /usr"]
    quoted = " ".join(f'"{name}"' for name in names)
    given = ["--arg", "names", f"[ {quoted} ]", "--argstr", "version", version, "--no-out-link"]
    own = {"HOME": str(work), "NIX_CONF_DIR": str(work)}
    done = run("nix-build", *options, *given, work / "default.nix", env=own)
    profile.mkdir(parents=True, exist_ok=True)
    for name, path in zip(names, done.out.split(), strict=True):
        (profile / name).unlink(missing_ok=True)
        (profile / name).symlink_to(path)
    run("nix-store", *options, "--gc", env=own)
    shutil.rmtree(root / "nix/var/nix/gc-socket")


def apk(root: Path, work: Path, version: str, sources: tuple[str, ...]) -> None:
    """Write files and records as apk does."""
    records = root / "lib/apk/db/installed"
    found: dict[str, str] = {}
    for record in records.read_text().split("\n\n")[:-1] if records.exists() else ():
        found[record.partition("\nV:")[0]] = record
    for source in sources:
        for name in SOURCES[source]:
            data = content(name, version)
            make(root, {f"usr/bin/{name}": data}, mtime=BUILT)
            digest = base64.b64encode(hashlib.sha1(data.encode()).digest()).decode()
            found[f"P:{name}"] = (
                f"P:{name}\nV:{version}-r0\nA:x86_64\no:{source}\nt:{BUILT}\nF:usr/bin\nR:{name}\n"
                f"a:0:0:644\nZ:Q1{digest}"
            )
    make(root, {"lib/apk/db/installed": "".join(f"{record}\n\n" for record in found.values())})
    make(root, {f"lib/apk/db/{name}": "x" for name in ("scripts.tar", "triggers", "lock")})
    make(root, {"etc/apk/world": "hammer\nsaw\n"})


MANAGERS: dict[str, tuple[str, Install]] = {
    "dpkg": ("dpkg", dpkg),
    "pacman": ("alpm", pacman),
    "rpm-sqlite": ("rpm", rpm),
    "rpm-ndb": ("rpm", converted("Packages.db", ndb_database)),
    "rpm-bdb": ("rpm", converted("Packages", bdb_database)),
    "dnf": ("rpm", dnf),
    "nix": ("nix", nix),
    "apk": ("apk", apk),
}


@pytest.mark.parametrize("manager", MANAGERS)
def test_an_update_is_the_package_that_changed(manager: str, tmp_path: Path) -> None:
    source, install = MANAGERS[manager]
    root, before, work = (tmp_path / name for name in ("root", "before", "work"))
    root.mkdir()
    work.mkdir()
    install(root, work, "1", ("tools", "zlib"))
    shutil.copytree(root, before, symlinks=True)
    install(root, work, "2", ("tools",))
    found = update(before, root, tmp_path)
    own = {f"{source}/{name}" for name in (("saw", "hammer") if source == "nix" else ("tools",))}
    assert own <= found.components
    # a log of the package manager
    assert found.components - own <= {f"database/{source}", "unclaimed/var/log"}
    assert found.travelled <= found.size + 10_240 * len(found.components)
    new = assigned(root).components
    unchanged = sum(component.size for name, component in new.items() if name not in found.components)
    assert unchanged > 140_000
    assert found.changes.keys() == {"saw", "hammer"}
    for old, now in found.changes.values():
        assert (old.split("-")[0], now.split("-")[0]) == ("1", "2")
    for name in own:
        assert tuple(version.split("-")[0] for version in found.downloaded[name]) == ("1", "2")
        assert found.versions[name].startswith("2")
