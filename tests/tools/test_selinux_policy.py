"""Labels of a whole Debian by its own policy, beside those of libselinux's matchpathcon."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from images import boot
from images.cache import MissingTool
from rechunk_podman.model import Kind
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from rechunk_podman.rootfs.selinux import label_tree, load
from support.needs import needs_root, unavailable
from support.tools import run

pytestmark = needs_root

NONE = b"<<none>>"

KINDS = {
    Kind.FILE: "file",
    Kind.DIRECTORY: "dir",
    Kind.SYMLINK: "link",
    Kind.CHAR: "char",
    Kind.BLOCK: "block",
}


@pytest.fixture(scope="module")
def root() -> Path:
    try:
        return boot.directory() / "root"
    except MissingTool as error:
        unavailable(f"{error} is not installed")


def of_matchpathcon(root: Path, paths: list[str], kind: str) -> list[str]:
    found = []
    for start in range(0, len(paths), 2000):
        words = ("matchpathcon", "-N", "-n", "-m", kind, *paths[start : start + 2000])
        found += run("chroot", root, *words).out.splitlines()
    return found


def test_every_path_has_the_label_of_matchpathcon(root, caplog):
    with Root(root) as files:
        tree = scan(files)
        contexts = load(files)
    assert "not understood" not in caplog.text
    assert label_tree(tree, contexts) > 10_000
    for kind, name in KINDS.items():
        entries = [(path, entry) for path, entry in (("", tree.root), *tree.items()) if entry.kind is kind]
        paths = [path for path, _ in entries]
        labels = [dict(entry.xattrs).get("security.selinux", NONE) for _, entry in entries]
        shown = [label.rstrip(b"\0").decode() for label in labels]
        assert shown == of_matchpathcon(root, [f"/{path}" for path in paths], name)


def test_every_line_of_the_policy_matches_as_in_libselinux(root):
    """Paths made of the expressions themselves reach the lines that no file of the root does."""
    with Root(root) as files:
        contexts = load(files)
    text = (root / "etc/selinux/default/contexts/files/file_contexts").read_text()
    lines = [line.split()[0] for line in text.splitlines() if line.startswith("/")]
    meant = [line.replace("(/.*)?", "/a").replace(".*", "b") for line in lines]
    made = {re.sub(r"[\\^$?*+()\[\]{}|<>]", "", line) for line in meant}
    paths = sorted(path for path in made if path == os.path.normpath(path) and len(path) > 1)
    assert len(paths) > 3000
    for kind, name in KINDS.items():
        ours = [(contexts.label(path.encode(), kind) or NONE).decode() for path in paths]
        assert ours == of_matchpathcon(root, paths, name)
