"""Root -> Tree: every path once, symlinks never followed, nothing left out silently."""

from __future__ import annotations

import errno
import gc
import logging
import marshal
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rechunk_podman.errors import RootfsError, UsageError
from rechunk_podman.model import Entry, Kind, Tree
from rechunk_podman.rootfs.crew import Crew
from rechunk_podman.rootfs.root import Root

log = logging.getLogger("rechunk_podman")

Xattrs = tuple[tuple[str, bytes], ...]

_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK,
}
_SPECIAL = (Kind.FIFO, Kind.CHAR, Kind.BLOCK)
_DEVICES = (Kind.CHAR, Kind.BLOCK)
# Marks of overlay storage and of the machine; `user.overlay.opaque` would hide lower layers.
_DROPPED_PREFIXES = ("trusted.", "user.overlay.", "user.fuseoverlayfs.", "user.containers.")
_NAMED = 10  # so many offenders are named in a message
_KIND_OF = tuple(Kind)
_PART = 2000
"""Paths after which a process of a crew hands back what it found, and what it has not looked at."""
_ALONE = 500
"""Paths up to which it is not worth asking others."""


def scan(
    root: Root,
    *,
    prune: Sequence[str] = (),
    skip_special_files: bool = False,
    keep_selinux: bool = False,
    crew: Crew | None = None,
) -> Tree:
    """Reads the metadata of everything below `root`; no content.

    Args:
        prune: absolute paths: `/a/b` leaves out the subtree, `/a/b/` what the directory holds. Symlinks
            above it are followed inside the root; one that names nothing is a warning in the log.
        skip_special_files: leave out sockets, FIFOs and devices, with a warning.
        keep_selinux: keep security.selinux; it is dropped otherwise.
        crew: processes that help.

    Raises:
        UsageError: a prune path is not absolute, or is `/`.
        RootfsError: something is unreadable or vanished; a socket (they are named); a whiteout (a name
            that begins with `.wh.`, a character device 0:0); an xattr whose name contains `=`.
    """
    options = _Options(_prune_list(root, prune), skip_special_files, keep_selinux)
    with _no_gc():
        scanner = _Scanner(root, options)
        pending = scanner.start()
        if crew is None or not crew.size:
            scanner.walk(pending)
        else:
            scanner.walk(pending, _ALONE)
            _share(scanner, pending, crew)
        scanner.complain()
        return Tree(scanner.root_entry, scanner.entries)


class _Options(NamedTuple):
    """pruned: canonical path -> whether the directory itself stays."""

    pruned: dict[str, bool]
    skip_special: bool
    keep_selinux: bool


class _Part(NamedTuple):
    """What one process found. rows: see _Scanner.part(). pending: directories that it has not looked at."""

    rows: bytes
    pending: list[str]
    oddities: tuple[list[str], ...]


def _share(scanner: _Scanner, pending: list[str], crew: Crew) -> None:
    """Lets the crew read everything at and below the pending directories."""
    running = 0
    while pending or running:
        while pending and crew.free:
            # some for each, so that nobody waits for the one who met a large directory
            count = -(-len(pending) // crew.size) if len(pending) < 64 * crew.size else 64
            crew.submit("scan", None, _read_part, scanner.options, pending[-count:])
            del pending[-count:]
            running += 1
        pending += scanner.take(crew.wait("scan")[1])
        running -= 1


def _read_part(root: Root, options: _Options, directories: list[str]) -> _Part:
    """Reads what is at and below the directories, or as much of it as a part holds."""
    with _no_gc():
        scanner = _Scanner(root, options)
        pending = list(directories)
        scanner.walk(pending, _PART)
        return scanner.part(pending)


@contextmanager
def _no_gc() -> Iterator[None]:
    # Nothing here forms cycles, and a collection walks over every entry made so far.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
        "intern",
        "kinds",
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
        self.entries: dict[str, Entry] = {}
        # One object for each of the few values that come again and again: that is most of them.
        self.intern: dict[Any, Any] = {}
        self.kinds: dict[int, tuple[Kind | None, int]] = {}
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
        status = os.fstat(root.fd)
        mode = stat.S_IMODE(status.st_mode)
        try:
            xattrs = self._xattrs("", handle + "/.", os.listxattr(handle + "/."))
            self.root_entry = self._entry(status, Kind.DIRECTORY, mode, xattrs)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise root.error("", error) from error
            self.root_entry = self._entry(status, Kind.DIRECTORY, mode, ())
        return [] if self.options.pruned.get("") else [""]

    def walk(self, pending: list[str], most: int | None = None) -> None:
        """Reads the pending directories and what is below them, until there are `most` entries."""
        pruned = self.options.pruned
        while pending and (most is None or len(self.entries) < most):
            self._directory(pending.pop(), pruned, pending)

    def part(self, pending: list[str]) -> _Part:
        """What was found, as columns: paths, kinds as bytes, and the other fields of the entries."""
        kinds, *columns = zip(*self.entries.values(), strict=True) if self.entries else ((),)
        oddities = (self.sockets, self.whiteouts, self.skipped, self.empty)
        return _Part(marshal.dumps((list(self.entries), bytes(kinds), columns)), pending, oddities)

    def take(self, part: _Part) -> list[str]:
        """Adds what another process found; the directories that it has not looked at."""
        # Of our own child, over a channel that nobody else has.
        paths, kinds, columns = marshal.loads(part.rows)  # noqa: S302
        intern, make = self.intern.setdefault, tuple.__new__
        # ino, nlink, target and rdev are as good as each entry's own
        shared = [
            column if 6 <= place <= 9 else [intern(value, value) for value in column]
            for place, column in enumerate(columns)
        ]
        rows = zip(map(_KIND_OF.__getitem__, kinds), *shared, strict=True)
        self.entries.update((path, make(Entry, row)) for path, row in zip(paths, rows, strict=True))
        for mine, found in zip(
            (self.sockets, self.whiteouts, self.skipped, self.empty), part.oddities, strict=True
        ):
            mine += found
        return part.pending

    def _directory(self, directory: str, pruned: dict[str, bool], pending: list[str]) -> None:
        root, kinds, entries = self.root, self.kinds, self.entries
        prefix = directory + "/" if directory else ""
        path = directory
        try:
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root.directory(directory))
        except OSError as error:
            raise root.error(directory, error) from error
        handle = f"/proc/self/fd/{fd}/"
        try:
            with os.scandir(fd) as items:
                for item in items:
                    name = item.name
                    path = prefix + name
                    if pruned and pruned.get(path) is False:
                        continue
                    status = item.stat(follow_symlinks=False)
                    found = kinds.get(status.st_mode)
                    if found is None:
                        mode = status.st_mode
                        found = kinds[mode] = (_KINDS.get(stat.S_IFMT(mode)), stat.S_IMODE(mode))
                    kind, mode = found
                    if (kind is None or kind in _SPECIAL) and self._special(path, kind, status):
                        continue
                    if name.startswith(".wh."):
                        self.whiteouts.append(path)
                        continue
                    try:
                        names = os.listxattr(handle + name, follow_symlinks=False)
                    except OSError as error:
                        if error.errno != errno.ENOTSUP:
                            raise
                        names = []
                    xattrs = self._xattrs(path, handle + name, names) if names else ()
                    target = os.readlink(name, dir_fd=fd) if kind is Kind.SYMLINK else None
                    entries[path] = self._entry(status, kind, mode, xattrs, target)
                    if kind is Kind.DIRECTORY and path not in pruned:
                        pending.append(path)
        except OSError as error:
            raise root.error(path, error) from error
        finally:
            os.close(fd)

    def _special(self, path: str, kind: Kind | None, status: os.stat_result) -> bool:
        """Whether a socket, FIFO or device is left out; notes why."""
        if self.options.skip_special:
            self.skipped.append(path)
        elif kind is None:
            self.sockets.append(path)
        elif kind is Kind.CHAR and status.st_rdev == 0:
            self.whiteouts.append(path)
        else:
            return False
        return True

    def _entry(
        self, status: os.stat_result, kind: Kind | None, mode: int, xattrs: Xattrs, target: str | None = None
    ) -> Entry:
        intern = self.intern.setdefault
        _, ino, dev, nlink, uid, gid, size, _, mtime, _ = status[:10]
        rdev = None
        if kind is Kind.FILE:
            size = intern(size, size)
        else:
            size = 0
            if kind in _DEVICES:
                rdev = (os.major(status.st_rdev), os.minor(status.st_rdev))
        # As Entry(...), which takes twice the time.
        return tuple.__new__(
            Entry,
            (
                kind,
                mode,
                intern(uid, uid),
                intern(gid, gid),
                size,
                intern(mtime, mtime),
                intern(dev, dev),
                ino,
                nlink,
                target,
                rdev,
                xattrs,
            ),
        )

    def _xattrs(self, path: str, handle: str, names: list[str]) -> Xattrs:
        found = []
        for name in sorted(names):
            if name.startswith(_DROPPED_PREFIXES) or name == "security.evm":
                continue
            if name == "security.selinux" and not self.options.keep_selinux:
                continue
            if "=" in name:
                raise RootfsError(
                    f"{self.root.show(path)} has the extended attribute {name!r}",
                    hint="a layer cannot hold an attribute whose name contains '=': remove it (setfattr -x)",
                )
            value = os.getxattr(handle, name, follow_symlinks=False)
            if not value:
                # A pax record without a value means that there is none (pax(1), "ustar/pax format").
                self.empty.append(path)
                continue
            found.append((name, value))
        xattrs: Xattrs = tuple(found)
        return self.intern.setdefault(xattrs, xattrs)  # type: ignore[no-any-return]

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
