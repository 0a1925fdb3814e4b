"""Components from the rpm database: one for each source package, and one for the database itself."""

from __future__ import annotations

import logging
import stat
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.components.board import ALGORITHMS, ALWAYS, DIGEST_SIZE, MD5, NOBODY, Board
from rechunk_podman.components.content import digest_file
from rechunk_podman.model import Kind
from rechunk_podman.packages.rpm import database as rpm_db
from rechunk_podman.packages.rpm import header as rpm_header
from rechunk_podman.packages.rpm.header import Header, HeaderError, RpmFiles
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
_TYPE, _PERMISSIONS = 0o170000, 0o7777
"""The parts of a mode."""


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
    files = header.columns()

    number = board.group(name, source)
    group = board.groups[number]
    if not group.version or built > (group.clamp or 0):
        group.version = version
    group.built(built)
    group.changes.update(time for time in changes if not built or time <= built + _DAY)
    _files(board, number, files, algorithm, missing)


def _files(
    board: Board,
    group: int,
    files: RpmFiles,
    algorithm: int,
    missing: dict[tuple[str, int], list[_Missing]],
) -> None:
    """Claims and describes the files of one package."""
    columns = board.columns
    directories = [directory.lstrip("/") for directory in files.directories]
    heads = map(directories.__getitem__, files.indexes.tolist())
    paths = [head + file for head, file in zip(heads, files.names, strict=True)]
    places = list(map(board.position.get, paths))
    normal = files.states == rpm_header.STATE_NORMAL
    regular = normal & (files.modes & _TYPE == stat.S_IFREG) & (files.flags & rpm_header.FLAG_GHOST == 0)
    if None in places:
        for at in [at for at, place in enumerate(places) if place is None]:
            path = board.canonical(paths[at])
            if path:
                places[at] = board.position[path]
            elif path is None and regular[at] and files.sizes[at]:
                digest = _digest(files.digests[at], algorithm)
                if digest:
                    key = (files.names[at], int(files.sizes[at]))
                    missing.setdefault(key, []).append(_Missing(algorithm, digest, group))
    positions = np.array([NOBODY if place is None else place for place in places], np.intp)
    board.claim_all(positions[normal & (positions != NOBODY)], group)
    chosen = np.flatnonzero(regular & (positions != NOBODY))
    found = positions[chosen]
    known, digests = _digests([files.digests[place] for place in chosen.tolist()], algorithm)
    as_recorded = (
        (columns.size[found].astype(np.uint64) == files.sizes[chosen])
        & (columns.mtime[found] == files.mtimes[chosen])
        & (board.tree.column("mode")[found] == files.modes[chosen] & _PERMISSIONS)
    )
    board.describe_all(found, known, digests, group, algorithm, as_recorded)


def _digests(texts: list[str], algorithm: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """Which of these digests are of use, and DIGEST_SIZE bytes of each."""
    rows = np.zeros((len(texts), DIGEST_SIZE), np.uint8)
    lengths = set(map(len, texts)) - {0}
    if algorithm in ALGORITHMS and len(lengths) == 1 and (length := lengths.pop()) % 2 == 0:
        with suppress(ValueError):
            joined = bytes.fromhex("".join(texts))
            known = np.array(texts, np.object_).astype(np.bool_)
            if len(joined) == length // 2 * int(known.sum()):
                kept = min(length // 2, DIGEST_SIZE)
                rows[known, :kept] = np.frombuffer(joined, np.uint8).reshape(-1, length // 2)[:, :kept]
                return known, rows
    # one that is broken, or none: each for itself
    known = np.zeros(len(texts), np.bool_)
    for place, text in enumerate(texts):
        digest = _digest(text, algorithm)
        if digest:
            known[place] = True
            rows[place] = np.frombuffer(digest[:DIGEST_SIZE].ljust(DIGEST_SIZE, b"\0"), np.uint8)
    return known, rows


def _digest(text: str, algorithm: int) -> bytes | None:
    """The digest that the database records, None where there is none of use."""
    if algorithm not in ALGORITHMS:
        return None
    try:
        return bytes.fromhex(text) or None
    except ValueError:
        return None


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
