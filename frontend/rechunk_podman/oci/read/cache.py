"""Caches of what was learned of layers, below XDG_CACHE_HOME: one file for each layer, by diff_id.

A run that was interrupted finds there what it has read. If a cache has too many bytes, the files that were
not used for the longest time are removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rechunk_podman.errors import RechunkError
from rechunk_podman.files import cache_folder, output_error, partial_path, remove_partial
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.temporary import private_directory

_NAMES = "[0-9a-f]" * 64


class Cache:
    """The files in one directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, diff_id: DiffId) -> Path:
        """Return the path of the file about a layer."""
        return self.folder / diff_id.rpartition(":")[2]

    def has(self, diff_id: DiffId) -> bool:
        """Return True if there is a file about the layer; it then counts as used now."""
        try:
            os.utime(self.path(diff_id))
        except FileNotFoundError:
            return False
        except OSError:
            return self.path(diff_id).is_file()
        return True

    def add(self, diff_id: DiffId, write: Callable[[Path], None]) -> None:
        """Add the file that `write` writes; if it fails, nothing is added.

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

    def trim(self, most: int) -> None:
        """Remove files, those first that were not used for the longest time, until `most` bytes are left."""
        files = []
        for path in self.folder.glob(_NAMES):
            with suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= most:
                return
            with suppress(OSError):
                path.unlink()
                total -= size


@contextmanager
def open_cache(name: str, most: int) -> Iterator[Cache]:
    """Open a cache of this user; without a home directory, one that ends with the context.

    Args:
        name: of its directory.
        most: the bytes that remain in it at the end.

    Raises:
        RechunkError: the directory cannot be made, or belongs to another user.
    """
    known = cache_folder()
    if known is None:
        with private_directory() as held:
            yield Cache(Path(held.path))
        return
    folder = known / name
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
        cache.trim(most)
