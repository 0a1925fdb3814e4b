"""Real versions of Debian packages: what each of their files is, from the archives of several suites.

apt fetches the packages, with lists and a cache of its own, below a directory that the caller names. Of each
package only the list of its files is kept.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from functools import cmp_to_key
from pathlib import Path
from typing import NamedTuple

ARCHIVE, SECURITY = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"

SUITES = (
    *((ARCHIVE, suite) for suite in ("bullseye", "bullseye-updates")),
    (SECURITY, "bullseye-security"),
    *((ARCHIVE, f"bookworm{more}") for more in ("", "-updates", "-proposed-updates", "-backports")),
    (SECURITY, "bookworm-security"),
    *((ARCHIVE, f"trixie{more}") for more in ("", "-updates", "-proposed-updates", "-backports")),
    (SECURITY, "trixie-security"),
    *((ARCHIVE, suite) for suite in ("forky", "sid", "experimental")),
)

SECTIONS = ("main", "contrib", "non-free", "non-free-firmware")


class File(NamedTuple):
    """An entry of a package that is no directory.

    mode: permission bits. size: bytes. mtime: epoch seconds.
    content: hex digits of the contents' hash, or the target of a link.
    link: True for a hard link, whose content is the path of its target.
    """

    path: str
    mode: int
    size: int
    mtime: int
    content: str
    link: bool = False


class State(NamedTuple):
    """A version of a component: the version of its first package, and the files of all of them."""

    version: str
    files: tuple[File, ...]


class Archive:
    """The packages of SUITES, through apt.

    Args:
        folder: holds the lists of the suites and of the packages' files; it is made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._apt = folder / "apt"
        self._versions: dict[str, list[tuple[str, str]]] = {}
        if not (self._apt / "done").exists():
            self._update()

    def _options(self) -> list[str]:
        apt = self._apt
        pairs = {
            "Dir::Etc::sourcelist": apt / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": apt / "state",
            "Dir::State::status": apt / "status",
            "Dir::Cache": apt / "cache",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Check-Valid-Until": "false",
        }
        return [word for key, value in pairs.items() for word in ("-o", f"{key}={value}")]

    def _run(self, *command: str, cwd: Path | None = None) -> str:
        words = [command[0], *self._options(), *command[1:]]
        return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=cwd).stdout

    def _update(self) -> None:
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self._apt / name).mkdir(parents=True, exist_ok=True)
        (self._apt / "status").touch()
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        lines = []
        for address, suite in SUITES:
            old = suite.startswith("bullseye")
            sections = [section for section in SECTIONS if not (old and section == "non-free-firmware")]
            lines.append(f"deb [signed-by={keys}] {address} {suite} {' '.join(sections)}\n")
        (self._apt / "sources.list").write_text("".join(lines))
        # a suite that is gone costs its versions alone
        subprocess.run(["apt-get", *self._options(), "-q", "update"], check=False)
        (self._apt / "done").touch()

    def versions(self, package: str) -> list[str]:
        """Return the versions of a package in all suites, oldest first."""
        table = self._run("apt-cache", "madison", package)
        rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
        found = {row[1] for row in rows if len(row) == 3 and row[2].endswith("Packages")}
        return sorted(found, key=cmp_to_key(_compare))

    def of_kind(self, start: str, end: str) -> list[str]:
        """Return the packages whose names have this start and end, oldest kernels first."""
        names = [name for name in self._run("apt-cache", "pkgnames", start).split() if name.endswith(end)]
        middles = {name: name[len(start) :].removesuffix(end) for name in names}
        plain = [name for name in names if not set(middles[name]) - set("0123456789.+-debu~rc")]
        return sorted(plain, key=cmp_to_key(lambda a, b: _compare(middles[a], middles[b])))

    def files(self, package: str, version: str) -> tuple[File, ...]:
        """Return the files of a package; fetch it if its list is not there."""
        name = hashlib.sha256(f"{package} {version}".encode()).hexdigest()[:16]
        kept = self.folder / "files" / f"{package}-{name}.json.gz"
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                self._run("apt-get", "-q", "download", f"{package}={version}", cwd=Path(folder))
                found = list(_listed(next(Path(folder).glob("*.deb"))))
            partial = kept.with_suffix(".part")
            partial.write_bytes(gzip.compress(json.dumps(found).encode()))
            partial.rename(kept)
        return tuple(File(*row) for row in json.loads(gzip.decompress(kept.read_bytes())))

    def chain(self, packages: Sequence[str], most: int) -> list[State]:
        """Return the versions of a component, oldest first: all packages of one source that have the version.

        Args:
            packages: the first decides which versions there are.
            most: the newest so many.
        """
        states = []
        others = {package: set(self.versions(package)) for package in packages[1:]}
        for version in self.versions(packages[0])[-most:]:
            held = [packages[0], *(package for package, known in others.items() if version in known)]
            files = {file.path: file for package in held for file in self.files(package, version)}
            states.append(State(version, tuple(files[path] for path in sorted(files))))
        return states

    def kernels(self, start: str, end: str, most: int) -> list[State]:
        """Return the newest packages of_kind(), each a version of one component."""
        names = self.of_kind(start, end)[-most:]
        return [State(name, self.files(name, self.versions(name)[-1])) for name in names]


def _compare(one: str, other: str) -> int:
    if one == other:
        return 0
    return -1 if subprocess.run(["dpkg", "--compare-versions", one, "lt", other]).returncode == 0 else 1


def _listed(package: Path) -> Iterator[File]:
    """Yield the files of a .deb."""
    command = ["dpkg-deb", "--fsys-tarfile", package]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for entry in archive:
            path = entry.name.removeprefix("./").rstrip("/")
            if entry.isreg():
                digest = hashlib.sha256()
                data = archive.extractfile(entry)
                while data is not None and (piece := data.read(1 << 20)):
                    digest.update(piece)
                yield File(path, entry.mode, entry.size, int(entry.mtime), digest.hexdigest()[:32])
            elif entry.issym() or entry.islnk():
                target = entry.linkname.removeprefix("./") if entry.islnk() else entry.linkname
                yield File(path, entry.mode, 0, int(entry.mtime), target, entry.islnk())
