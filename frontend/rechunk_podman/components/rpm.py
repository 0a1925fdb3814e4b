"""Components from the rpm database: one for each source package, and one for the database itself."""

from __future__ import annotations

import logging
import stat
from typing import NamedTuple

from rechunk_podman.components import rpm_db, rpm_header
from rechunk_podman.components.base import ALGORITHMS, ALWAYS, MD5, Board
from rechunk_podman.components.content import digest_file
from rechunk_podman.components.rpm_header import Header, HeaderError, RpmFile
from rechunk_podman.model import Kind
from rechunk_podman.rootfs.root import Root

log = logging.getLogger("rechunk_podman")

name = "rpm"

STATE = (
    "usr/lib/sysimage/libdnf5",
    "usr/lib/sysimage/rpm-ostree-base-db",
    "var/lib/dnf",
    "var/lib/yum",
)
"""What rpm's front ends record of every transaction."""

_DAY = 86400


class _Missing(NamedTuple):
    """A file of a package that is not at its path."""

    algorithm: int
    digest: bytes
    group: int


def claim(root: Root, board: Board) -> None:
    """Claims the files of every installed package for its source package.

    A record that is broken costs that record, with a warning.

    Raises:
        DatabaseError: a database is there and cannot be opened.
        RootfsError: a file that may be a moved one cannot be read.
    """
    paths = rpm_db.databases(root)
    if not paths:
        return
    database = board.group("database", name)
    board.groups[database].interval = ALWAYS
    board.claim_below([path.rpartition("/")[0] for path in paths] + [root.place(p) for p in STATE], database)
    missing: dict[tuple[str, int], list[_Missing]] = {}
    for record in rpm_db.records(root, paths):
        label = "?"
        try:
            if isinstance(record, HeaderError):
                raise record
            header = Header(record)
            label = header.string(rpm_header.NAME)
            _package(board, header, missing)
        except HeaderError as error:
            log.warning("rpm database: package %s is left out: %s", label or "?", error)
    if missing:
        _find_moved(root, board, missing)


def _package(board: Board, header: Header, missing: dict[tuple[str, int], list[_Missing]]) -> None:
    """Claims and describes one package's files; all of its record is read before anything is claimed.

    Raises:
        HeaderError: the record is broken.
    """
    source, version = header.source()
    built = header.number(rpm_header.BUILDTIME) or 0
    changes = [time for time in header.numbers(rpm_header.CHANGELOGTIME) if time > 0]
    algorithm = header.number(rpm_header.FILEDIGESTALGO) or MD5
    files = header.files()

    number = board.group(name, source)
    group = board.groups[number]
    if not group.version or built > (group.clamp or 0):
        group.version = version
    group.built(built)
    group.changes.update(time for time in changes if not built or time <= built + _DAY)
    for file in files:
        if file.state != rpm_header.STATE_NORMAL:
            continue
        path = board.canonical(file.directory + file.name)
        regular = stat.S_ISREG(file.mode) and not file.flags & rpm_header.FLAG_GHOST
        if path:
            position = board.position[path]
            board.claim(position, number)
            if regular:
                _describe(board, position, number, file, algorithm)
        elif path is None and regular and file.size:
            digest = _digest(file, algorithm)
            if digest:
                missing.setdefault((file.name, file.size), []).append(_Missing(algorithm, digest, number))


def _digest(file: RpmFile, algorithm: int) -> bytes | None:
    """The digest that the database records, None where there is none of use."""
    if algorithm not in ALGORITHMS:
        return None
    try:
        return bytes.fromhex(file.digest) or None
    except ValueError:
        return None


def _describe(board: Board, position: int, group: int, file: RpmFile, algorithm: int) -> None:
    if not board.regular[position]:
        return
    digest = _digest(file, algorithm)
    if not board.describe(position, group, algorithm if digest else 0):
        return
    if digest:
        _, mode, _, _, size, mtime, *_ = board.tree.numbers[position].tolist()
        if (size, mtime, mode) == (file.size, file.mtime, stat.S_IMODE(file.mode)):
            board.set_digest(position, digest)


def _find_moved(root: Root, board: Board, missing: dict[tuple[str, int], list[_Missing]]) -> None:
    """Finds package files that a compose tool moved: the same base name, size and digest elsewhere.

    (ostree moves /etc to /usr/etc, /boot to /usr/lib/modules.)

    Raises:
        RootfsError: a candidate cannot be read.
    """
    names = {file for file, _ in missing}
    for position, path in enumerate(board.paths):
        file = path.rpartition("/")[2]
        if file not in names or position in board.leader or board.described[position] >= 0:
            continue
        entry = board.tree[path]
        candidates = missing.get((file, entry.size)) if entry.kind is Kind.FILE else None
        if not candidates:
            continue
        digests = {
            algorithm: digest_file(root, path, entry.size, entry.mtime, algorithm)
            for algorithm in sorted({candidate.algorithm for candidate in candidates})
        }
        for found in candidates:
            if digests[found.algorithm] == found.digest and board.describe(
                position, found.group, found.algorithm
            ):
                board.set_digest(position, found.digest)
                board.claim(position, found.group)
