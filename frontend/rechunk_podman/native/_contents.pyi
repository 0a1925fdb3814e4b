def read_files(root: int, files: list[tuple[str, int, int]], /) -> bytes:
    """The contents of regular files, joined, without holding the interpreter's lock.

    Args:
        root: handle (O_PATH) of the root filesystem, which no read leaves.
        files: path (model.py), size in bytes and mtime in epoch seconds, as they were scanned.

    Raises:
        OSError: a file cannot be read; its `filename` is the path.
        LookupError: ("changed", path) a file is not what was scanned, or changed while it was read;
            ("irregular", path) it is no regular file any more.
    """

def can_digest() -> bool:
    """Whether this processor has the instructions that digest_files() wants."""

def digest_files(root: int, files: list[tuple[str, int, int]], /) -> bytes:
    """The SHA-256 digests (32 bytes each) of regular files, joined; otherwise as read_files().

    Raises:
        NotImplementedError: can_digest() says no.
    """
