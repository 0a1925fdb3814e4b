"""The files of an image in a directory of an ordinary user, and the Tree with their real metadata.

Nobody but root may make files of other owners, devices, or attributes such as security.capability. So the
files on disk hold only contents, mtimes and names, and the metadata comes from the layers.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

from rechunk_podman.errors import RechunkError
from rechunk_podman.files import output_error
from rechunk_podman.model import NUMBERS, Kind, Tree
from rechunk_podman.oci.read.header import CHUNK
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.read.layers import no_digests, read_tree
from rechunk_podman.oci.read.tar import Content, Member

_MTIME = NUMBERS.index("mtime")
_SAFE_MTIMES = range(1 << 31)
"""Epoch seconds that every file system can hold."""
_SPARSE = bytes(CHUNK)


def unpack(image: ImageSource, directory: str) -> Tree:
    """Write the directories, regular files and symlinks of an image below a directory; return its Tree.

    Every layer is read once. Entry.dev and Entry.ino are those of read_tree(). An mtime that the file system
    cannot hold is changed in the Tree, too.

    Args:
        directory: an empty directory of this user's own, which needs room for the files of all layers.

    Raises:
        ImageError: as read_tree(). RechunkError: a file cannot be written.
    """
    contents = f"{directory}.contents"
    try:
        Path(contents).mkdir(mode=0o700)
        try:
            return _unpack(image, directory, contents)
        finally:
            shutil.rmtree(contents)
    except OSError as error:
        raise output_error(directory, error) from error


def _unpack(image: ImageSource, directory: str, contents: str) -> Tree:
    # A later layer may replace the file or rename its directory, so that its place is known only in the end.
    numbers = itertools.count()

    def store(_: int, member: Member, content: Content) -> int:
        number = next(numbers)
        try:
            with open(os.path.join(contents, str(number)), "xb", buffering=0) as file:
                while data := content.read(CHUNK):
                    if data == _SPARSE:
                        file.seek(len(data), os.SEEK_CUR)
                    else:
                        _write_all(file.fileno(), data)
                file.truncate(member.size)
        except OSError as error:
            raise output_error(member.path, error) from error
        return number

    found = read_tree(image, look=store, digests=no_digests)
    tree = found.tree
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    source = os.open(contents, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for position, (path, entry) in enumerate(tree.items()):
            # The parents of each path are directories that this loop made: no symlink is followed.
            if entry.kind is Kind.DIRECTORY:
                os.mkdir(path, 0o700, dir_fd=top)
            elif entry.kind is Kind.SYMLINK:
                os.symlink(entry.target or "", path, dir_fd=top)
            elif entry.kind is Kind.FILE and position not in tree.leader:
                os.rename(str(found.looked[path]), path, src_dir_fd=source, dst_dir_fd=top)
                mtime = _set_mtime(path, entry.mtime, top)
                tree.numbers[position, _MTIME] = mtime
            elif entry.kind is Kind.FILE:
                leader = tree.leader[position]
                os.link(tree.paths[leader], path, src_dir_fd=top, dst_dir_fd=top, follow_symlinks=False)
                tree.numbers[position, _MTIME] = tree.numbers[leader, _MTIME]
    finally:
        os.close(source)
        os.close(top)
    return tree


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _set_mtime(path: str, mtime: int, top: int) -> int:
    """Set the mtime of a file; return the one that the file system holds, in epoch seconds."""
    try:
        os.utime(path, ns=(0, mtime * 10**9), dir_fd=top, follow_symlinks=False)
    except OverflowError as error:
        raise RechunkError(f"no file system can hold the time of {path}: {mtime}") from error
    if mtime in _SAFE_MTIMES:
        return mtime
    return os.stat(path, dir_fd=top, follow_symlinks=False).st_mtime_ns // 10**9
