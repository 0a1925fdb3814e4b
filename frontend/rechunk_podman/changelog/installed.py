"""The packages of an image: by the databases in its root filesystem, else by its Ledger."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rechunk_podman.errors import ImageError
from rechunk_podman.model import Kind
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.read.layers import no_digests, read_tree
from rechunk_podman.oci.read.tar import Content, Member
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.locations import matching
from rechunk_podman.packages.protocol import Ecosystem
from rechunk_podman.packages.versions import join_versions, newest
from rechunk_podman.planning.ledger import Ledger
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.temporary import private_directory


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a package.

    source: name of the ecosystem whose rules compare the version.
    text: "" if unknown; several installed versions are separated by spaces, the newest last.
    """

    source: str
    text: str

    @property
    def upstream(self) -> str:
        """The newest version without epoch and release."""
        rest = self.with_release
        return rest.rpartition("-")[0] or rest

    @property
    def with_release(self) -> str:
        """The newest version without epoch."""
        text = newest(self.text)
        epoch, colon, rest = text.partition(":")
        return rest if colon and epoch.isdecimal() else text


@dataclass(frozen=True, slots=True)
class Packages:
    """Package name -> version. If two ecosystems have the same name, the first in ECOSYSTEMS counts.

    sources: source packages.
    binary: installed packages; none if only a Ledger was read.
    """

    sources: Mapping[str, Version] = field(default_factory=dict)
    binary: Mapping[str, Version] = field(default_factory=dict)


def of_ledger(ledger: Ledger) -> Packages:
    """Return the source packages in an image's Ledger."""
    found: dict[str, Version] = {}
    for ecosystem in ECOSYSTEMS:
        found = {
            one_line(ident.name): Version(ident.source, one_line(entry.version))
            for ident, entry in ledger.components.items()
            if ident.source == ecosystem.name
        } | found
    return Packages(dict(sorted(found.items())))


def with_embedded(packages: Packages, ledger: Ledger) -> Packages:
    """Add the packages whose files hold their records themselves: those in the image's Ledger.

    Only a build reads all these files.
    """
    names = {ecosystem.name for ecosystem in ECOSYSTEMS if ecosystem.locations.embedded}
    known = of_ledger(ledger).sources.items()
    found = {name: version for name, version in known if version.source in names}
    sources, binary = ({**found, **those} for those in (packages.sources, packages.binary))
    return Packages(dict(sorted(sources.items())), dict(sorted(binary.items())))


def of_root(root: Root, ecosystems: Sequence[Ecosystem] = ECOSYSTEMS) -> Packages:
    """Return the packages of a root filesystem. A broken record costs its package, with a warning.

    Raises:
        DatabaseError: a database exists and cannot be read as a whole.
        RootfsError: an ecosystem keeps its records anywhere, and a directory cannot be read.
    """
    sources: dict[str, Version] = {}
    binary: dict[str, Version] = {}
    paths: Sequence[str] | None = None
    for ecosystem in ecosystems:
        if ecosystem.locations.scattered and paths is None:
            paths = scan(root, skip_special_files=True).paths
        database = ecosystem.load(root, ecosystem.locations.scattered_in(paths or ()), files=False)
        if database is None:
            continue
        present = [package for package in database.packages if not package.is_removed]
        binary = _versions(ecosystem, ((p.name, p.version) for p in present)) | binary
        sources = _versions(ecosystem, ((p.source, p.source_version) for p in present)) | sources
    return Packages(dict(sorted(sources.items())), dict(sorted(binary.items())))


def _versions(ecosystem: Ecosystem, found: Iterable[tuple[str, str]]) -> dict[str, Version]:
    versions: dict[str, list[str]] = {}
    for name, version in found:
        versions.setdefault(one_line(name), []).append(version)
    return {
        name: Version(ecosystem.name, one_line(join_versions(those, ecosystem.compare)))
        for name, those in versions.items()
    }


def one_line(text: str) -> str:
    """Replace what is not printable, such as line ends: names of directories are names of packages, too."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


@contextmanager
def databases_of(image: ImageSource) -> Iterator[Root]:
    """Unpack only the package databases of an image in a layout or archive, as a root filesystem.

    Raises:
        ImageError: a layer is damaged.
    """
    is_record = matching(glob for ecosystem in ECOSYSTEMS for glob in ecosystem.locations.files()).match
    is_named = matching(glob for ecosystem in ECOSYSTEMS for glob in ecosystem.locations.named).match
    directories = [f"{path}/" for ecosystem in ECOSYSTEMS for path in ecosystem.locations.directories]
    with private_directory() as (folder, _):
        store, top = Path(folder) / "files", Path(folder) / "root"
        store.mkdir()
        top.mkdir()

        numbers = itertools.count()

        def keep(layer: int, member: Member, content: Content) -> Path | None:
            if not is_record(member.path):
                return None
            path = store / str(next(numbers))
            with path.open("wb") as file:
                while data := content.read(1 << 20):
                    file.write(data)
            return path

        found = read_tree(image, look=keep, digests=no_digests)
        for path, entry in found.tree.items():
            if path in found.looked:
                _prepare(top, path).hardlink_to(found.looked[path])
            elif is_named(path):
                _prepare(top, path).mkdir(exist_ok=True)
            elif (
                entry.kind is Kind.SYMLINK
                and entry.target
                and any(directory.startswith(f"{path}/") for directory in directories)
            ):
                _prepare(top, path).symlink_to(entry.target)
        with Root(top) as root:
            yield root


def _prepare(top: Path, path: str) -> Path:
    """Make the directories of a path below `top` (a Tree has no symlinks there); return its location."""
    target = top / path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"cannot unpack /{path}", context=[str(error)]) from error
    return target
