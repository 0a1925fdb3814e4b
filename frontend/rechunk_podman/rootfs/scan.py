"""The scan of a Root into a Tree: every path once; follow no symlink, leave out nothing silently."""

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
from rechunk_podman.native import read_directories, release_memory
from rechunk_podman.pathtable import PathTable
from rechunk_podman.rootfs.acl import add_inherited, add_minimal
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.xattrs import (
    Xattrs,
    dropped_xattrs,
    hides_files,
    is_dropped,
    is_mark,
    unread_xattrs,
)
from rechunk_podman.workers import Workers, gc_paused

log = logging.getLogger("rechunk_podman")

_Found = tuple[bytes, bytes, bytes, dict[int, More], list[int], list[int]]

_SOCKET = len(Kind)
"""The kind of sockets in read_directories(), which have no Kind."""
_ABSENT = len(Kind) + 1
"""The kind in read_directories() of a name that the directory lists and lstat(2) does not find."""
_KIND = struct.Struct("=q")
_ROW = _KIND.size * len(NUMBERS)
_NAMED = 10
"""The largest number of paths that a message names."""
_BATCH = 64
"""Directories in one batch of a worker."""
_MOST = 4096
"""Names after which a worker leaves the remaining directories to other workers."""


def scan(
    root: Root,
    *,
    prune: Sequence[str] = (),
    skip_special_files: bool = False,
    keep_selinux: bool = False,
    keep_marks: bool = False,
    workers: Workers | None = None,
) -> Tree:
    """Read the metadata of everything below `root`, but no content.

    Entries of directories with a default ACL have the ACL that layers state for them (acl.add_minimal()).
    Names that an overlay lists and does not find are skipped, with a warning: unneeded whiteouts look so.

    Args:
        prune: absolute paths: `/a/b` leaves out the subtree, `/a/b/` only the content of the directory.
            Symlinks above it are followed inside the root; a path that does not exist is a warning.
        skip_special_files: leave out sockets, FIFOs and devices, with a warning.
        keep_selinux: keep security.selinux; it is dropped otherwise.
        keep_marks: keep the marks of overlay storage, which no layer can hold. They are dropped otherwise,
            with a warning.
        workers: threads that read directories; without them the calling thread does.

    Raises:
        UsageError: a prune path is not absolute, or is `/`.
        RootfsError: something is unreadable or vanished; a socket (they are named); a whiteout (a name
            that begins with `.wh.`, a character device 0:0); a mark of overlay storage that
            hides files and is not kept; an xattr whose name contains `=`.
    """
    options = _Options(_prune_list(root, prune), skip_special_files, keep_selinux, keep_marks)
    with gc_paused():
        scanner = _Scanner(root, options)
        pending = scanner.read_root()
        _read_all(scanner, pending, workers or Workers(1))
        scanner.raise_or_warn()
        tree = scanner.tree()
    release_memory()
    return tree


def described_scan(
    root: Root,
    tree: Tree,
    *,
    prune: Sequence[str] = (),
    skip_special_files: bool = False,
    keep_selinux: bool = False,
) -> Tree:
    """Return the Tree that scan() returns where a client has unpacked an image; read no metadata on disk.

    Args:
        root: the directories, regular files and symlinks of the image, of any owner and mode.
        tree: every path with the metadata that the layers state.
        prune, skip_special_files, keep_selinux: as scan() takes them.

    Raises:
        UsageError, RootfsError: as scan().
    """
    add_inherited(tree)
    options = _Options(_prune_list(root, prune), skip_special_files, keep_selinux, keep_marks=False)
    scanner = _Scanner(root, options)
    scanner.add_tree(tree)
    scanner.raise_or_warn()
    return scanner.tree()


class _Options(NamedTuple):
    """Options of scan(). pruned: canonical path -> True if the directory itself stays."""

    pruned: dict[str, bool]
    skip_special: bool
    keep_selinux: bool
    keep_marks: bool


_Directory = tuple[int, str]
"""A directory that is to be read: its position, and its path."""


def _read_all(scanner: _Scanner, pending: list[_Directory], workers: Workers) -> None:
    """Read everything at and below the pending directories."""
    running: dict[Future[_Found], list[_Directory]] = {}
    try:
        while pending or running:
            while pending and len(running) <= workers.count:
                # small batches, so that no worker waits for another with a large directory
                count = min(_BATCH, -(-len(pending) // workers.count))
                running[workers.submit(scanner.read, pending[-count:])] = pending[-count:]
                del pending[-count:]
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                pending += scanner.add(running.pop(future), future.result())
    except OSError as error:
        raise scanner.root.error(error.filename, error) from error


def pruned_path(root: Root, given: str) -> tuple[str, bool]:
    """Return the canonical path of `--prune GIVEN`, and True if only the directory's content is left out.

    Raises:
        UsageError: the path is not absolute, or is `/`.
    """
    if not given.startswith("/") or not given.strip("/"):
        raise UsageError(
            f"--prune {given}: not an absolute path below /",
            hint="--prune /PATH leaves out a subtree, --prune /PATH/ only the content of the directory",
        )
    contents = given.endswith("/")
    head, _, name = given.strip("/").rpartition("/")
    if contents or name in (".", ".."):
        return root.resolve(given), contents
    return "/".join(filter(None, (root.resolve(head), name))), contents


def _prune_list(root: Root, prune: Sequence[str]) -> dict[str, bool]:
    """Return _Options.pruned for --prune; warn about each path that does not exist."""
    found: dict[str, bool] = {}
    for given in prune:
        path, contents = pruned_path(root, given)
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
        "absent",
        "chunks",
        "count",
        "dropped",
        "empty",
        "gone",
        "hiding",
        "ignored",
        "intern",
        "marked",
        "more",
        "numbers",
        "options",
        "parents",
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
        self.ignored = tuple(map(os.fsencode, unread_xattrs(keep_selinux=options.keep_selinux)))
        self.unread = tuple(map(path_key, options.pruned))
        # the columns of a Tree in the order of reading, and the positions to leave out
        self.count = 0
        self.chunks: list[bytes] = []
        self.numbers = bytearray()
        self.parents: list[npt.NDArray[np.int64]] = []
        self.more: dict[int, More] = {}
        self.gone: list[int] = []
        self.intern: dict[Xattrs, Xattrs] = {}
        self.sockets: list[str] = []
        self.whiteouts: list[str] = []
        self.skipped: list[str] = []
        self.empty: list[str] = []
        self.absent: list[str] = []
        self.marked: list[str] = []
        self.hiding: list[str] = []

    def read_root(self) -> list[_Directory]:
        """Read the root itself; return the directories to begin with (the position of the root is -1)."""
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
            xattrs=self._kept("", Kind.DIRECTORY, found),
        )
        return [] if self.options.pruned.get("") else [(-1, "")]

    def _root_xattrs(self, handle: str) -> Xattrs:
        names = [name for name in map(os.fsdecode, xattr.list(handle)) if not is_dropped(name, self.dropped)]
        return tuple([(name, xattr.get(handle, name)) for name in sorted(names)])

    def add_tree(self, tree: Tree) -> None:
        """Add the entries of another Tree, but for those below pruned directories."""
        self.root_entry = tree.root._replace(xattrs=self._kept("", Kind.DIRECTORY, tree.root.xattrs))
        for path in self.options.pruned:
            self.gone += tree.below(path)
        kinds = tree.column("kind")
        special = np.flatnonzero(kinds >= Kind.FIFO).tolist()
        attributed = [position for position, (_, _, xattrs) in tree.more.items() if xattrs]
        odd = sorted({*special, *attributed} - set(self.gone))
        rows = tree.numbers.copy()
        # Linux gives every symlink this mode, whatever the layer says (symlink(7)).
        rows[kinds == Kind.SYMLINK, NUMBERS.index("mode")] = 0o777
        numbers, parents = rows.tobytes(), tree.parent.astype(np.int64).tobytes()
        self.add([(-1, "")], (tree.paths.text, numbers, parents, tree.more, [], odd))

    def read(self, directories: list[_Directory]) -> _Found:
        """Read directories. Any thread may call it."""
        paths = [path for _, path in directories]
        return read_directories(self.root.fd, paths, self.ignored, self.unread, _MOST)

    def add(self, directories: list[_Directory], found: _Found) -> list[_Directory]:
        """Add the entries of directories; return the directories that are still to be read."""
        text, numbers, parents, more, below, odd = found
        start = self.count
        paths = PathTable(text)
        self.count += len(paths)
        self.chunks.append(text)
        self.numbers += numbers
        within = np.frombuffer(parents, np.int64)
        asked = np.array([position for position, _ in directories], np.int64)
        self.parents.append(np.where(within < 0, asked[np.maximum(-1 - within, 0)], within + start))
        self.more.update((start + position, rest) for position, rest in more.items())
        for position in odd:
            (kind,) = _KIND.unpack_from(numbers, position * _ROW)
            path = paths[position]
            if not self._accept(start + position, path, kind):
                self.gone.append(start + position)
            elif kind == Kind.DIRECTORY and path not in self.options.pruned:
                below.append(position)
        return [
            (position + start, paths[position]) if position >= 0 else directories[-1 - position]
            for position in below
        ]

    def _accept(self, position: int, path: str, kind: int) -> bool:
        """Return True if an odd entry is kept; else record the reason."""
        target, rdev, xattrs = self.more.get(position, (None, None, ()))
        if self.options.pruned.get(path) is False:
            return False
        if kind == _ABSENT:
            self.absent.append(path)
        elif kind >= Kind.FIFO and self.options.skip_special:
            self.skipped.append(path)
        elif kind == _SOCKET:
            self.sockets.append(path)
        elif (kind == Kind.CHAR and rdev == (0, 0)) or path.rpartition("/")[2].startswith(".wh."):
            self.whiteouts.append(path)
        else:
            kept = self._kept(path, kind, xattrs)
            self.more[position] = (target, rdev, kept)
            if target is None and rdev is None and not kept:
                del self.more[position]
            return True
        return False

    def tree(self) -> Tree:
        """Return the Tree of the entries that are kept."""
        parents = np.concatenate([np.empty(0, np.int64), *self.parents])
        self.parents.clear()
        pruned = [path for path, stays in self.options.pruned.items() if not stays]
        tree = Tree.of_rows(self.root_entry, self.chunks, self.numbers, self.more, parents, self.gone, pruned)
        add_minimal(tree)
        return tree

    def _kept(self, path: str, kind: int, xattrs: Xattrs) -> Xattrs:
        """Return the attributes that a layer can hold."""
        found = []
        for name, value in xattrs:
            if is_dropped(name, self.dropped):
                if is_mark(name) and self.options.keep_marks:
                    found.append((name, value))
                elif is_mark(name):
                    (self.hiding if hides_files(kind, name, value) else self.marked).append(path)
                continue
            if "=" in name:
                raise RootfsError(
                    f"{self.root.show(path)} has the extended attribute {name!r}",
                    hint="a layer cannot hold an attribute whose name contains '=': remove it (setfattr -x)",
                )
            if not value:
                # A pax record without a value deletes the attribute (pax(1), "ustar/pax format").
                self.empty.append(path)
                continue
            found.append((name, value))
        kept = tuple(found)
        return self.intern.setdefault(kept, kept)

    def raise_or_warn(self) -> None:
        """Raise RootfsError for entries that no image can hold; log those that were skipped."""
        for path in self.absent:
            self._require_absent(path)
        if self.whiteouts:
            raise RootfsError(
                "clients would take these for whiteouts and delete files: " + self._list(self.whiteouts),
                hint="leave them out with --prune PATH (verify: --ignore-prune), or name them otherwise",
            )
        if self.sockets:
            raise RootfsError(
                "an image cannot hold sockets: " + self._list(self.sockets),
                hint="leave them out with --skip-special-files, or --prune PATH (verify: --ignore-prune)",
            )
        if self.hiding:
            raise RootfsError(
                "no layer can hold the marks of overlay storage with which these hide files: "
                + self._list(self.hiding),
                hint="leave that store out with --prune PATH, or fill it with the driver vfs; an OCI layout "
                "needs no marks, either",
            )
        if self.absent:
            log.warning(
                "skipped %d names that their directories list and do not hold: %s",
                len(self.absent),
                self._list(self.absent),
            )
        if self.marked:
            log.warning(
                "marks of overlay storage (extended attributes) are left out at %s", self._list(self.marked)
            )
        if self.empty:
            log.warning(
                "a layer cannot hold extended attributes without a value; left out at %s",
                self._list(self.empty),
            )
        if self.skipped:
            log.warning("skipped %d special files: %s", len(self.skipped), self._list(self.skipped))

    def _list(self, paths: list[str]) -> str:
        paths = sorted(set(paths))
        text = ", ".join(map(self.root.show, paths[:_NAMED]))
        return text + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")

    def _require_absent(self, path: str) -> None:
        """Raise RootfsError if a name that was not found is there now, or is no longer listed."""
        head, _, name = path.rpartition("/")
        directory = self.root.directory(head)
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError as error:
            if name not in os.listdir(f"/proc/self/fd/{directory}"):
                raise self.root.error(path, error) from error
        else:
            raise self.root.changed_error(path)
