"""The comparison of two trees, file by file: the proof that a split image lost and changed nothing.

mtimes may differ (a split image clamps them), and clients create `/` themselves; both are reported apart.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.errors import RootfsError, UsageError
from rechunk_podman.images import open_root
from rechunk_podman.model import KIND_NAMES, Entry, Kind, Positions, Tree, path_key
from rechunk_podman.oci.read.flatten import TreeDigest
from rechunk_podman.oci.read.layers import read_tree
from rechunk_podman.registry.access import DEFAULT, Registry
from rechunk_podman.rootfs.acl import add_inherited
from rechunk_podman.rootfs.digests import digests_of
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.rootfs.xattrs import compared_xattrs
from rechunk_podman.workers import Workers

EXAMPLES = 10
"""The number of paths with differing mtimes that are listed."""
_SPECIAL = (Kind.FIFO, Kind.CHAR, Kind.BLOCK)


class Difference(NamedTuple):
    """A difference at a path.

    path: as in a Tree, "" for the root.
    what: missing, type, content, mode, owner, xattrs, target, device, links or mtime.
    a, b: the value on each side, None if it has none.
    """

    path: str
    what: str
    a: str | None
    b: str | None


@dataclass(frozen=True, slots=True)
class Differences:
    """The result of `verify()`. The trees are the same if `entries` is empty.

    a, b: the names of the trees. root: the differences at `/` itself.
    mtimes: the number of paths whose mtimes differ. mtime_examples: the first of them.
    paths: the number of compared paths. counts: the number of `entries` of each kind.
    """

    a: str
    b: str
    entries: tuple[Difference, ...]
    root: tuple[Difference, ...] = ()
    mtimes: int = 0
    mtime_examples: tuple[Difference, ...] = ()
    paths: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """True if both hold the same files."""
        return not self.entries


def read_tree_of(
    reference: str,
    registry: Registry = DEFAULT,
    *,
    prune: Sequence[str] = (),
    keep_selinux: bool = False,
    skip_special_files: bool = False,
) -> TreeDigest:
    """Read the files of an image or a directory by reference; each content and each layer is read once.

    Args:
        registry: as `images.open_root()` takes it.
        prune, keep_selinux, skip_special_files: as `read_root()` takes them; layers are read whole.

    Raises:
        RechunkError: as `images.open_root()`. RootfsError, ImageError: a file or layer cannot be read.
    """
    with open_root(reference, registry) as opened:
        if isinstance(opened.files, Root):
            found = read_root(
                opened.files, prune=prune, keep_selinux=keep_selinux, skip_special_files=skip_special_files
            )
        else:
            found = read_tree(opened.files)
            add_inherited(found.tree)
    return replace(found, name=reference)


def read_root(
    root: Root,
    *,
    prune: Sequence[str] = (),
    keep_selinux: bool = False,
    skip_special_files: bool = False,
) -> TreeDigest:
    """Read a root filesystem on disk; the content of hard links is read once.

    Args:
        prune: paths, as `ignore` of `verify()`. They are not read, so they may hold sockets and the like.
        keep_selinux, skip_special_files: as `scan()` takes them.

    Raises:
        RootfsError: a file is unreadable, or no image can hold it.
    """
    tree = scan(
        root,
        prune=[path for path in prune if _is_there(root, path)],
        skip_special_files=skip_special_files,
        keep_selinux=keep_selinux,
        keep_marks=True,
    )
    with Workers(len(os.sched_getaffinity(0))) as workers:
        return TreeDigest(root.path, tree, digests_of(root, tree, workers))


def _is_there(root: Root, path: str) -> bool:
    """Return True if a path to ignore exists and does not lead through a symlink."""
    name = path.strip("/")
    try:
        return path.startswith("/") and root.resolve(name) == name and bool(name and root.stat(name))
    except RootfsError:
        return False


def verify(
    a: TreeDigest,
    b: TreeDigest,
    *,
    selinux: bool = False,
    ignore: Sequence[str] = (),
    skip_special_files: bool = False,
) -> Differences:
    """Compare two trees.

    Args:
        selinux: compare security.selinux, too. Marks of overlay storage are always compared; other
            attributes that layers leave out are not.
        ignore: absolute paths: `/a/b` leaves out the subtree, `/a/b/` only the content of the directory.
        skip_special_files: leave out FIFOs and devices.

    Raises:
        UsageError: a path to ignore is not absolute, or `/` alone.
    """
    ignored = _Ignored(ignore)
    pairs = b.tree.paths.find_joined(a.tree.paths.text)
    there = pairs >= 0
    lonely = np.ones(len(b.tree), np.bool_)
    lonely[pairs[there]] = False
    left_out, left_out_b = ignored.covered(a.tree), ignored.covered(b.tree)
    if skip_special_files:
        special, special_b = (np.isin(tree.column("kind"), _SPECIAL) for tree in (a.tree, b.tree))
        left_out_b |= special_b
        # of a path that b does not have, the entry in a alone decides
        left_out |= special & (~there | (special_b[pairs] if len(special_b) else False))
    lonely &= ~left_out_b

    entries: list[Difference] = []
    for position in np.flatnonzero(~left_out & (~there | _differing(a, b, pairs))).tolist():
        path, one = a.tree.paths[position], a.tree.entry(position)
        if there[position]:
            two = b.tree.entry(int(pairs[position]))
            entries += _compare(path, one, two, a.sha256.get(path), b.sha256.get(path), selinux)
        else:
            entries.append(Difference(path, "missing", KIND_NAMES[one.kind], None))
    for position in np.flatnonzero(lonely).tolist():
        kind = b.tree.entry(position).kind
        entries.append(Difference(b.tree.paths[position], "missing", None, KIND_NAMES[kind]))

    common = np.flatnonzero(there & ~left_out)
    entries += _compare_links(_in_groups(a.tree, b.tree, common, pairs), a.tree, b.tree)
    times, times_b = a.tree.column("mtime")[common], b.tree.column("mtime")[pairs[common]]
    others = np.flatnonzero(times != times_b)
    mtimes = [
        Difference(path, "mtime", str(times[index]), str(times_b[index]))
        for index, path in zip(others, a.tree.paths_at(common[others[:EXAMPLES]]), strict=False)
    ]
    root = list(_compare("", a.tree.root, b.tree.root, None, None, selinux))
    if a.tree.root.mtime != b.tree.root.mtime:
        root.append(Difference("", "mtime", str(a.tree.root.mtime), str(b.tree.root.mtime)))
    return Differences(
        a.name,
        b.name,
        tuple(entries),
        tuple(root),
        len(others),
        tuple(mtimes),
        int(np.count_nonzero(~left_out) + np.count_nonzero(lonely)),
        dict(sorted(Counter(difference.what for difference in entries).items())),
    )


def _differing(a: TreeDigest, b: TreeDigest, pairs: Positions) -> npt.NDArray[np.bool_]:
    """Return for each position in `a` True if _compare() may find a difference."""
    found = np.zeros(len(a.tree), np.bool_)
    there = np.flatnonzero(pairs >= 0)
    for name in ("kind", "mode", "uid", "gid"):
        found[there] |= a.tree.column(name)[there] != b.tree.column(name)[pairs[there]]
    other = [path for path, digest in a.sha256.items() if b.sha256.get(path) != digest]
    other += [path for path in b.sha256 if path not in a.sha256]
    found[_present(a.tree.paths.find_joined(path_key("".join([f"{path}\0" for path in other]))))] = True
    # targets, device numbers and attributes
    rare = np.array(sorted(a.tree.more), np.intp)
    rest = np.array(sorted(b.tree.more), np.intp)
    rare = np.union1d(rare, _present(a.tree.paths.find_joined(b.tree.paths.joined(rest))))
    for position in rare.tolist():
        if a.tree.more.get(position) != b.tree.more.get(int(pairs[position])):
            found[position] = True
    return found


def _present(positions: Positions) -> Positions:
    return positions[positions >= 0]


def _in_groups(a: Tree, b: Tree, common: Positions, pairs: Positions) -> list[str]:
    """Return those of the common paths that have hard links, in order."""
    linked = np.zeros(len(a), np.bool_)
    linked[[*a.leader, *a.leader.values()]] = True
    linked_b = np.zeros(len(b), np.bool_)
    linked_b[[*b.leader, *b.leader.values()]] = True
    return a.paths_at(common[linked[common] | linked_b[pairs[common]]])


class _Ignored:
    """The paths that a caller ignores; see verify()."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._subtrees: set[str] = set()
        self._contents: set[str] = set()
        for path in paths:
            parts = [part for part in path.split("/") if part not in ("", ".")]
            if not path.startswith("/") or not parts or ".." in parts:
                raise UsageError(
                    f"not an absolute path below /: {path!r}",
                    hint="/PATH leaves out a subtree, /PATH/ only the content of the directory",
                )
            (self._contents if path.endswith("/") else self._subtrees).add("/".join(parts))

    def covered(self, tree: Tree) -> npt.NDArray[np.bool_]:
        """Return for each position True if its path is ignored."""
        found = np.zeros(len(tree), np.bool_)
        for directory in self._subtrees | self._contents:
            below = tree.below(directory)
            found[below.start : below.stop] = True
        for path in self._subtrees:
            position = tree.position.get(path)
            if position is not None:
                found[position] = True
        return found


def _compare(
    path: str, a: Entry, b: Entry, hash_a: bytes | None, hash_b: bytes | None, selinux: bool
) -> Iterator[Difference]:
    if a.kind is not b.kind:
        yield Difference(path, "type", KIND_NAMES[a.kind], KIND_NAMES[b.kind])
    elif a.kind is Kind.FILE and hash_a != hash_b:
        yield Difference(path, "content", _content(a, hash_a), _content(b, hash_b))
    elif a.target != b.target:
        yield Difference(path, "target", a.target, b.target)
    elif a.rdev != b.rdev:
        yield Difference(path, "device", _device(a), _device(b))
    # The mode of a symlink cannot be set, and tar writers put various values there.
    if a.mode != b.mode and not (a.kind is b.kind is Kind.SYMLINK):
        yield Difference(path, "mode", f"{a.mode:04o}", f"{b.mode:04o}")
    if (a.uid, a.gid) != (b.uid, b.gid):
        yield Difference(path, "owner", f"{a.uid}:{a.gid}", f"{b.uid}:{b.gid}")
    if a.xattrs != b.xattrs:
        one, two = (dict(compared_xattrs(entry, keep_selinux=selinux)) for entry in (a, b))
        for name in sorted(one.keys() | two.keys()):
            if one.get(name) != two.get(name):
                yield Difference(path, "xattrs", _xattr(name, one), _xattr(name, two))


def _content(entry: Entry, digest: bytes | None) -> str:
    return f"{entry.size} bytes, sha256:{digest.hex() if digest is not None else 'unknown'}"


def _device(entry: Entry) -> str:
    return "{}:{}".format(*entry.rdev) if entry.rdev is not None else "none"


def _xattr(name: str, xattrs: Mapping[str, bytes]) -> str | None:
    value = xattrs.get(name)
    if value is None:
        return None
    shown = value.hex()
    return f"{name}=0x{shown}" if len(shown) <= 80 else f"{name}=0x{shown[:80]}… ({len(value)} bytes)"


def _compare_links(paths: Sequence[str], a: Tree, b: Tree) -> Iterator[Difference]:
    """Yield the common paths whose hard-link groups differ.

    The first common path identifies a group. A path of only one side is reported once, as missing.
    """
    leaders_a, leaders_b = _leaders(paths, a), _leaders(paths, b)
    for path in paths:
        one, two = leaders_a.get(path, path), leaders_b.get(path, path)
        if one != two:
            yield Difference(path, "links", _group(path, one), _group(path, two))


def _leaders(paths: Sequence[str], tree: Tree) -> dict[str, str]:
    """Map each common path to the first common path of its group, unless it is the first itself."""
    first: dict[str, str] = {}
    leaders: dict[str, str] = {}
    for path in paths:
        group = tree.links.get(path, path)
        leader = first.setdefault(group, path)
        if leader is not path:
            leaders[path] = leader
    return leaders


def _group(path: str, leader: str) -> str:
    return "a file of its own" if leader == path else f"a hard link to /{leader}"
