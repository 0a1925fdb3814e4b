"""The summary of a layer: its entries, and of the files only what the search for components needs.

A layer is read once, as a stream. Its summary holds the metadata of each entry, digests of the contents, the
bytes that each entry takes in a compressed layer, and the content of the few files that describe packages.
It is a zip archive with a member of JSON lines, and one for each content.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rechunk_podman.components.sources import flatpak, images
from rechunk_podman.components.sources.packages import LEAST_PROGRAM
from rechunk_podman.errors import DatabaseError, ImageError, RootfsError
from rechunk_podman.history.packed import PackedSizes
from rechunk_podman.model import Kind
from rechunk_podman.oci.read.header import CHUNK
from rechunk_podman.oci.read.tar import Content, Member, members
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.locations import matching
from rechunk_podman.rootfs.root import Root
from rechunk_podman.temporary import private_directory

FORMAT = 3
"""Number of the form of a summary, and of the rules for what is kept."""

ALGORITHMS = ("md5", "sha1", "sha256")
"""The digests of each content, by which package databases may know it."""

_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, struct.error),
    # a compression that zipfile does not know, an encrypted member
    *(NotImplementedError, RuntimeError),
    *(LookupError, TypeError, ValueError, AttributeError, OverflowError, StopIteration),
)
"""The errors that reading a damaged summary raises."""

_ENTRIES = "entries"
_PROGRAM = "program"
_BYTECODE = ".pyc"
_BYTECODE_HEADER = 16
"""Bytes of a .pyc that are kept: they record the mtime of its source."""

_IS_RECORD = matching(glob for ecosystem in ECOSYSTEMS for glob in ecosystem.locations.all_files()).match
_IS_SMALL_RECORD = matching([*images.records, *flatpak.records]).match
_EMBEDDED = [
    (ecosystem, matching(ecosystem.locations.embedded).match)
    for ecosystem in ECOSYSTEMS
    if ecosystem.locations.embedded
]


class DamagedError(ImageError):
    """A summary on disk cannot be read. path: its file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is damaged", hint="remove it")
        self.path = path


class Embedded(NamedTuple):
    """A package whose record is in the one file that it consists of."""

    ecosystem: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class FileSummary:
    """The content of a regular file; a Digested for oci/read/flatten.py.

    digests: in the order of ALGORITHMS.
    packed: bytes of the entry in a compressed layer.
    kept: the number of the content in the archive, or None.
    """

    digests: tuple[bytes, ...]
    packed: int
    kept: int | None = None
    embedded: tuple[Embedded, ...] = ()
    archive: zipfile.ZipFile | None = field(default=None, repr=False, compare=False)

    def digest(self, algorithm: str) -> bytes:
        """Return the digest by an algorithm; by SHA-256 if that one was not computed."""
        return self.digests[ALGORITHMS.index(algorithm if algorithm in ALGORITHMS else "sha256")]

    def sha256(self) -> bytes:
        """Return the SHA-256 of the content."""
        return self.digest("sha256")

    def content(self) -> bytes | None:
        """Return the content, or its beginning, if it is kept.

        Raises:
            DamagedError: the archive is damaged.
        """
        if self.kept is None or self.archive is None:
            return None
        try:
            return self.archive.read(str(self.kept))
        except _DAMAGE as error:
            raise DamagedError(Path(str(self.archive.filename))) from error


def write_summary(stream: BinaryIO, name: str, path: Path) -> None:
    """Read a layer to its end; write its summary to a new file.

    Args:
        stream: the uncompressed tar.
        name: of the layer, for messages.

    Raises:
        ImageError: as members(). OSError: the file cannot be written.
    """
    packed = PackedSizes()
    lines: list[str] = []
    with (
        zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        private_directory() as (folder, _),
    ):
        writer = _Writer(archive, packed, Path(folder))
        for member, content in members(stream, name, lambda path: lines.append(_line([path]))):
            packed.begin_entry(member)
            more = writer.add(member, content) if content is not None else {}
            packed.end_entry()
            lines.append(_line([*member[0:1], *member[2:8], more | _rare(member)]))
        lines.append(_line({"packed": packed.finish()}))
        with archive.open(_ENTRIES, "w", force_zip64=True) as file:
            for line in lines:
                file.write(line.encode())


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def _rare(member: Member) -> dict[str, object]:
    values = {
        "target": member.target,
        "rdev": member.rdev,
        "link": member.link,
        "xattrs": [[key, value.hex()] for key, value in member.xattrs] or None,
    }
    return {key: value for key, value in values.items() if value is not None}


class _Writer:
    """Reads contents, and adds to the archive those that are kept."""

    def __init__(self, archive: zipfile.ZipFile, packed: PackedSizes, folder: Path) -> None:
        self._archive = archive
        self._packed = packed
        self._program = folder / _PROGRAM
        self._root = folder
        self._count = 0

    def add(self, member: Member, content: Content) -> dict[str, object]:
        """Read a content; return what the entry's line holds of it."""
        keeps_all = bool(
            _IS_RECORD(member.path)
            or (member.size <= images.LARGEST_RECORD and _IS_SMALL_RECORD(member.path))
        )
        spools = not keeps_all and self._may_be_package(member)
        hashers = [hashlib.new(algorithm, usedforsecurity=False) for algorithm in ALGORITHMS]
        found: dict[str, object] = {}
        if keeps_all:
            found["kept"] = self._count
            with self._archive.open(str(self._count), "w", force_zip64=True) as file:
                self._read(content, hashers, file.write)
            self._count += 1
        elif spools:
            with self._program.open("wb") as program:
                self._read(content, hashers, program.write)
            found["embedded"] = self._embedded(member)
        elif member.path.endswith(_BYTECODE):
            first = bytearray()
            self._read(content, hashers, lambda data: first.extend(data[: _BYTECODE_HEADER - len(first)]))
            self._archive.writestr(str(self._count), bytes(first))
            found["kept"] = self._count
            self._count += 1
        else:
            self._read(content, hashers)
        return found | {"digests": b"".join(hasher.digest() for hasher in hashers).hex()}

    def _read(
        self, content: Content, hashers: list[hashlib._Hash], write: Callable[[bytes], object] | None = None
    ) -> None:
        while data := content.read(CHUNK):
            for hasher in hashers:
                hasher.update(data)
            self._packed.add(data)
            if write is not None:
                write(data)

    def _may_be_package(self, member: Member) -> bool:
        program = member.mode & 0o111 != 0 and member.size >= LEAST_PROGRAM
        return any(
            (program or not ecosystem.locations.is_program) and matches(member.path)
            for ecosystem, matches in _EMBEDDED
        )

    def _embedded(self, member: Member) -> list[Embedded]:
        """Return the packages that the file at `_program` records; none if it cannot be read."""
        target = self._root / "file" / member.path.rpartition("/")[2]
        target.parent.mkdir(exist_ok=True)
        found = []
        try:
            self._program.rename(target)
            with Root(target.parent) as root:
                for ecosystem, matches in _EMBEDDED:
                    if not matches(member.path):
                        continue
                    database = ecosystem.load(root, [target.name])
                    packages = () if database is None else database.packages
                    found += [Embedded(ecosystem.name, p.name, p.version) for p in packages]
            target.unlink()
        except (DatabaseError, RootfsError):
            return []
        return found


class Summary:
    """A summary on disk. A context manager; contents can be read until it ends.

    others: after members(), the bytes of each entry that is no regular file, in a compressed layer.

    Raises:
        DamagedError: the file is damaged, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise DamagedError(path) from error
        self.others: list[int] = []

    def __enter__(self) -> Summary:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def members(self, on_global: Callable[[str], object]) -> Iterator[tuple[Member, FileSummary | None]]:
        """Yield the members with what is known of their contents; a LayerReader of oci/read/flatten.py.

        Raises:
            DamagedError: the file is damaged.
        """
        try:
            lines = self._archive.read(_ENTRIES).decode().splitlines()
            packed = iter(json.loads(lines[-1])["packed"])
            for line in lines[:-1]:
                values = json.loads(line)
                if len(values) == 1:
                    on_global(values[0])
                else:
                    yield self._member(values, next(packed))
        except _DAMAGE as error:
            raise DamagedError(Path(str(self._archive.filename))) from error

    def _member(self, values: list[Any], packed: int) -> tuple[Member, FileSummary | None]:
        path, kind, mode, uid, gid, size, mtime, more = values
        xattrs = tuple((key, bytes.fromhex(value)) for key, value in more.get("xattrs", ()))
        rdev = tuple(more["rdev"]) if "rdev" in more else None
        member = Member(
            path,
            path,
            Kind(kind),
            mode,
            uid,
            gid,
            size,
            mtime,
            more.get("target"),
            rdev,
            xattrs,
            more.get("link"),
        )
        if "digests" not in more:
            self.others.append(packed)
            return member, None
        joined = bytes.fromhex(more["digests"])
        digests = (joined[:16], joined[16:36], joined[36:])
        embedded = tuple(Embedded(*found) for found in more.get("embedded", ()))
        return member, FileSummary(digests, packed, more.get("kept"), embedded, self._archive)
