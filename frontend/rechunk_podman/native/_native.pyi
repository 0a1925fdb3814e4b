from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rechunk_podman.model import More

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

def read_directories(
    root: int, directories: list[str], ignored: tuple[bytes, ...], pruned: tuple[bytes, ...], most: int, /
) -> tuple[list[str], bytes, bytes, dict[int, More], list[int], list[int]]:
    """Read lstat(2), listxattr(2) and readlink(2) of every name in directories and below them.

    The interpreter's lock is not held, so that several threads read at once.

    Args:
        root: handle (O_PATH) of the root filesystem, which no read leaves.
        directories: canonical paths below it (model.py).
        ignored: names of extended attributes that are not read; one that ends in a dot stands for all that
            begin with it.
        pruned: paths of directories that are not read.
        most: the next call reads what remains after so many names. Each call reads at least one directory.

    Returns:
        paths: of all names.
        numbers: a row of 64-bit NUMBERS (model.py) for each path; the kind of a socket is 6, that of a name
            that the directory lists and lstat(2) does not find is 7.
        parents: for each path the position of its directory among the paths, 64 bits; -1 is the first of
            `directories`, -2 the second, and so on.
        more: position -> target, device number and attributes, for the few paths that have one of them.
        below: positions of directories that are left to be read.
        odd: positions that have to be looked at: absent names, sockets, FIFOs, devices, names that begin
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
        LookupError: ("changed", path) a file is not what was scanned, or changed while it was read;
            ("irregular", path) it is no longer a regular file.
        ValueError: a size is negative, or their sum is too large.
    """

def has_sha256() -> bool:
    """Return whether this processor has the instructions for SHA-256 (x86-64 SHA extensions).

    digest_files() and TarStream.into() need them.
    """

def digest_files(root: int, files: list[tuple[str, int, int]], /) -> bytes:
    """Return the SHA-256 digests (32 bytes each) of regular files, joined; otherwise as read_files().

    Raises:
        NotImplementedError: has_sha256() is false.
    """

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

    It is filled into buffers; or, if has_sha256(), hashed and written on the way, together with another one:
    that takes hardly longer than one alone.

    Args:
        root: handle (O_PATH) of the root filesystem; it has to outlive the stream, which never leaves it.
        paths, numbers, more: of a Tree (model.py).
        positions: of the members in it, in the order of the layer, 64 bits each; -1 is the root itself.
        mtimes: those that the layer has, 64 bits each.
        links: index of a hard link among the positions -> the path that it is a link to.
        make_header: called with the index of a member whose header ustar cannot hold, and with that of the
            root. The constructor makes all the calls.

    Raises:
        ValueError: the columns are of different lengths; a position or number is impossible; the layer has
            too many bytes.
    """

    def __new__(
        cls,
        root: int,
        paths: list[str],
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

    def fill(self, buffer: bytearray, limit: int, /) -> int:
        """Put the next `limit` bytes into a buffer, without holding the interpreter's lock.

        Returns:
            Their number: fewer than `limit` at the end, and then none.

        Raises:
            OSError: a file cannot be read; its `filename` is the path.
            LookupError: ("changed", path) a file is not what was scanned, or changed while it was read;
                ("irregular", path) it is no longer a regular file.
            ValueError: the buffer holds less than `limit` bytes, the stream raised before, or another
                thread uses it.
        """

    def into(self, target: int, offset: int, /) -> None:
        """Set where the stream is written, before anything of it is read.

        Args:
            target: a file's descriptor, which has to stay open; -1: it is only hashed.
            offset: of its first byte there.

        Raises:
            ValueError: the stream has begun; the offset is negative; has_sha256() is false.
        """

    def advance(self, other: TarStream | None, most: int, /) -> None:
        """Hash and write this stream and another one, until one is over or each came `most` bytes further.

        The interpreter's lock is not held meanwhile.

        Raises:
            OSError: a file cannot be read, its `filename` is the path; or, without a `filename`, the target
                cannot be written. The stream with which this happened is `broken`.
            LookupError: as fill().
            ValueError: a stream is over or broken, has no target yet, or another thread uses it.
        """

    @property
    def broken(self) -> bool:
        """Whether it raised; then nothing more can be read from it."""

    @property
    def digest(self) -> bytes | None:
        """The SHA-256 of the whole, once all of it was hashed and written."""
