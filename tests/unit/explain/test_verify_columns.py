"""verify() compares columns: it finds what a loop over all paths finds."""

from __future__ import annotations

from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from rechunk_podman.explain.files import EXAMPLES, verify
from rechunk_podman.model import Entry, Kind, Tree
from rechunk_podman.oci.read.flatten import TreeDigest

NAMES = ("a", "a-b", "a/b", "a/b/c", "a/é", "a/\udcff", "b", "d", "d/e", "f")
SPECIAL = (Kind.FIFO, Kind.CHAR, Kind.BLOCK)
ROOT = Entry(Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 0, 1, 1, None, None, ())
few = st.integers(0, 1)


@st.composite
def digests(draw):
    """A tree, and the digests of its files; hard links share an inode."""
    inodes = {}
    for number in range(4, 8):
        kind = draw(st.sampled_from([Kind.FILE, Kind.FILE, Kind.FILE, *Kind]))
        inodes[number] = Entry(
            kind,
            0o644 + draw(few),
            draw(few),
            draw(few),
            draw(few),
            draw(st.integers(-1, 1)),
            0,
            number,
            1,
            f"to{draw(few)}" if kind is Kind.SYMLINK else None,
            (1, draw(few)) if kind in (Kind.CHAR, Kind.BLOCK) else None,
            (("user.x", b"%d" % draw(few)),) if draw(st.booleans()) else (),
        )
    entries = {}
    for index, name in enumerate(draw(st.sets(st.sampled_from(NAMES)))):
        number = draw(st.sampled_from([*inodes, 0]))
        entries[name] = inodes[number] if number else ROOT._replace(ino=100 + index, mode=0o755 - draw(few))
    contents = {number: b"%d" % draw(few) * 32 for number in inodes}
    tree = Tree(ROOT._replace(mode=0o755 - draw(few), mtime=draw(few)), entries)
    hashes = {name: contents[entry.ino] for name, entry in entries.items() if entry.kind is Kind.FILE}
    return TreeDigest("it", tree, hashes)


IGNORED = st.lists(st.sampled_from(["/a", "/a/", "/d/e", "/d/", "/absent", "//a/./b/"]), max_size=2)


def is_ignored(path, ignore):
    for text in ignore:
        wanted = "/".join(part for part in text.split("/") if part not in ("", "."))
        if path.startswith(f"{wanted}/") or (path == wanted and not text.endswith("/")):
            return True
    return False


def expected(a, b, ignore, skip_special):
    """Return the paths with what differs, the number of paths, and the paths of other times."""
    found, times, count = [], [], 0
    common = []
    for path in chain(a.tree, (path for path in b.tree if path not in a.tree)):
        one, two = a.tree.get(path), b.tree.get(path)
        here = [entry for entry in (one, two) if entry is not None]
        if is_ignored(path, ignore) or (skip_special and all(entry.kind in SPECIAL for entry in here)):
            continue
        count += 1
        if one is None or two is None:
            found.append((path, "missing"))
            continue
        common.append(path)
        if one.kind is not two.kind:
            found.append((path, "type"))
        elif a.sha256.get(path) != b.sha256.get(path):
            found.append((path, "content"))
        elif one.target != two.target:
            found.append((path, "target"))
        elif one.rdev != two.rdev:
            found.append((path, "device"))
        if one.mode != two.mode and not one.kind is two.kind is Kind.SYMLINK:
            found.append((path, "mode"))
        if (one.uid, one.gid) != (two.uid, two.gid):
            found.append((path, "owner"))
        if one.xattrs != two.xattrs:
            found.append((path, "xattrs"))
        if one.mtime != two.mtime:
            times.append((path, str(one.mtime), str(two.mtime)))
    for path in common:
        groups = [
            next(p for p in common if tree.links.get(p, p) == tree.links.get(path, path))
            for tree in (a.tree, b.tree)
        ]
        if groups[0] != groups[1]:
            found.append((path, "links"))
    return found, count, times


@settings(max_examples=400, deadline=None)
@given(digests(), digests(), IGNORED, st.booleans())
def test_all_that_differs(a, b, ignore, skip_special):
    result = verify(a, b, ignore=ignore, skip_special_files=skip_special)
    found, count, times = expected(a, b, ignore, skip_special)
    assert [(difference.path, difference.what) for difference in result.entries] == found
    assert result.paths == count
    assert result.mtimes == len(times)
    assert [(one.path, one.a, one.b) for one in result.mtime_examples] == times[:EXAMPLES]
    assert {difference.what for difference in result.root} == {
        what for what in ("mode", "mtime") if getattr(a.tree.root, what) != getattr(b.tree.root, what)
    }
    assert verify(a, a, ignore=ignore).same


def test_empty_trees():
    nothing = TreeDigest("it", Tree(ROOT, {}), {})
    something = TreeDigest("it", Tree(ROOT, {"p": ROOT._replace(kind=Kind.FIFO)}), {})
    assert verify(nothing, nothing).same
    assert [one.path for one in verify(something, nothing).entries] == ["p"]
    assert [one.path for one in verify(nothing, something).entries] == ["p"]
    assert verify(something, nothing, skip_special_files=True).paths == 0
