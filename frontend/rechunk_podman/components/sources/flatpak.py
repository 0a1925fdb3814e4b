"""Components of Flatpak: one for each application and runtime, and one for the rest of an installation.

An installation has a repository of OSTree (repo/objects), whose objects are hard links of the deployed files
(app/ID/ARCH/BRANCH/COMMIT, runtime/…). Objects without a deployed name (directories, commits, contents whose
links were lost) belong to the deployment whose commit leads to them. What several share is a component of its
own, named after them: a hard link has names in each, and those change with every update of one.

Sources: flatpak-installation(5), Flatpak's common/flatpak-dir.c (the layout of an installation); OSTree's
src/libostree/ostree-core.h (the GVariant types of commit and dirtree objects, the names of objects).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rechunk_podman.components.board import NOBODY, Board
from rechunk_podman.errors import RootfsError
from rechunk_podman.model import Kind
from rechunk_podman.pathtable import distinct
from rechunk_podman.patterns import compile_later
from rechunk_podman.rootfs.root import Root

log = logging.getLogger("rechunk_podman")

name = "flatpak"
rule = "the path is deployed by Flatpak, or an object of its repository that is"

records = ("**/objects/*/*.commit", "**/objects/*/*.dirtree")
"""Globs of the files that are read."""

_KINDS = ("runtime", "app")
"""The kinds of deployments."""

_COMMIT = compile_later(r"[0-9a-f]{64}")
_EXPORTED = compile_later(r"(?:^|/)app/([^/]+)/")

_LARGEST = 4 << 20
"""Bytes of a commit or dirtree object at most."""

_MOST_NAMES = 3
"""Deployments after which a shared component is named."""

_MOST_READ = 64 << 20
"""Bytes of all these objects of one installation at most."""

_MOST_OBJECTS = 100_000
"""Commit and dirtree objects that are read of one installation at most."""


def claim(root: Root, board: Board) -> None:
    """Claim the paths of each installation: a directory with repo/objects, and app or runtime."""
    for position in board.paths.ending(b"/repo/objects").tolist():
        top = board.paths[position].removesuffix("/repo/objects")
        if any(f"{top}/{kind}" in board.position for kind in _KINDS):
            _claim_installation(root, board, top)


class _Deployment(NamedTuple):
    """A deployment: directory is top/KIND/ID/ARCH/BRANCH; commits are the names of the directories in it."""

    kind: str
    ident: str
    directory: str
    label: str
    commits: list[str]


def _claim_installation(root: Root, board: Board, top: str) -> None:
    exports, references = _exports(board, top), _references(board, top)
    repository = _Repository(root, board, f"{top}/repo/objects")
    deployments = _deployments(board, top)
    first = np.full(len(board.paths), NOBODY, np.int32)
    several: dict[int, set[int]] = {}
    for order, deployment in enumerate(deployments):
        kind, ident, directory, _, commits = deployment
        files = references.get(directory.removeprefix(f"{top}/"), [])
        current = board.position.get(f"{top}/{kind}/{ident}/current")
        files = files + ([] if current is None else [current])
        files += exports.get(ident, []) if kind == "app" else []
        files += [position for commit in commits for position in repository.objects(commit)]
        below = board.tree.below(directory)
        found = np.append(np.arange(below.start, below.stop), np.array(files, np.intp))
        leaders = distinct(board.leader[found])
        for position in leaders[first[leaders] != NOBODY].tolist():
            several.setdefault(position, {int(first[position])}).add(order)
        first[leaders[first[leaders] == NOBODY]] = order
    shared: dict[str, list[int]] = {}
    for position, users in several.items():
        labels = sorted(deployments[user].label for user in users)
        shared.setdefault("+".join(labels) if len(labels) <= _MOST_NAMES else "shared", []).append(position)
    first[list(several)] = NOBODY
    own = np.flatnonzero(first != NOBODY)
    own = own[np.argsort(first[own], kind="stable")]
    orders, starts = np.unique(first[own], return_index=True)
    for order, positions in zip(orders.tolist(), np.split(own, starts[1:]), strict=bool(len(own))):
        deployment = deployments[order]
        board.because(rule, f"/{deployment.directory}", *deployment.commits)
        board.claim_all(positions, board.component(name, deployment.label))
    for label, common in sorted(shared.items()):
        board.because("several deployments of Flatpak share the file", f"/{top}", label)
        board.claim_all(np.array(common, np.intp), board.component(name, label))
    below = board.tree.below(top)
    rest = np.arange(below.start, below.stop)
    board.because("the path is of an installation of Flatpak, and of no application or runtime", f"/{top}")
    board.claim_all(rest[board.owner[board.leader[rest]] == NOBODY], board.component(name, "installation"))


def _children(board: Board, directory: str) -> Iterator[str]:
    """Yield the names of the directories in a directory."""
    position = board.position.get(directory)
    if position is not None:
        below = board.tree.below(directory)
        part = slice(below.start, below.stop)
        inside = (board.tree.parent[part] == position) & (board.kind[part] == Kind.DIRECTORY)
        for path in board.tree.paths_at(np.flatnonzero(inside) + below.start):
            yield path[len(directory) + 1 :]


def _deployments(board: Board, top: str) -> list[_Deployment]:
    """Return the deployments in the order in which they claim."""
    found = []
    for kind in _KINDS:
        for ident in _children(board, f"{top}/{kind}"):
            for arch in _children(board, f"{top}/{kind}/{ident}"):
                for branch in _children(board, f"{top}/{kind}/{ident}/{arch}"):
                    directory = f"{top}/{kind}/{ident}/{arch}/{branch}"
                    commits = [c for c in _children(board, directory) if _COMMIT.fullmatch(c)]
                    found.append((kind, ident, arch, branch, directory, commits))
    several = Counter((kind, ident, branch) for kind, ident, _, branch, _, _ in found)
    return [
        _Deployment(
            kind,
            ident,
            directory,
            "/".join([kind, ident, *([arch] if several[kind, ident, branch] > 1 else []), branch]),
            commits,
        )
        for kind, ident, arch, branch, directory, commits in found
    ]


def _exports(board: Board, top: str) -> dict[str, list[int]]:
    """Return the symlinks in `exports` of each application, by their targets."""
    found: dict[str, list[int]] = {}
    for position in board.tree.below(f"{top}/exports"):
        match = _EXPORTED.search(board.tree.entry(position).target or "")
        if match:
            found.setdefault(match[1], []).append(position)
    return found


def _references(board: Board, top: str) -> dict[str, list[int]]:
    """Return the references of the repository: KIND/ID/ARCH/BRANCH, with which their paths end."""
    found: dict[str, list[int]] = {}
    for position in board.tree.below(f"{top}/repo/refs"):
        parts = board.paths[position].split("/")
        found.setdefault("/".join(parts[-4:]), []).append(position)
    return found


class _Repository:
    """The objects of a repository, found from its commits."""

    def __init__(self, root: Root, board: Board, directory: str) -> None:
        self._root = root
        self._board = board
        self._directory = directory
        self._left = _MOST_OBJECTS
        self._bytes = _MOST_READ

    def objects(self, commit: str) -> Iterator[int]:
        """Yield the positions of the objects that a commit leads to."""
        data = self._read(f"{commit}.commit")
        yield from self._positions(commit, ("commit", "commitmeta"))
        if data is None:
            return
        try:
            pending = [commit_tree(data)]
        except ValueError as error:
            log.warning("/%s: the commit %s is left out: %s", self._directory, commit, error)
            return
        seen: set[str] = set()
        while pending:
            tree, meta = pending.pop()
            yield from self._positions(meta, ("dirmeta",))
            if tree in seen:
                continue
            seen.add(tree)
            yield from self._positions(tree, ("dirtree",))
            data = self._read(f"{tree}.dirtree")
            if data is None:
                continue
            try:
                files, directories = dirtree(data)
            except ValueError as error:
                log.warning("/%s: the directory %s is left out: %s", self._directory, tree, error)
                continue
            for file in files:
                yield from self._positions(file, ("file", "filez"))
            pending += directories

    def _positions(self, checksum: str, endings: tuple[str, ...]) -> Iterator[int]:
        for ending in endings:
            path = f"{self._directory}/{checksum[:2]}/{checksum[2:]}.{ending}"
            position = self._board.position.get(path)
            if position is not None:
                yield position

    def _read(self, file: str) -> bytes | None:
        path = f"{self._directory}/{file[:2]}/{file[2:]}"
        if path not in self._board.position:
            return None
        self._left -= 1
        if self._left == 0 or self._bytes < 0:
            log.warning(
                "/%s: more than %d objects or %d MiB, and the rest is not read",
                self._directory,
                _MOST_OBJECTS,
                _MOST_READ >> 20,
            )
            self._left, self._bytes = min(self._left, 0), 0
        if self._left <= 0:
            return None
        try:
            data = self._root.read(path, _LARGEST)
            self._bytes -= len(data)
            return data
        except RootfsError as error:
            log.warning("%s: the object is left out: %s", self._root.show(path), error.message)
            return None


def commit_tree(data: bytes) -> tuple[str, str]:
    """Return the checksums of the root directory's dirtree and dirmeta objects, from a commit object. Pure.

    Its type is (a{sv}aya(say)sstayay): six framing offsets, of which the first is the end of the dirtree's.

    Raises:
        ValueError: the data is no commit object.
    """
    width = _width(len(data))
    table = len(data) - 6 * width
    end = int.from_bytes(data[table : table + width], "little") if table > 0 else 0
    if end < 32 or table - end != 32:
        raise ValueError("it is no commit object")
    return data[end - 32 : end].hex(), data[end:table].hex()


def dirtree(data: bytes) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the checksums of the files, and those of the directories' dirtree and dirmeta objects. Pure.

    The type of a dirtree object is (a(say)a(sayay)).

    Raises:
        ValueError: the data is no dirtree object.
    """
    width = _width(len(data))
    table = len(data) - width
    split = int.from_bytes(data[table:], "little") if table >= 0 else -1
    if not 0 <= split <= table:
        raise ValueError("it is no dirtree object")
    files = []
    for item in _array(data[:split]):
        if len(item) < 32 + _width(len(item)):
            raise ValueError("a file has no checksum")
        files.append(item[: -_width(len(item))][-32:].hex())
    directories = []
    for item in _array(data[split:table]):
        pair = item[: -2 * _width(len(item))][-64:]
        if len(pair) < 64:
            raise ValueError("a directory has no checksums")
        directories.append((pair[:32].hex(), pair[32:].hex()))
    return files, directories


def _width(size: int) -> int:
    """Return the bytes of a framing offset in a container of `size` bytes (GVariant's serialisation)."""
    return 1 if size <= 0xFF else 2 if size <= 0xFFFF else 4


def _array(data: bytes) -> Iterator[bytes]:
    """Yield the elements of an array of variable size: a table of their ends follows them.

    Raises:
        ValueError: the table is no such.
    """
    if not data:
        return
    width = _width(len(data))
    table = int.from_bytes(data[-width:], "little")
    if not 0 <= table < len(data) or (len(data) - table) % width:
        raise ValueError("an array has no table")
    start = 0
    for at in range(table, len(data), width):
        end = int.from_bytes(data[at : at + width], "little")
        if not start <= end <= table:
            raise ValueError("an element of an array is outside")
        yield data[start:end]
        start = end
