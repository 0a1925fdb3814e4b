"""Root -> Tree: every path once, symlinks never followed, nothing left out silently."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import NamedTuple

from rechunk_podman.collector import paused
from rechunk_podman.errors import RootfsError, UsageError
from rechunk_podman.model import Entry, Kind, Tree
from rechunk_podman.rootfs._listing import read_directories
from rechunk_podman.rootfs.root import Root
from rechunk_podman.workers import Workers

log = logging.getLogger("rechunk_podman")

Xattrs = tuple[tuple[str, bytes], ...]
_Found = tuple[dict[str, Entry], list[str], list[tuple[str, Entry]]]

_KINDS = tuple(Kind)
_SPECIAL = (Kind.FIFO, Kind.CHAR, Kind.BLOCK)
# Marks of overlay storage and of the machine; `user.overlay.opaque` would hide lower layers.
_DROPPED_PREFIXES = ("trusted.", "user.overlay.", "user.fuseoverlayfs.", "user.containers.")
_NAMED = 10  # so many offenders are named in a message
_BATCH = 64
"""Directories that a worker takes at once."""


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
    with paused():
        scanner = _Scanner(root, options)
        pending = scanner.start()
        _read_all(scanner, pending, workers or Workers(1))
        scanner.complain()
        return Tree(scanner.root_entry, scanner.entries)


class _Options(NamedTuple):
    """pruned: canonical path -> whether the directory itself stays."""

    pruned: dict[str, bool]
    skip_special: bool
    keep_selinux: bool


def _read_all(scanner: _Scanner, pending: list[str], workers: Workers) -> None:
    """Reads everything at and below the pending directories."""
    running: set[Future[_Found]] = set()
    try:
        while pending or running:
            while pending and len(running) <= workers.count:
                # some for each, so that nobody waits for the one who met a large directory
                count = min(_BATCH, -(-len(pending) // workers.count))
                running.add(workers.submit(scanner.read, pending[-count:]))
                del pending[-count:]
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                pending += scanner.take(future.result())
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
        "empty",
        "entries",
        "ignored",
        "intern",
        "options",
        "root",
        "root_entry",
        "skipped",
        "sockets",
        "whiteouts",
    )

    def __init__(self, root: Root, options: _Options) -> None:
        self.root = root
        self.options = options
        self.ignored = (b"security.evm",) if options.keep_selinux else (b"security.evm", b"security.selinux")
        self.entries: dict[str, Entry] = {}
        self.intern: dict[Xattrs, Xattrs] = {}
        self.sockets: list[str] = []
        self.whiteouts: list[str] = []
        self.skipped: list[str] = []
        self.empty: list[str] = []

    def start(self) -> list[str]:
        """Reads the root itself; the directories to begin with."""
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
        return [] if self.options.pruned.get("") else [""]

    def _root_xattrs(self, handle: str) -> Xattrs:
        names = sorted(set(os.listxattr(handle)) - set(map(os.fsdecode, self.ignored)))
        return tuple([(name, os.getxattr(handle, name)) for name in names])

    def read(self, directories: list[str]) -> _Found:
        """What these directories hold; for any thread."""
        return read_directories(self.root.fd, directories, Entry, _KINDS, self.ignored)

    def take(self, found: _Found) -> list[str]:
        """Adds what was read; the directories among it that are to be read."""
        entries, directories, odd = found
        pruned = self.options.pruned
        for path in pruned:
            if pruned[path] is False:
                entries.pop(path, None)
        self.entries.update(entries)
        for path, entry in odd:
            if pruned.get(path) is not False and self._accept(path, entry) and entry.kind is Kind.DIRECTORY:
                directories.append(path)
        return [path for path in directories if path not in pruned] if pruned else directories

    def _accept(self, path: str, entry: Entry) -> bool:
        """Adds an entry that has to be looked at; or not, and notes why."""
        special = entry.kind in _SPECIAL or entry.kind is None
        if special and self.options.skip_special:
            self.skipped.append(path)
        elif entry.kind is None:
            self.sockets.append(path)
        elif (entry.kind is Kind.CHAR and entry.rdev == (0, 0)) or path.rpartition("/")[2].startswith(".wh."):
            self.whiteouts.append(path)
        else:
            self.entries[path] = entry._replace(xattrs=self._kept(path, entry.xattrs))
            return True
        return False

    def _kept(self, path: str, xattrs: Xattrs) -> Xattrs:
        """The attributes that a layer is to hold."""
        found = []
        for name, value in xattrs:
            if name.startswith(_DROPPED_PREFIXES):
                continue
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
