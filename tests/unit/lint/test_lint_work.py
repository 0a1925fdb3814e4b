"""The work of the checks: it does not grow with what they have nothing to say of. Counted, not timed."""

from __future__ import annotations

import pytest

from rechunk_podman.lint import subject
from rechunk_podman.lint.checks import Subject
from rechunk_podman.lint.run import CHECKS, run
from rechunk_podman.model import Entry, Kind, Tree
from rechunk_podman.rootfs.root import Root

DIRECTORY = Entry(Kind.DIRECTORY, 0o755, 0, 0, 0, 1, 1, 1, 2, None, None, ())


class CountingTree(Tree):
    """A Tree that counts the entries that are made."""

    __slots__ = ("made",)

    def __init__(self, entries):
        self.made = 0
        super().__init__(DIRECTORY, entries)
        self.made = 0

    def entry(self, position):
        self.made += 1
        return super().entry(position)

    def items(self):
        for path, entry in super().items():
            self.made += 1
            yield path, entry


def tree_of(count):
    """A tree with a file in each of some directories that checks look into, and many in another one."""
    entries = {}
    for top in ("usr/share/it", "var/cache/dnf", "srv/www", "boot", "run"):
        for depth in range(top.count("/") + 1):
            entries["/".join(top.split("/")[: depth + 1])] = DIRECTORY
        entries[f"{top}/file"] = DIRECTORY._replace(kind=Kind.FILE, size=1, ino=len(entries) + 2)
    for number in range(count):
        entries[f"usr/share/it/{number}"] = DIRECTORY._replace(kind=Kind.FILE, size=1, ino=1000 + number)
    return CountingTree(entries)


def subject_of(tree):
    return Subject("it", tree, {}, lambda path: None, bootable=True)


def test_below_visits_only_the_directory():
    tree = tree_of(500)
    assert [path for path, _ in subject_of(tree).below("srv/www")] == ["srv/www/file"]
    assert tree.made == 1
    assert list(subject_of(tree).below("srv/w")) == []
    assert list(subject_of(tree).below("absent")) == []
    assert tree.made == 1


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_makes_no_entries_of_other_files(check):
    made = []
    for count in (10, 500):
        tree = tree_of(count)
        found = run(subject_of(tree), [check])
        made.append((tree.made, [result.finding for result in found]))
    assert made[0] == made[1]


def test_files_are_read_in_batches_and_told_in_order(tmp_path, monkeypatch):
    """A batch holds as many neighbours as there is room for; larger files are read by themselves."""
    monkeypatch.setattr(subject, "_BATCH", 100)
    key = b"npm_" + b"a" * 36
    for number in range(40):
        (tmp_path / f"f{number:02}").write_bytes(key + b"\n" * number if number % 3 else b"nothing")
    (tmp_path / "f10.pyc").write_bytes(bytes(12))
    (tmp_path / "f11").write_bytes(b"\n" * subject.SMALL + key)
    with Root(tmp_path) as root:
        told = subject.of_directory(root).facts
    expected = [f"f{number:02}" for number in range(40) if number % 3 and number != 11]
    assert [path for path, facts in told.items() if facts.tokens] == expected
