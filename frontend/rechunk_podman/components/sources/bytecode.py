"""Python's byte code: a .pyc goes into the component of its .py, whose time it may record.

Sources: PEP 3147 (__pycache__), PEP 488 (.opt-N), PEP 552 (the header of a .pyc),
Lib/importlib/_bootstrap_external.py.
"""

from __future__ import annotations

import os
import struct

import numpy as np

from rechunk_podman.components.board import Board, Flags
from rechunk_podman.model import Kind, Positions, path_key
from rechunk_podman.pathtable import distinct
from rechunk_podman.patterns import compile_later
from rechunk_podman.rootfs.paths import follow
from rechunk_podman.rootfs.root import Root

name = "bytecode"
rule = "the file is the byte code of a Python file"

_OPTIMISED = compile_later(r"\.opt-[0-9a-zA-Z]+\Z")


def source_of(path: str) -> str | None:
    """Return the path of the .py that a .pyc was compiled from; None if the path is not a .pyc's. Pure."""
    if not path.endswith(".pyc"):
        return None
    head, _, file = path.rpartition("/")
    directory, _, cache = head.rpartition("/")
    if cache != "__pycache__":
        return path[:-1]
    module, dot, _tag = _OPTIMISED.sub("", file[:-4]).rpartition(".")
    if not (module and dot):
        return None
    return f"{directory}/{module}.py" if directory else f"{module}.py"


def pairs(board: Board) -> tuple[Positions, Positions]:
    """Return the positions of each .pyc whose .py exists, and those of the .py."""
    compiled = board.paths.ending(b".pyc")
    compiled = compiled[board.regular[compiled]]
    sources = [source_of(path) or "" for path in board.tree.paths_at(compiled)]
    found = board.paths.find_joined(path_key("".join([f"{path}\0" for path in sources])))
    chosen = found >= 0
    chosen[chosen] = ~board.inner[found[chosen]]
    return compiled[chosen], found[chosen]


def claim(root: Root, board: Board) -> None:
    """Assign every unclaimed .pyc to the component that owns its .py after all claims."""
    unclaimed = np.zeros(len(board.owner), np.bool_)
    unclaimed[board.unclaimed()] = True
    compiled, sources = (board.leader[positions] for positions in pairs(board))
    free = unclaimed[compiled]
    for position, source in zip(compiled[free].tolist(), sources[free].tolist(), strict=True):
        # by the leaders' own names: a .py that is a hard link to a .pyc would get its own
        if board.paths[position].endswith(".pyc") and not board.paths[source].endswith(".pyc"):
            board.owner_from.setdefault(position, source)


def recorded_mtime(header: bytes) -> int | None:
    """Return the time of the .py that the first 16 bytes of a .pyc record: epoch seconds modulo 2**32.

    None if the .pyc is validated by hash, or the file is no .pyc. There are no flags before magic number 3390
    (Python 3.7).
    """
    if len(header) < 8 or header[2:4] != b"\r\n":
        return None
    magic, _, first, second = struct.unpack("<HHII", header[:12].ljust(12, b"\0"))
    if magic >= 20000 or 3000 <= magic < 3390:
        return int(first)
    if first or len(header) < 16:
        return None
    return int(second)


def _timed(board: Board, sources: Positions) -> Positions:
    """Return for each .py the position of the file whose time Python takes."""
    found = sources.copy()
    links = board.kind[sources] == Kind.SYMLINK
    found[links] = [_followed(board, position) for position in sources[links].tolist()]
    return np.asarray(board.leader[found])


def _followed(board: Board, position: int) -> int:
    """Return the position of what a symlink leads to, or its own if that is not there."""
    try:
        path = follow(board.paths[position], lambda path: board.tree[path].target)
    except (KeyError, OSError):
        return position
    return board.position.get(path, position)


def compiled_sources(board: Board) -> Positions:
    """Return the positions of the files whose times a .pyc may record."""
    return distinct(_timed(board, pairs(board)[1]))


def keep_recorded(root: Root, board: Board, changes: Flags) -> None:
    """Mark each .py as kept if its mtime would change and a .pyc records the present one.

    Args:
        changes: for each position, True if its mtime in a layer would differ from its present one.

    Raises:
        RootfsError: a .pyc cannot be read.
    """
    sources = board.paths.ending(b".py")
    if not changes[sources].any() and not changes[list(board.tree.leader.values())].any():
        return
    compiled, timed = pairs(board)
    timed = _timed(board, timed)
    chosen = changes[timed]
    for position, source in zip(compiled[chosen].tolist(), timed[chosen].tolist(), strict=True):
        if board.keep[source]:
            continue
        path = board.paths[position]
        descriptor = root.open(path)
        try:
            header = os.read(descriptor, 16)
        except OSError as error:
            raise root.error(path, error) from error
        finally:
            os.close(descriptor)
        if recorded_mtime(header) == int(board.mtime[source]) & 0xFFFFFFFF:
            board.keep[source] = True
