"""The extension in C: the confined walk, directory listing, file contents, the tar stream of a layer.

`_native.pyi` has the contracts.
"""

from rechunk_podman.native._native import (
    TarStream,
    digest_files,
    find_path,
    find_paths,
    has_sha256,
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
    "digest_files",
    "find_path",
    "find_paths",
    "has_sha256",
    "open_directory",
    "path_starts",
    "read_directories",
    "read_files",
    "release_memory",
    "sort_paths",
    "take_paths",
    "ustar",
]
