"""The rule of parts: it reads a component's own files alone; a change of one file changes one part."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rechunk_podman.components import parts as rule
from rechunk_podman.components.parts import cut
from rechunk_podman.model import Entry, Kind, PartKind, Tree, path_key

KB = 1024
ROOT = Entry(Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 1, 0, 2, None, None, ())


def tree_of(files: Mapping[str, int], links: Mapping[str, str] | None = None, mode: int = 0o644) -> Tree:
    """Return the Tree of files (path -> bytes) and hard links (path -> path of another file)."""
    inodes = {path: number for number, path in enumerate(sorted(files), 1)}
    entries = {
        path: Entry(Kind.FILE, mode, 0, 0, size, 0, 1, inodes[path], 1, None, None, ())
        for path, size in files.items()
    }
    for path, other in (links or {}).items():
        entries[path] = entries[other]
    for path in list(entries):
        while path := path.rpartition("/")[0]:
            entries.setdefault(path, ROOT._replace(ino=len(inodes) + len(entries) + 1))
    return Tree(ROOT, entries)


def parts_of(
    files: Mapping[str, int], links: Mapping[str, str] | None = None, mode: int = 0o644
) -> dict[str, set[str]]:
    """Return the paths of each part."""
    tree = tree_of(files, links, mode)
    paths = sorted({*files, *(links or {})}, key=path_key)
    own = np.array([tree.position[path] for path in paths], np.intp)
    sizes = np.array([files.get(path, 0) for path in paths])
    pieces = cut(tree, own, sizes)
    assert len({piece.name for piece in pieces}) == len(pieces)
    return {piece.name: set(tree.paths_at(piece.positions)) for piece in pieces}


def firmware() -> dict[str, int]:
    """The files of a package like linux-firmware."""
    files = {
        f"usr/lib/firmware/amdgpu/navi{number}_{part}.bin": 90 * KB for number in range(40) for part in "ab"
    }
    files |= {f"usr/lib/firmware/iwlwifi-{number}.ucode": 1500 * KB for number in range(3)}
    files |= {f"usr/lib/firmware/brcm/{number}.bin": 40 * KB for number in range(10)}
    files |= {f"usr/lib/firmware/{vendor}/a.bin": 9 * KB for vendor in ("ti", "rsi", "cis")}
    return files | {"usr/share/doc/firmware/changelog.gz": 30 * KB}


def test_large_files_directories_and_the_rest() -> None:
    found = parts_of(firmware())
    assert found["/usr/lib/firmware/iwlwifi-1.ucode"] == {"usr/lib/firmware/iwlwifi-1.ucode"}
    assert len(found["/usr/lib/firmware/brcm"]) == 10
    assert found["/usr/share/doc/firmware"] == {"usr/share/doc/firmware/changelog.gz"}
    assert found["/usr/lib/firmware"] == {f"usr/lib/firmware/{name}/a.bin" for name in ("ti", "rsi", "cis")}
    halves = [name for name in found if name.startswith("/usr/lib/firmware/amdgpu #")]
    assert len(halves) > 4


def test_a_small_component_has_no_parts() -> None:
    assert parts_of({"usr/bin/a": rule.CUT_FROM - 1}) == {}
    assert parts_of({"usr/bin/a": rule.CUT_FROM // 2, "usr/bin/b": rule.CUT_FROM // 2}) != {}


def test_programs_are_apart_from_data() -> None:
    files = {f"usr/lib/x/{name}{end}": 300 * KB for name in "abcd" for end in (".so.1", ".txt")}
    tree = tree_of(files)
    own = np.array([tree.position[path] for path in sorted(files)], np.intp)
    for piece in cut(tree, own, np.array([files[path] for path in sorted(files)])):
        ends = {path.endswith(".so.1") for path in tree.paths_at(piece.positions)}
        assert ends == {piece.kind is PartKind.PROGRAMS}
    assert set(parts_of({"usr/bin/a": 1 << 20, "usr/bin/b": 9, "usr/x": 1 << 20}, mode=0o755)) == {
        *("/usr/bin/a", "/usr/x", "/usr/bin (programs)")
    }


def test_byte_code_stays_with_its_source_and_links_with_their_leader() -> None:
    names = [f"module{number}" for number in range(60)]
    files = {f"usr/lib/py/{name}.py": 40 * KB for name in names}
    files |= {f"usr/lib/py/__pycache__/{name}.cpython-313.pyc": 30 * KB for name in names}
    files["usr/lib/py/huge.py"] = 2 << 20
    links = {"usr/share/z/other": "usr/lib/py/module7.py"}
    part_of = {path: name for name, paths in parts_of(files, links).items() for path in paths}
    for name in names:
        assert part_of[f"usr/lib/py/{name}.py"] == part_of[f"usr/lib/py/__pycache__/{name}.cpython-313.pyc"]
    assert part_of["usr/share/z/other"] == part_of["usr/lib/py/module7.py"]
    assert part_of["usr/lib/py/huge.py"] != "/usr/lib/py/huge.py"


names = st.sampled_from(["lib", "share", "a", "navi10_x", "navi21", "b1", "b2", "é", "\udcff", "__pycache__"])
paths = st.lists(names, min_size=1, max_size=4).map(lambda words: "usr/" + "/".join(words) + "/f")
sizes = st.sampled_from([0, 10, 70 * KB, 300 * KB, 900 * KB, (1 << 20) - 1, 1 << 20, 5 << 20])


@given(files=st.dictionaries(paths, sizes, min_size=1, max_size=40), grown=st.data())
@settings(max_examples=150, deadline=None)
def test_every_file_is_in_one_part_and_a_change_is_local(files: dict[str, int], grown: st.DataObject) -> None:
    found = parts_of(files)
    if sum(files.values()) < rule.CUT_FROM:
        assert found == {}
        return
    assert sorted(path for members in found.values() for path in members) == sorted(files)
    assert found == parts_of(dict(reversed(files.items())))
    # the rule reads no content, so that another content of one file changes its part alone. A file that
    # comes changes few parts: those that it divides or joins are in its directories
    path = grown.draw(paths)
    more = parts_of({**files, path: 20 * KB})
    same = sum(members in found.values() for members in more.values())
    assert same >= len(more) - 12
    for members in more.values():
        directories = {member.rpartition("/")[0] for member in members}
        if members not in found.values() and path not in members:
            assert any(path.startswith(directory[:4]) for directory in directories)


@pytest.mark.parametrize("size", [rule.MOST - 20 * KB, rule.MOST + 20 * KB])
def test_a_size_around_the_threshold_divides_one_part_alone(size: int) -> None:
    files = {f"usr/a/{name}": size // 8 for name in "abcdefgh"} | {
        f"usr/b/{name}": 300 * KB for name in "abc"
    }
    files |= {"usr/c/x": 1 << 20}
    found = parts_of(files)
    assert found["/usr/b"] == {f"usr/b/{name}" for name in "abc"}
    assert ("/usr/a" in found) == (size <= rule.MOST)


def test_a_new_family_of_names_renames_no_other_part() -> None:
    files = {f"usr/lib/firmware/navi{number}": 200 * KB for number in range(40)}
    found = parts_of(files)
    more = parts_of({**files, "usr/lib/firmware/vega": 200 * KB, "usr/lib/firmware/polaris": 200 * KB})
    assert found.items() <= more.items()


def test_names_that_differ_after_the_first_dot_are_divided() -> None:
    found = parts_of({f"usr/share/x/core.{number}": 300 * KB for number in range(40)})
    assert all(len(members) * 300 * KB <= rule.MOST for members in found.values())


def test_paths_that_look_like_names_of_parts() -> None:
    files = {f"usr/lib/{name}/{file}": 600 * KB for name in ("x", "x (programs)") for file in ("a", "b.so")}
    files |= {"usr/lib/x #1": 1 << 20, "usr/lib/y": 1 << 20}
    found = parts_of(files)
    assert sorted(path for members in found.values() for path in members) == sorted(files)
