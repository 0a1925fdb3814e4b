"""A root filesystem of which only some files are on disk, while the digests of all contents are known."""

from __future__ import annotations

import os
from collections.abc import Callable

from rechunk_podman.rootfs.root import Root


class RecordedRoot(Root):
    """A Root of the files that readers of databases need. Contents of other files cannot be read.

    Args:
        path: the directory.
        digest_of: returns the digest of the regular file at a path by an algorithm (its name in hashlib).
    """

    __slots__ = ("_digest_of",)

    def __init__(self, path: str | os.PathLike[str], digest_of: Callable[[str, str], bytes]) -> None:
        super().__init__(path)
        self._digest_of = digest_of

    def recorded_digest(self, path: str, algorithm: str) -> bytes | None:
        """See Root."""
        return self._digest_of(path, algorithm)
