"""Stores of an image's files: a directory, or an uncompressed tar archive that is read in place.

Sources: image-spec image-layout.md; `docker save` archives, as moby and containers/image read them.
"""

from __future__ import annotations

import io
import os
import posixpath
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from rechunk_podman.errors import ImageError
from rechunk_podman.oci.documents import sha256_of
from rechunk_podman.oci.read.decompress import GZIP, PLAIN, ZSTD, detect
from rechunk_podman.oci.read.header import DIRECTORY, FILE, GLOBAL, LINK, SYMLINK, Entries
from rechunk_podman.oci.read.tar import decoded, tar_errors
from rechunk_podman.oci.spec import Descriptor, Digest

MAX_MEMBERS = 200_000
_MAX_LINKS = 8
_MAGIC_AT = 257
"""The offset of `ustar` in a tar header (pax(1), "ustar Interchange Format"; the same in GNU tar)."""


MAX_DOCUMENT = 4 << 20
"""The largest index, manifest or config that containers/image reads, in bytes."""


class Store(Protocol):
    """The files of one image or several, by name. Names are relative, without `.` and `..`."""

    name: str
    duplicates: tuple[str, ...]
    """Names that an archive holds twice; the last one is read."""

    def sizes(self) -> Mapping[str, int]:
        """Return name -> size in bytes of every regular file (links resolved)."""

    def head(self, name: str) -> bytes:
        """Return the first 8 bytes of a file, fewer if it is shorter; raise the errors of open()."""

    def open(self, name: str) -> BinaryIO:
        """Open a seekable reader, independent of all others.

        Raises:
            ImageError: there is no such file.
        """

    def close(self) -> None:
        """Close the archive."""


def blob_name(identity: Digest) -> str:
    """Return the name of a blob in a layout (image-layout.md, "Blobs")."""
    return "blobs/" + identity.replace(":", "/")


def read_document(store: Store, name: str, descriptor: Descriptor | None = None) -> bytes:
    """Return a JSON document of the store, of at most MAX_DOCUMENT bytes, checked against its descriptor.

    Raises:
        ImageError: the document is missing, too large, or does not match its descriptor.
    """
    with store.open(name) as file:
        data = file.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise ImageError(
            f"{store.name}: {name} is larger than {MAX_DOCUMENT} bytes",
            hint="no client reads such a document",
        )
    if descriptor is not None and (descriptor.size, descriptor.digest) != (len(data), sha256_of(data)):
        raise ImageError(
            f"{store.name}: {name} is not what its descriptor says",
            context=[f"{len(data)} bytes, {sha256_of(data)}; expected {descriptor.size} bytes"],
            hint="the image is damaged: write or fetch it anew",
        )
    return data


class DirectoryStore:
    """The files below a directory. Links to files are followed: builders with a blob cache create them."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.duplicates: tuple[str, ...] = ()
        self._path = path

    def sizes(self) -> Mapping[str, int]:
        """See Store."""
        found = {}
        for directory, _, files in os.walk(self._path):
            for file in files:
                path = Path(directory, file)
                try:
                    status = path.stat()
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    found[path.relative_to(self._path).as_posix()] = status.st_size
        return found

    def head(self, name: str) -> bytes:
        """See Store."""
        with self.open(name) as file:
            return file.read(8)

    def open(self, name: str) -> BinaryIO:
        """See Store."""
        path = self._path / name
        try:
            # A FIFO in place of a blob must not block.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _missing(self.name, name, error.strerror) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise _missing(self.name, name, "not a regular file")
        return os.fdopen(fd, "rb")

    def close(self) -> None:
        """Nothing to do."""


class ArchiveStore:
    """The members of an uncompressed tar archive, found in one pass over its headers.

    Raises:
        ImageError: the file does not exist, is not an uncompressed tar archive, or is truncated.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._members: dict[str, tuple[int, int]] = {}
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ImageError(f"cannot read {path}", context=[str(error.strerror)]) from error
        try:
            self.duplicates = self._index()
        except BaseException:
            os.close(self._fd)
            raise

    def _index(self) -> tuple[str, ...]:
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{self.name} is not a regular file", hint="save the archive to a file first")
        compression = detect(os.pread(self._fd, 8, 0))
        if compression != PLAIN:
            tool = {GZIP: "gunzip", ZSTD: "unzstd"}.get(compression, compression)
            raise ImageError(
                f"{self.name} is a compressed archive ({compression}), which cannot be read in place",
                hint=f"decompress it first ({tool})",
            )
        links: dict[str, str] = {}
        twice: list[str] = []
        if os.pread(self._fd, 5, _MAGIC_AT) != b"ustar" and os.pread(self._fd, 512, 0).strip(b"\0"):
            raise ImageError(
                f"{self.name} is no image archive",
                hint="an archive is what `skopeo copy` or `podman save` write",
            )
        whole = _Section(self._fd, 0, status.st_size)
        with tar_errors(self.name):
            entries = Entries(io.BufferedReader(whole, 65536))
            for count in range(MAX_MEMBERS + 1):
                member = entries.next()
                if member is None:
                    break
                name = posixpath.normpath(decoded(member.name))
                if member.kind in (DIRECTORY, GLOBAL) or name == ".":
                    continue
                if count == MAX_MEMBERS:
                    raise ImageError(f"{self.name} has more than {MAX_MEMBERS} members: no image archive has")
                if name.startswith(("/", "../")) or name == "..":
                    raise ImageError(f"{self.name} has a member outside of it: {name[:200]!r}")
                if name in self._members or name in links:
                    twice.append(name)
                self._members.pop(name, None)
                links.pop(name, None)
                target = decoded(member.link)
                if member.kind == SYMLINK:
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
                elif member.kind == LINK:
                    links[name] = posixpath.normpath(target)
                elif member.kind == FILE and member.sparse is None:
                    if entries.position + member.size > status.st_size:
                        raise ImageError(
                            f"{self.name} ends within its member {name}", hint="it was cut off: write it anew"
                        )
                    self._members[name] = (entries.position, member.size)
        for name in links:
            target = name
            for _ in range(_MAX_LINKS):
                target = links.get(target, target)
            if target in self._members:
                self._members[name] = self._members[target]
        return tuple(twice)

    def sizes(self) -> Mapping[str, int]:
        """See Store."""
        return {name: size for name, (_, size) in self._members.items()}

    def head(self, name: str) -> bytes:
        """See Store."""
        with self.open(name) as file:
            return file.read(8)

    def open(self, name: str) -> BinaryIO:
        """See Store."""
        if name not in self._members:
            raise _missing(self.name, name, "no such member")
        return _Section(self._fd, *self._members[name])  # type: ignore[return-value]

    def close(self) -> None:
        """Close the archive and with it all readers that open() returned."""
        os.close(self._fd)


class _Section(io.RawIOBase):
    """A reader of `size` bytes of a file from `offset` on, by pread(2), so that readers are independent."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd, self._offset, self._size, self._at = fd, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        count = os.preadv(self._fd, [memoryview(buffer)[:wanted]], self._offset + self._at)
        self._at += count
        return count


def _missing(store: str, name: str, reason: str | None) -> ImageError:
    return ImageError(
        f"{store} lacks {name}",
        context=[reason or ""],
        hint="the image is incomplete: write or fetch it anew",
    )
