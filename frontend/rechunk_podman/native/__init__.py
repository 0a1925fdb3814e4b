"""The extension in C: the confined walk, directory listing, file contents, the tar stream of a layer.

`_native.pyi` has the contracts.
"""

from rechunk_podman.native._native import (
    TarStream,
    find_path,
    find_paths,
    open_directory,
    path_starts,
    read_directories,
    read_files,
    release_memory,
    sort_paths,
    take_paths,
    ustar,
)

__all__ = [
    "TarStream",
    "find_path",
    "find_paths",
    "open_directory",
    "path_starts",
    "read_directories",
    "read_files",
    "release_memory",
    "sort_paths",
    "take_paths",
    "ustar",
]
