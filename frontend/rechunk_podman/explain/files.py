"""The comparison of two trees, file by file: the proof that a split image lost and changed nothing.

mtimes may differ (a split image clamps them), and clients create `/` themselves; both are reported apart.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from rechunk_podman.errors import RootfsError, UsageError
from rechunk_podman.images import open_root
from rechunk_podman.model import KIND_NAMES, Entry, Kind, Tree
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
    ignored = _Ignored(ignore, skip_special_files)
    entries: list[Difference] = []
    mtimes: list[Difference] = []
    count = paths = 0
    common: list[str] = []
    for path in _union(a.tree, b.tree):
        one, two = a.tree.get(path), b.tree.get(path)
        if ignored.covers(path, one, two):
            continue
        paths += 1
        if one is None or two is None:
            shown = [None if entry is None else KIND_NAMES[entry.kind] for entry in (one, two)]
            entries.append(Difference(path, "missing", shown[0], shown[1]))
            continue
        common.append(path)
        entries += _compare(path, one, two, a.sha256.get(path), b.sha256.get(path), selinux)
        if one.mtime != two.mtime:
            count += 1
            if len(mtimes) < EXAMPLES:
                mtimes.append(Difference(path, "mtime", str(one.mtime), str(two.mtime)))
    entries += _compare_links(common, a.tree, b.tree)
    root = list(_compare("", a.tree.root, b.tree.root, None, None, selinux))
    if a.tree.root.mtime != b.tree.root.mtime:
        root.append(Difference("", "mtime", str(a.tree.root.mtime), str(b.tree.root.mtime)))
    counts = Counter(difference.what for difference in entries)
    return Differences(
        a.name, b.name, tuple(entries), tuple(root), count, tuple(mtimes), paths, dict(sorted(counts.items()))
    )


def _union(a: Tree, b: Tree) -> Iterator[str]:
    """Yield all paths of `a` in its order, then the paths that only `b` has."""
    yield from a
    yield from (path for path in b if path not in a)


class _Ignored:
    def __init__(self, paths: Sequence[str], skip_special_files: bool) -> None:
        self.subtrees: set[str] = set()
        self.contents: set[str] = set()
        self.special = skip_special_files
        for path in paths:
            parts = [part for part in path.split("/") if part not in ("", ".")]
            if not path.startswith("/") or not parts or ".." in parts:
                raise UsageError(
                    f"not an absolute path below /: {path!r}",
                    hint="/PATH leaves out a subtree, /PATH/ only the content of the directory",
                )
            (self.contents if path.endswith("/") else self.subtrees).add("/".join(parts))

    def covers(self, path: str, one: Entry | None, two: Entry | None) -> bool:
        if self.special and all(
            entry is None or entry.kind in (Kind.FIFO, Kind.CHAR, Kind.BLOCK) for entry in (one, two)
        ):
            return True
        if not (self.subtrees or self.contents):
            return False
        if path in self.subtrees:
            return True
        while "/" in path:
            path = path.rpartition("/")[0]
            if path in self.subtrees or path in self.contents:
                return True
        return False


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
