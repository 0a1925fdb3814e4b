from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from rechunk_podman.model import Kind, More

def open_directory(root: int, path: str, /) -> int:
    """Open the directory at exactly this path, following no symlink.

    Args:
        root: handle (O_PATH) of the root filesystem, which no call leaves.
        path: canonical (model.py).

    Returns:
        A handle (O_PATH), which the caller closes.

    Raises:
        OSError: it cannot be opened (ENOTDIR: a component is a symlink); its `filename` is the path.
        ValueError: the path is not canonical.
    """

def path_starts(text: bytes, /) -> bytes:
    """Return the offset of each path in a text with a zero byte behind each, and its length: 64 bits each.

    Raises:
        ValueError: there is no zero byte at the end.
    """

def sort_paths(
    text: bytes, starts: bytes | npt.NDArray[np.int64], parents: bytes | npt.NDArray[np.int64], /
) -> bytes:
    """Return the indexes of paths in the byte order of the paths, 64 bits each.

    Directories are sorted one by one, so that the time grows linearly with the number of paths. The
    interpreter's lock is not held.

    Args:
        text, starts: as path_starts() takes and returns them; each path is there once.
        parents: for each path the index of its directory, 64 bits each; -1 in the root directory.

    Raises:
        ValueError: a parent is no index of the paths, or below its own path.
    """

def take_paths(
    text: bytes, starts: bytes | npt.NDArray[np.int64], positions: bytes | npt.NDArray[np.int64], /
) -> bytes:
    """Return the paths at these positions (64 bits each), a zero byte behind each; "" at -1.

    Raises:
        ValueError: there is no such position.
    """

def find_path(text: bytes, starts: bytes | npt.NDArray[np.int64], path: bytes, /) -> int:
    """Return the position of a path among paths that are in byte order.

    If it is not there, return -1 - the position of the first path after it.
    """

def find_paths(text: bytes, starts: bytes | npt.NDArray[np.int64], paths: bytes, /) -> bytes:
    """Return the position of each of the paths (with a zero byte behind each) among others: 64 bits each.

    A path that is not there has -1. Paths that follow each other in the other ones, too, are found faster.

    Args:
        text, starts: of a PathTable.

    Raises:
        ValueError: there is no zero byte at the end of `paths`.
    """

def plain_entries(
    buffer: bytearray, start: int, end: int, kinds: tuple[Kind, ...], /
) -> tuple[list[tuple[Any, ...]], list[int], int]:
    """Read tar headers between two offsets of a buffer, up to the first one that is not plain.

    A header is plain if every reader takes it alike: of POSIX's ustar or of GNU tar, with a right checksum
    and octal numbers, of the types 0 to 6, with a name that has no component `..` and is not that of the
    root, and with the target of a link. The padded content of a file has to lie before `end`, too.

    Args:
        kinds: tuple(Kind).

    Returns:
        The fields of a Member (oci/read/tar.py) for each entry.
        The offset behind the header of each entry.
        The offset at which the next header begins.

    Raises:
        ValueError: the offsets are not in the buffer.
    """

def read_directories(
    root: int, directories: list[str], ignored: tuple[bytes, ...], pruned: tuple[bytes, ...], most: int, /
) -> tuple[bytes, bytes, bytes, dict[int, More], list[int], list[int]]:
    """Read lstat(2), listxattr(2) and readlink(2) of every name in directories and below them.

    The interpreter's lock is not held, so that several threads read at once.

    Args:
        root: handle (O_PATH) of the root filesystem, which no read leaves.
        directories: canonical paths below it (model.py).
        ignored: names of extended attributes that are not read; a name that ends in a dot is a prefix.
        pruned: paths of directories that are not read.
        most: the number of names after which no further directory is read. Each call reads at least one.

    Returns:
        paths: of all names, a zero byte behind each.
        numbers: a row of 64-bit NUMBERS (model.py) for each path; the kind of a socket is 6, that of a name
            that the directory lists and lstat(2) does not find is 7.
        parents: for each path the position of its directory among the paths, 64 bits; -1 is the first of
            `directories`, -2 the second, and so on.
        more: position -> target, device number and attributes, for the few paths that have one of them.
        below: positions of directories that are still to be read.
        odd: positions that the caller has to check: absent names, sockets, FIFOs, devices, names that begin
            with `.wh.`, and all with extended attributes (sorted by name). The directories among these are
            not read.

    Raises:
        OSError: a directory or a name in it cannot be read; its `filename` is the path.
    """

def read_files(root: int, files: list[tuple[str, int, int]], /) -> bytes:
    """Return the contents of regular files, joined, without holding the interpreter's lock.

    Args:
        root: handle (O_PATH) of the root filesystem, which no read leaves.
        files: path (model.py), size in bytes and mtime in epoch seconds, as they were scanned.

    Raises:
        OSError: a file cannot be read; its `filename` is the path.
        LookupError: ("changed", path): the file changed since the scan or while it was read;
            ("irregular", path): it is no longer a regular file.
        ValueError: a size is negative, or the sum of sizes is too large.
    """

def holds_any(data: bytes, texts: tuple[bytes, ...], /) -> bool:
    """Return True if one of the texts is in the data; the search goes through the data once.

    The interpreter's lock is not held.

    Raises:
        ValueError: a text is shorter than two bytes, or there are more than 64.
    """

def release_memory() -> None:
    """Return freed memory, which the C library (glibc) keeps for each thread that worked, to the system."""

def ustar(
    name: bytes,
    type_flag: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    target: bytes,
    major: int,
    minor: int,
    prefix: bytes,
    /,
) -> bytes:
    """Return the 512 bytes of a header (POSIX.1-2017 pax, "ustar Interchange Format").

    Raises:
        ValueError: a value does not fit the header.
    """

class TarStream:
    """The tar of a layer, piece by piece: headers, contents, padding, end.

    Args:
        root: handle (O_PATH) of the root filesystem; it has to outlive the stream, which never leaves it.
        text, starts: of a PathTable (pathtable.py). The stream keeps these and the other columns, and makes
            each member from them when it is read: nobody may change them meanwhile.
        numbers, more: of a Tree (model.py).
        positions: of the members in the Tree, in the order of the layer, 64 bits each; -1 is the root itself.
        mtimes: of all positions of the Tree, in the layer, 64 bits each.
        links: index of a hard link among the positions -> the path that it is a link to.
        make_header: called by the constructor with the index of the root and of each member whose header
            ustar cannot hold.

    Raises:
        ValueError: the columns are of different lengths; a position or number is impossible; the layer has
            too many bytes.
    """

    def __new__(
        cls,
        root: int,
        text: bytes,
        starts: bytes | npt.NDArray[np.int64],
        numbers: bytes | npt.NDArray[np.int64],
        more: dict[int, More],
        positions: bytes | npt.NDArray[np.int64],
        mtimes: bytes | npt.NDArray[np.int64],
        links: dict[int, str],
        make_header: Callable[[int], bytes],
        /,
    ) -> TarStream: ...
    @property
    def size(self) -> int:
        """Bytes of the whole tar."""

    def fill(self, buffer: bytearray, limit: int, target: int = -1, offset: int = 0, /) -> int:
        """Copy the next `limit` bytes into a buffer and into a file, without the interpreter's lock.

        Args:
            target: the descriptor of the file; -1 to write nothing.
            offset: of these bytes in the file.

        Returns:
            The number of bytes: fewer than `limit` at the end, and then 0.

        Raises:
            OSError: a file cannot be read (its `filename` is the path), or the target cannot be written (no
                `filename`).
            LookupError: ("changed", path): the file changed since the scan or while it was read;
                ("irregular", path): it is no longer a regular file.
            ValueError: the buffer holds less than `limit` bytes, the offset is negative, the stream raised
                before, or another thread uses it.
        """
