"""Root -> Tree: every path once, symlinks never followed, nothing left out silently."""

from __future__ import annotations

import errno
import logging
import os
import stat
import struct
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xattr

from rechunk_podman.errors import RootfsError, UsageError
from rechunk_podman.model import NUMBERS, Entry, Kind, More, Tree, path_key
from rechunk_podman.native import read_directories
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.xattrs import Xattrs, dropped_xattrs, is_dropped
from rechunk_podman.workers import Workers, gc_paused

log = logging.getLogger("rechunk_podman")

_Found = tuple[list[str], bytes, bytes, dict[int, More], list[int], list[int]]

_SOCKET = len(Kind)
"""What read_directories() gives for sockets, which have no Kind."""
_KIND = struct.Struct("=q")
_ROW = _KIND.size * len(NUMBERS)
_NAMED = 10  # so many offenders are named in a message
_BATCH = 64
"""Directories that a worker takes at once,"""
_MOST = 4096
"""with what is below them, until there are so many names."""


def scan(
    root: Root,
    *,
    prune: Sequence[str] = (),
    skip_special_files: bool = False,
    keep_selinux: bool = False,
    workers: Workers | None = None,
) -> Tree:
    """Reads the metadata of everything below `root`; no content.

    Args:
        prune: absolute paths: `/a/b` leaves out the subtree, `/a/b/` what the directory holds. Symlinks
            above it are followed inside the root; one that names nothing is a warning in the log.
        skip_special_files: leave out sockets, FIFOs and devices, with a warning.
        keep_selinux: keep security.selinux; it is dropped otherwise.
        workers: threads that read directories; without them this one does.

    Raises:
        UsageError: a prune path is not absolute, or is `/`.
        RootfsError: something is unreadable or vanished; a socket (they are named); a whiteout (a name
            that begins with `.wh.`, a character device 0:0); an xattr whose name contains `=`.
    """
    options = _Options(_prune_list(root, prune), skip_special_files, keep_selinux)
    with gc_paused():
        scanner = _Scanner(root, options)
        pending = scanner.start()
        _read_all(scanner, pending, workers or Workers(1))
        scanner.complain()
        return scanner.tree()


class _Options(NamedTuple):
    """pruned: canonical path -> whether the directory itself stays."""

    pruned: dict[str, bool]
    skip_special: bool
    keep_selinux: bool


def _read_all(scanner: _Scanner, pending: list[int], workers: Workers) -> None:
    """Reads everything at and below the pending directories, given by their places."""
    running: dict[Future[_Found], list[int]] = {}
    try:
        while pending or running:
            while pending and len(running) <= workers.count:
                # some for each, so that nobody waits for the one who met a large directory
                count = min(_BATCH, -(-len(pending) // workers.count))
                running[workers.submit(scanner.read, pending[-count:])] = pending[-count:]
                del pending[-count:]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                pending += scanner.take(running.pop(future), future.result())
    except OSError as error:
        raise scanner.root.error(error.filename, error) from error


def _prune_list(root: Root, prune: Sequence[str]) -> dict[str, bool]:
    """Canonical path -> whether the directory itself stays."""
    found: dict[str, bool] = {}
    for given in prune:
        if not given.startswith("/") or not given.strip("/"):
            raise UsageError(
                f"--prune {given}: not an absolute path below /",
                hint="--prune /PATH leaves out a subtree, --prune /PATH/ what the directory holds",
            )
        contents = given.endswith("/")
        head, _, name = given.strip("/").rpartition("/")
        if contents or name in (".", ".."):
            path = root.resolve(given)
        else:
            path = "/".join(filter(None, (root.resolve(head), name)))
        try:
            kind = stat.S_IFMT(root.stat(path).st_mode)
        except RootfsError:
            log.warning("--prune %s: nothing is there", given)
            continue
        if contents and kind != stat.S_IFDIR:
            log.warning("--prune %s: not a directory", given)
            continue
        found[path] = contents and found.get(path, True)
    return found


class _Scanner:
    __slots__ = (
        "chunks",
        "dropped",
        "empty",
        "gone",
        "intern",
        "more",
        "options",
        "parents",
        "paths",
        "root",
        "root_entry",
        "skipped",
        "sockets",
        "unread",
        "whiteouts",
    )

    def __init__(self, root: Root, options: _Options) -> None:
        self.root = root
        self.options = options
        self.dropped = dropped_xattrs(keep_selinux=options.keep_selinux)
        self.unread = tuple(map(path_key, options.pruned))
        # what was read, in the order in which it came: columns of a Tree, and the places of what is left out
        self.paths: list[str] = []
        self.chunks: list[bytes] = []
        self.parents: list[npt.NDArray[np.int64]] = []
        self.more: dict[int, More] = {}
        self.gone: list[int] = []
        self.intern: dict[Xattrs, Xattrs] = {}
        self.sockets: list[str] = []
        self.whiteouts: list[str] = []
        self.skipped: list[str] = []
        self.empty: list[str] = []

    def start(self) -> list[int]:
        """Reads the root itself; the places of the directories to begin with, of which it is -1."""
        root = self.root
        handle = f"/proc/self/fd/{root.fd}"
        if not Path(handle).is_dir():
            raise RootfsError(
                "/proc is not mounted", hint="mount it: extended attributes are read through it"
            )
        try:
            found = self._root_xattrs(handle + "/.")
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise root.error("", error) from error
            found = ()
        status = os.fstat(root.fd)
        self.root_entry = Entry(
            kind=Kind.DIRECTORY,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=0,
            mtime=int(status[stat.ST_MTIME]),
            dev=status.st_dev,
            ino=status.st_ino,
            nlink=status.st_nlink,
            target=None,
            rdev=None,
            xattrs=self._kept("", found),
        )
        return [] if self.options.pruned.get("") else [-1]

    def _root_xattrs(self, handle: str) -> Xattrs:
        names = [name for name in map(os.fsdecode, xattr.list(handle)) if not is_dropped(name, self.dropped)]
        return tuple([(name, xattr.get(handle, name)) for name in sorted(names)])

    def read(self, directories: list[int]) -> _Found:
        """What the directories at these places hold; for any thread."""
        paths = [self.paths[place] if place >= 0 else "" for place in directories]
        ignored = tuple(map(os.fsencode, self.dropped))
        return read_directories(self.root.fd, paths, ignored, self.unread, _MOST)

    def take(self, directories: list[int], found: _Found) -> list[int]:
        """Adds what was read of directories; those among it that are to be read."""
        paths, numbers, parents, more, below, odd = found
        start = len(self.paths)
        self.paths += paths
        self.chunks.append(numbers)
        within = np.frombuffer(parents, np.int64)
        asked = np.array(directories, np.int64)
        self.parents.append(np.where(within < 0, asked[np.maximum(-1 - within, 0)], within + start))
        self.more.update((start + place, rest) for place, rest in more.items())
        for place in odd:
            (kind,) = _KIND.unpack_from(numbers, place * _ROW)
            if not self._accept(start + place, kind):
                self.gone.append(start + place)
            elif kind == Kind.DIRECTORY and paths[place] not in self.options.pruned:
                below.append(place)
        return [place + start if place >= 0 else directories[-1 - place] for place in below]

    def _accept(self, place: int, kind: int) -> bool:
        """Whether an entry that has to be looked at stays; notes why not."""
        path = self.paths[place]
        target, rdev, xattrs = self.more.get(place, (None, None, ()))
        if self.options.pruned.get(path) is False:
            return False
        if kind >= Kind.FIFO and self.options.skip_special:
            self.skipped.append(path)
        elif kind == _SOCKET:
            self.sockets.append(path)
        elif (kind == Kind.CHAR and rdev == (0, 0)) or path.rpartition("/")[2].startswith(".wh."):
            self.whiteouts.append(path)
        else:
            kept = self._kept(path, xattrs)
            self.more[place] = (target, rdev, kept)
            if target is None and rdev is None and not kept:
                del self.more[place]
            return True
        return False

    def tree(self) -> Tree:
        """All that was read and stays."""
        pruned = {path for path, stays in self.options.pruned.items() if not stays}
        if pruned:
            self.gone += [place for place, path in enumerate(self.paths) if path in pruned]
        numbers = np.frombuffer(b"".join(self.chunks), np.int64).reshape(-1, len(NUMBERS))
        self.chunks.clear()
        parents = np.concatenate([np.empty(0, np.int64), *self.parents])
        self.parents.clear()
        if self.gone:
            stays = np.ones(len(self.paths), np.bool_)
            stays[self.gone] = False
            left = np.flatnonzero(stays)
            place = dict(zip(left.tolist(), range(len(left)), strict=True))
            self.paths = [self.paths[old] for old in place]
            self.more = {place[old]: rest for old, rest in self.more.items() if old in place}
            numbers = numbers[left]
            # what holds something is never left out alone
            parents = np.where(parents < 0, -1, np.cumsum(stays)[parents] - 1)[left]
        return Tree.of_rows(self.root_entry, self.paths, numbers, self.more, parents)

    def _kept(self, path: str, xattrs: Xattrs) -> Xattrs:
        """The attributes that a layer is to hold."""
        found = []
        for name, value in xattrs:
            if "=" in name:
                raise RootfsError(
                    f"{self.root.show(path)} has the extended attribute {name!r}",
                    hint="a layer cannot hold an attribute whose name contains '=': remove it (setfattr -x)",
                )
            if not value:
                # A pax record without a value means that there is none (pax(1), "ustar/pax format").
                self.empty.append(path)
                continue
            found.append((name, value))
        kept = tuple(found)
        return self.intern.setdefault(kept, kept)

    def complain(self) -> None:
        """Raises RootfsError for what no image can hold; logs what was skipped."""
        if self.whiteouts:
            raise RootfsError(
                "clients would take these for whiteouts and delete files: " + self._list(self.whiteouts),
                hint="leave them out with --prune PATH, or name them otherwise",
            )
        if self.sockets:
            raise RootfsError(
                "an image cannot hold sockets: " + self._list(self.sockets),
                hint="leave them out with --skip-special-files, or --prune PATH",
            )
        if self.empty:
            log.warning(
                "a layer cannot hold extended attributes without a value; left out at %s",
                self._list(self.empty),
            )
        if self.skipped:
            log.warning("skipped %d special files: %s", len(self.skipped), self._list(self.skipped))

    def _list(self, paths: list[str]) -> str:
        text = ", ".join(self.root.show(path) for path in sorted(paths)[:_NAMED])
        return text + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")
