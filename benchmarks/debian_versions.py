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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cmp_to_key
from pathlib import Path
from typing import NamedTuple

ARCHIVE, SECURITY = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"

SUITES = (
    *((ARCHIVE, suite) for suite in ("bullseye",)),
    (SECURITY, "bullseye-security"),
    *((ARCHIVE, f"bookworm{more}") for more in ("", "-updates", "-backports")),
    (SECURITY, "bookworm-security"),
    *((ARCHIVE, f"trixie{more}") for more in ("", "-updates", "-backports")),
    (SECURITY, "trixie-security"),
    *((ARCHIVE, suite) for suite in ("forky", "sid")),
)

SECTIONS = ("main", "non-free", "non-free-firmware")


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
        self._versions: dict[str, set[str]] = {}
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
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::Check-Valid-Until": "false",
        }
        return [word for key, value in pairs.items() for word in ("-o", f"{key}={value}")]

    def _run(self, *command: str, cwd: Path | None = None, check: bool = True) -> str:
        words = [command[0], *self._options(), *command[1:]]
        return subprocess.run(words, check=check, stdout=subprocess.PIPE, text=True, cwd=cwd).stdout

    def _update(self) -> None:
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self._apt / name).mkdir(parents=True, exist_ok=True)
        (self._apt / "status").touch()
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        lines = []
        for address, suite in SUITES:
            old = suite.startswith("bullseye")
            sections = SECTIONS[:2] if old else (SECTIONS[0], SECTIONS[2])
            lines.append(f"deb [signed-by={keys}] {address} {suite} {' '.join(sections)}\n")
        (self._apt / "sources.list").write_text("".join(lines))
        # a suite that is gone costs its versions alone
        subprocess.run(["apt-get", *self._options(), "-q", "update"], check=False)
        (self._apt / "done").touch()

    def look_up(self, packages: Iterable[str]) -> None:
        """Ask for the versions of packages, all at once: apt needs long to begin."""
        table = self._run("apt-cache", "madison", *sorted(set(packages)))
        rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
        for package, version, place in (row for row in rows if len(row) == 3):
            if place.endswith("Packages"):
                self._versions.setdefault(package, set()).add(version)

    def versions(self, package: str) -> list[str]:
        """Return the versions of a package in all suites, oldest first. look_up() knows them."""
        return sorted(self._versions.get(package, ()), key=cmp_to_key(_compare))

    def of_kind(self, start: str, end: str) -> list[str]:
        """Return the packages whose names have this start and end, and a version between, oldest first."""
        names = [name for name in self._run("apt-cache", "pkgnames", start).split() if name.endswith(end)]
        middles = {name: name[len(start) :].removesuffix(end) for name in names}
        plain = [name for name in names if not set(middles[name]) - set("0123456789.+-debu~rc")]
        return sorted(plain, key=cmp_to_key(lambda a, b: _compare(middles[a], middles[b])))

    def _kept(self, package: str, version: str) -> Path:
        name = hashlib.sha256(f"{package} {version}".encode()).hexdigest()[:16]
        return self.folder / "files" / f"{package}-{name}.json.gz"

    def fetch(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Fetch the packages (name, version) whose lists of files are not there."""
        missing = sorted({pair for pair in wanted if not self._kept(*pair).exists()})
        if not missing:
            return
        (self.folder / "files").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            words = [f"{package}={version}" for package, version in missing]
            # an archive may list a version that it has no more
            self._run("apt-get", "-q", "download", *words, cwd=Path(folder), check=False)
            for deb in sorted(Path(folder).glob("*.deb")):
                # apt writes an epoch's colon as %3a
                package, version, _ = deb.name.split("_")
                kept = self._kept(package, version.replace("%3a", ":"))
                partial = kept.with_suffix(".part")
                partial.write_bytes(gzip.compress(json.dumps(list(_listed(deb))).encode()))
                partial.rename(kept)
                deb.unlink()

    def files(self, package: str, version: str) -> tuple[File, ...]:
        """Return the files of a fetched package."""
        return tuple(
            File(*row) for row in json.loads(gzip.decompress(self._kept(package, version).read_bytes()))
        )

    def chain(self, packages: Sequence[str], most: int) -> list[State]:
        """Return the versions of a component, oldest first: all packages of one source that have the version.

        Args:
            packages: the first decides which versions there are.
            most: the newest so many.
        """
        others = {package: set(self.versions(package)) for package in packages[1:]}
        held = {
            version: [packages[0], *(package for package, known in others.items() if version in known)]
            for version in self.versions(packages[0])[-most:]
        }
        return self._states(
            {version: [(package, version) for package in some] for version, some in held.items()}
        )

    def kernels(self, start: str, end: str, most: int) -> list[State]:
        """Return the newest packages of_kind(), each a version of one component."""
        names = self.of_kind(start, end)[-most:]
        self.look_up(names)
        newest = {name: self.versions(name)[-1] for name in names}
        return self._states({name: [pair] for name, pair in zip(newest, newest.items(), strict=True)})

    def _states(self, wanted: Mapping[str, Sequence[tuple[str, str]]]) -> list[State]:
        """Return the states whose packages can all be had."""
        self.fetch(pair for pairs in wanted.values() for pair in pairs)
        states = []
        for name, pairs in wanted.items():
            if all(self._kept(*pair).exists() for pair in pairs):
                files = {file.path: file for pair in pairs for file in self.files(*pair)}
                states.append(State(name, tuple(files[path] for path in sorted(files))))
        return states


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
