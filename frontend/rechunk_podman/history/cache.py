"""The cache of the summaries of layers, below XDG_CACHE_HOME, by diff_id: each layer is read once.

A run that was interrupted finds there what it has read. The oldest summaries are removed where there are more
than MOST_BYTES.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rechunk_podman.errors import RechunkError
from rechunk_podman.files import output_error, partial_path, remove_partial
from rechunk_podman.history.summary import FORMAT
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.registry.verified import cache_file
from rechunk_podman.temporary import private_directory

MOST_BYTES = 4 << 30


class Cache:
    """The summaries in one directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, diff_id: DiffId) -> Path:
        """Return the path of the summary of a layer."""
        return self.folder / f"{diff_id.rpartition(':')[2]}.zip"

    def has(self, diff_id: DiffId) -> bool:
        """Return True if the layer has been read; it then counts as used now."""
        try:
            os.utime(self.path(diff_id))
        except FileNotFoundError:
            return False
        except OSError:
            return self.path(diff_id).is_file()
        return True

    def add(self, diff_id: DiffId, write: Callable[[Path], None]) -> None:
        """Add the summary that `write` writes to a new file; if it fails, nothing is added.

        Raises:
            RechunkError: the file cannot be written, or as `write`.
        """
        path = self.path(diff_id)
        remove_partial(path)
        part = partial_path(path)
        try:
            write(part)
            part.rename(path)
        except OSError as error:
            raise output_error(str(path), error) from error
        finally:
            part.unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove the summaries that were not used for the longest time, until MOST_BYTES are left."""
        files = []
        for path in self.folder.glob("*.zip"):
            with suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= MOST_BYTES:
                return
            with suppress(OSError):
                path.unlink()
                total -= size


@contextmanager
def open_cache() -> Iterator[Cache]:
    """Open the cache of this user; without a home directory, one that ends with the context.

    Raises:
        RechunkError: the directory cannot be made, or belongs to another user.
    """
    known = cache_file()
    if known is None:
        with private_directory() as held:
            yield Cache(Path(held.path))
        return
    folder = known.parent / f"layers-{FORMAT}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        raise output_error(str(folder), error) from error
    if owner != os.geteuid():
        raise RechunkError(
            f"{folder} belongs to another user", hint="set XDG_CACHE_HOME to a directory of your own"
        )
    cache = Cache(folder)
    try:
        yield cache
    finally:
        cache.trim()
