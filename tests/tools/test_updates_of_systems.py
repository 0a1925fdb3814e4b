"""An update by each package manager of systems, through the command line: what travels, and what is said.

The packages are made here: saw and hammer of the source `tools`, and zlib. apk cannot be had: its database is
written after apk-package(5). The rpm of this Debian writes SQLite databases alone: its records are put into a
Berkeley DB by that library's own program, and into an ndb here (compat/test_rpm_ndb.py has a real one).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import shutil
import sqlite3
import struct
import sys
import tarfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from support.assigning import assigned, make
from support.needs import needs_root, require
from support.rpm_headers import ndb_database
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


def berkeley(path: Path, records: Sequence[bytes]) -> None:
    """Let Berkeley DB write Packages as rpm did up to 4.15 (lib/backend/db3.c): number of a header -> header.

    rpm 4.16 and newer read it, and write none.
    """
    require("db_load")
    lines = ["VERSION=3", "format=bytevalue", "type=hash", "HEADER=END"]
    for number, record in enumerate(records, 1):
        lines += [f" {struct.pack('=I', number).hex()}", f" {record.hex()}"]
    dump = path.with_suffix(".dump")
    dump.write_text("\n".join([*lines, "DATA=END", ""]))
    path.unlink(missing_ok=True)
    run("db_load", "-f", dump, path)
    dump.unlink()
    options = [f"--define=_dbpath {path.parent}", "--define=_db_backend bdb_ro", "--nosignature"]
    names = run("rpm", *options, "-qa", "--queryformat=%{NAME}\\n").out.split()
    assert len(names) == len(records)


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


EBUILD = """\
EAPI=8
DESCRIPTION="x"
SLOT=0
KEYWORDS="amd64"
S=${{WORKDIR}}
src_install() {{ dobin "${{FILESDIR}}/{name}"; }}
"""


AT_HOME = """
import runpy, sys
import portage.const
portage.const.GLOBAL_CONFIG_PATH = sys.prefix + portage.const.GLOBAL_CONFIG_PATH
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs portage with the defaults of its virtual environment, for a root that is no Gentoo Prefix."""


def portage(root: Path, work: Path, version: str, sources: tuple[str, ...]) -> None:
    """Install packages by portage from a repository of ebuilds; the version before is unmerged."""
    program = Path(sys.prefix) / "lib/portage/bin/ebuild"
    require(str(program))
    repository, config = work / "repository", work / "config/etc/portage"
    profile = 'ARCH="amd64"\nACCEPT_KEYWORDS="amd64"\nUSERLAND="GNU"\nKERNEL="linux"\n'
    repos = f"[DEFAULT]\nmain-repo = own\n[own]\nlocation = {repository}\n"
    make(config, {"repos.conf": repos, "make.profile/make.defaults": profile})
    head = {"profiles/repo_name": "own\n", "profiles/categories": "app-misc\n"}
    head |= {"profiles/arch.list": "amd64\n", "metadata/layout.conf": "masters =\nthin-manifests = true\n"}
    make(repository, head)
    env = {
        "ROOT": str(root),
        "PORTAGE_CONFIGROOT": str(work / "config"),
        "PORTAGE_OVERRIDE_EPREFIX": "",
        "PORTAGE_TMPDIR": str(work),
        "DISTDIR": str(work / "distfiles"),
        "PORTAGE_USERNAME": "root",
        "PORTAGE_GRPNAME": "root",
        "FEATURES": "nostrip -sandbox -usersandbox -userpriv -pid-sandbox -ipc-sandbox -network-sandbox",
    }
    for source in sources:
        for name in SOURCES[source]:
            folder, ebuild = repository / "app-misc" / name, f"{name}-{version}.ebuild"
            make(folder, {f"files/{name}": content(name, version), ebuild: EBUILD.format(name=name)})
            run(sys.executable, "-c", AT_HOME, program, folder / ebuild, "manifest", "merge", env=env)


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


PREFIXES = {"nix": "", "portage": "app-misc/"}
"""Ecosystem whose packages have no common source -> what stands before their names."""

MANAGERS: dict[str, tuple[str, Install]] = {
    "dpkg": ("dpkg", dpkg),
    "pacman": ("alpm", pacman),
    "rpm-sqlite": ("rpm", rpm),
    "rpm-ndb": ("rpm", converted("Packages.db", ndb_database)),
    "rpm-bdb": ("rpm", converted("Packages", berkeley)),
    "dnf": ("rpm", dnf),
    "nix": ("nix", nix),
    "apk": ("apk", apk),
    "portage": ("portage", portage),
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
    prefix = PREFIXES.get(source, "")
    packages = {f"{prefix}{name}" for name in SOURCES["tools"]}
    own = {f"{source}/{name}" for name in (packages if source in PREFIXES else ("tools",))}
    assert own <= found.components
    # a log of the package manager
    assert found.components - own <= {f"database/{source}", "unclaimed/var/log"}
    assert found.travelled <= found.size + 10_240 * len(found.components)
    new = assigned(root).components
    unchanged = sum(component.size for name, component in new.items() if name not in found.components)
    assert unchanged > 140_000
    assert found.changes.keys() == packages
    for old, now in found.changes.values():
        assert (old.split("-")[0], now.split("-")[0]) == ("1", "2")
    for name in own:
        assert tuple(version.split("-")[0] for version in found.downloaded[name]) == ("1", "2")
        assert found.versions[name].startswith("2")
