"""Labels by file_contexts: which line wins, kinds, substitutions, <<none>>, a path's own label; the work."""

from __future__ import annotations

import os

import pytest

from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Source, build, plan_only
from rechunk_podman.errors import RootfsError, UsageError
from rechunk_podman.explain.files import read_tree_of
from rechunk_podman.model import Kind
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.oci.write.output import Output
from rechunk_podman.rootfs.selinux import FileContexts
from support.linting import make
from support.needs import needs_root
from support.oci_material import Layout, directory, make_tar
from support.scanning import set_xattrs

CONTEXTS = b"""\
# a comment
/.*	default
/usr/.*	usr
/usr/bin/sh	--	shell
/usr/(.*/)?man(/.*)?	man
/usr/lib(/.*)?	lib
/usr/lib/.*\\.so(\\.[^/]*)*	--	shared
/usr/lib/modules/[^/]+	-d	modules
/usr/li[nk]+s	links
/run/.*	<<none>>
/var|/srv	top
/opt/[[:digit:]]+	number
/etc/a\\.conf	dotted
/broken(	x
/nested/(a+)+b	x
/odd	-x	x
"""


@pytest.mark.parametrize(
    ("path", "kind", "label"),
    [
        ("/x", Kind.FILE, "default"),
        ("/usr/bin/sh", Kind.FILE, "shell"),
        ("/usr/bin/sh", Kind.SYMLINK, "usr"),
        ("/usr/share/man/man1", Kind.DIRECTORY, "man"),
        ("/usr/lib", Kind.DIRECTORY, "lib"),
        ("/usr/lib/man/x", Kind.FILE, "lib"),
        ("/usr/libx", Kind.FILE, "usr"),
        ("/usr/lib/a/b.so.1", Kind.FILE, "shared"),
        ("/usr/lib/a/b.so.1", Kind.SYMLINK, "lib"),
        ("/usr/lib/modules/6.1", Kind.DIRECTORY, "modules"),
        ("/usr/lib/modules/6.1/x", Kind.DIRECTORY, "lib"),
        ("/usr/linknks", Kind.FILE, "links"),
        ("/run/x/y", Kind.FILE, None),
        ("/var", Kind.DIRECTORY, "top"),
        ("/srv", Kind.DIRECTORY, "top"),
        ("/opt/12", Kind.FILE, "number"),
        ("/etc/a.conf", Kind.FILE, "dotted"),
        ("/etc/a_conf", Kind.FILE, "default"),
        ("/home/me/x\ny", Kind.FILE, "home"),
        ("/lib64/x.so", Kind.FILE, "shared"),
        ("/data/bin/sh", Kind.FILE, "shell"),
        ("/database", Kind.FILE, "default"),
        ("/nested/aab", Kind.FILE, "default"),
        ("/twice", Kind.FILE, "typed"),
        ("/twice", Kind.DIRECTORY, "first"),
    ],
)
def test_the_line_that_wins(path, kind, label):
    contexts = FileContexts(
        [
            CONTEXTS,
            b"/home/[^/]+/.+	home\n",
            b"/twice	first\n/twice	--	typed\n/twice	second\n",
        ],
        b"/data /usr\n",
        b"# comment\n/lib64 /usr/lib\n",
    )
    found = contexts.label(path.encode(), kind)
    assert found == (None if label is None else label.encode())


def test_lines_that_are_not_understood_are_named(caplog):
    FileContexts([CONTEXTS])
    assert "3 lines are not understood: /broken(, /nested/(a+)+b, /odd" in caplog.text
    FileContexts([b"/lonely\n/one -- x y\n/" + b"x" * 2000 + b".* x\n"])
    assert "3 lines are not understood: /lonely, /one, /xxx" in caplog.text
    assert len(caplog.messages[1]) < 200


POLICY = {
    "etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=own\n",
    "etc/selinux/own/contexts/files/file_contexts": CONTEXTS,
    "usr/bin/sh": "x",
    "run/x": "x",
}


def labels(tmp_path, **options):
    out = tmp_path / options["selinux"]
    build(Source(str(tmp_path / "root")), BuildOptions(**options), Output.parse(f"oci:{out}"))
    assert validate(out).errors == []
    tree = read_tree_of(f"oci:{out}", keep_selinux=True).tree
    return {path: dict(entry.xattrs).get("security.selinux") for path, entry in tree.items()}


def test_the_policy_of_the_image_is_written(tmp_path):
    make(tmp_path / "root", POLICY)
    found = labels(tmp_path, selinux="policy")
    assert found["usr/bin/sh"] == b"shell\0"
    assert found["usr/bin"] == b"usr\0"
    assert found["run"] == b"default\0"
    root = read_tree_of(f"oci:{tmp_path}/policy", keep_selinux=True).tree.root
    assert root.xattrs == (("security.selinux", b"default\0"),)
    assert found["run/x"] is None


@needs_root
def test_a_kept_label_of_the_root_directory_is_that_of_an_image(tmp_path):
    """On disk it is that of the storage driver."""
    layout = Layout(tmp_path / "image")
    label = {"pax": {"SCHILY.xattr.security.selinux": "own"}}
    layout.layer(make_tar([directory("./", **label), directory("usr", **label)]))
    options = BuildOptions(selinux="keep")
    disk = tmp_path / "disk"
    (disk / "usr").mkdir(parents=True)
    for path in (disk, disk / "usr"):
        os.setxattr(path, "security.selinux", b"own")
    (tmp_path / "unpacked").mkdir()
    with open_image(layout.finish()) as image:
        of_image = plan_only(Source(str(tmp_path / "unpacked"), layers=image), options).tree
    of_disk = plan_only(Source(str(disk)), options).tree
    labelled = (("security.selinux", b"own"),)
    assert of_image["usr"].xattrs == of_disk["usr"].xattrs == of_image.root.xattrs == labelled
    assert of_disk.root.xattrs == ()


def test_a_path_states_its_own_label(tmp_path):
    make(tmp_path / "root", POLICY)
    set_xattrs(tmp_path / "root/usr/bin/sh", ["user.selinux"])
    assert labels(tmp_path, selinux="policy")["usr/bin/sh"] == b"value \xff\0"
    assert set(labels(tmp_path, selinux="none").values()) == {None}


def test_without_a_policy(tmp_path):
    make(tmp_path / "root", {"etc/selinux/config": "SELINUXTYPE=../../etc\n", "usr/x": "x"})
    with pytest.raises(RootfsError, match="no SELinux policy"):
        labels(tmp_path, selinux="policy")
    with pytest.raises(UsageError, match="no such labels: some"):
        BuildOptions(selinux="some")


@pytest.mark.parametrize("name", ["", ".local", ".homedirs", ".subs", ".subs_dist"])
def test_a_file_of_the_policy_that_is_unreadable_is_an_error(tmp_path, name):
    path = f"etc/selinux/own/contexts/files/file_contexts{name}"
    make(tmp_path / "root", {**POLICY, path: "#" * (4 << 20) + "\n"})
    with pytest.raises(RootfsError, match=f"file_contexts{name} holds more than"):
        labels(tmp_path, selinux="policy")
    file = tmp_path / "root" / path
    file.unlink()
    file.mkdir()
    with pytest.raises(RootfsError, match=f"file_contexts{name}.*regular file"):
        labels(tmp_path, selinux="policy")


def test_few_lines_are_tried_for_a_path():
    form = b"/usr/share/app%d/cache(/.*)?	cache\n/usr/share/app%d/.*\\.so	lib\n"
    lines = b"".join(form % (number, number) for number in range(2000))
    contexts = FileContexts([CONTEXTS + lines])
    assert contexts.label(b"/usr/share/app7/cache/x", Kind.FILE) == b"cache"
    assert len(list(contexts._candidates(b"/usr/share/app7/cache/x"))) == 2
    assert len(list(contexts._candidates(b"/usr/share/app7/x"))) < 8


def test_a_name_cannot_take_exponential_time():
    contexts = FileContexts([CONTEXTS])
    assert contexts.label(b"/usr/lib/x.so" + b"." * 200 + b"/y", Kind.FILE) == b"lib"
