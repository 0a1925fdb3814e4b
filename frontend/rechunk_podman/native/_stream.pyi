from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rechunk_podman.model import More

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
    """The 512 bytes of a header (POSIX.1-2017 pax, "ustar Interchange Format"), from values that fit it.

    Raises:
        ValueError: name, target or prefix is too long.
    """

def can_advance() -> bool:
    """Whether this processor has instructions for SHA-256 that TarStream.into() knows."""

class TarStream:
    """The tar of a layer, piece by piece: headers, contents, padding, end.

    It is filled into buffers; or, with a processor that can, hashed and written on the way, together with
    another one: that takes hardly longer than one alone.

    Args:
        root: handle (O_PATH) of the root filesystem; it has to outlive the stream, which never leaves it.
        paths, numbers, more: of a Tree (model.py).
        positions: of the members in it, in the order of the layer, 64 bits each; -1 is the root itself.
        mtimes: those that the layer has, 64 bits each. links: as in Members (members.py).
        make_header: called with the place of a member whose header ustar cannot hold, and with that of the
            root. All is taken at once.

    Raises:
        ValueError: the columns are of different lengths; a position or number is impossible.
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
        """Puts the next `limit` bytes into a buffer, without holding the interpreter's lock.

        Returns:
            How many there were: fewer than `limit` at the end, after which there are none.

        Raises:
            OSError: a file cannot be read; its `filename` is the path.
            LookupError: ("changed", path) a file is not what was scanned, or changed while it was read;
                ("irregular", path) it is no regular file any more.
            ValueError: the buffer holds less than `limit` bytes, or the stream raised before.
        """

    def into(self, target: int, offset: int, /) -> None:
        """Says where it goes to, before anything of it went anywhere.

        Args:
            target: a file's descriptor, which has to stay open; -1: nowhere, it is hashed alone.
            offset: of its first byte there.

        Raises:
            ValueError: it has begun; a negative offset; can_advance() says no.
        """

    def advance(self, other: TarStream | None, most: int, /) -> None:
        """Hashes and writes this stream and another one, until one is over or each came `most` bytes further.

        The interpreter's lock is not held meanwhile; nobody else may touch the two.

        Raises:
            OSError: a file cannot be read, its `filename` is the path; or, without a `filename`, the target
                cannot be written. The stream with which this happened is `broken`.
            LookupError: as fill().
            ValueError: a stream that is over, broken, or goes nowhere yet.
        """

    @property
    def broken(self) -> bool:
        """Whether it raised; then there is nothing more to be had of it."""

    @property
    def digest(self) -> bytes | None:
        """The SHA-256 of the whole, once all of it was hashed and written."""
