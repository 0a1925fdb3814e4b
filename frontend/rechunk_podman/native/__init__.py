"""The extension in C: the confined walk, directory listing, file contents, tar headers and streams.

`_native.pyi` has the contracts.
"""

from rechunk_podman.native._native import (
    TarStream,
    find_path,
    find_paths,
    holds_any,
    open_directory,
    path_starts,
    plain_entries,
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
    "holds_any",
    "open_directory",
    "path_starts",
    "plain_entries",
    "read_directories",
    "read_files",
    "release_memory",
    "sort_paths",
    "take_paths",
    "ustar",
]
