"""`--clean`: what lint finds is left out, and nothing else; the log says what and how much."""

from __future__ import annotations

import os

import pytest

from rechunk_podman.build.options import BuildOptions, parse_clean
from rechunk_podman.build.pipeline import Source, build
from rechunk_podman.cli.app import with_clean_all
from rechunk_podman.errors import UsageError
from rechunk_podman.explain.files import read_tree_of
from rechunk_podman.lint.report import lint
from rechunk_podman.lint.run import chosen
from rechunk_podman.log import NOTE
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.oci.write.output import Output
from rechunk_podman.packages.leftovers import LEFTOVERS
from support.linting import make

LEFT = {
    "caches": {"var/cache/apt/archives/a.deb": "x" * 3000, "root/.cache/pip/b": "y"},
    "logs": {"var/log/dpkg.log": "log"},
    "run-and-tmp": {"run/app.pid": "1", "tmp/link": "->/etc"},
    "package-journals": {"var/lib/dpkg/status-old": "old", "etc/passwd-": "old"},
    "machine-id": {"etc/machine-id": "0123\n", "var/lib/systemd/random-seed": "seed"},
}
KEPT = {
    "var/log/empty.log": "",
    "usr/bin/app": "app",
    "var/lib/dpkg/status": "",
    "etc/passwd": "root:x:0:0::/:\n",
}


@pytest.fixture
def root(tmp_path):
    top = make(
        tmp_path / "root", {path: text for files in (*LEFT.values(), KEPT) for path, text in files.items()}
    )
    os.link(top / "var/cache/apt/archives/a.deb", top / "usr/share.deb")
    return top


def built(root, tmp_path, text):
    out = tmp_path / "image"
    build(Source(str(root)), BuildOptions(clean=parse_clean(text)), Output.parse(f"oci:{out}"))
    assert validate(out).errors == []
    return f"oci:{out}"


def files(reference):
    return {path for path, entry in read_tree_of(reference).tree.items() if entry.kind != 1}


@pytest.mark.parametrize("text", [None, "all", "logs", "machine-id,caches"])
def test_exactly_what_is_named_is_left_out(root, tmp_path, text, caplog):
    caplog.set_level(NOTE, "rechunk_podman")
    image = built(root, tmp_path, text)
    names = set(LEFT) if text == "all" else set((text or "").split(",")) & set(LEFT)
    gone = {path for name in names for path in LEFT[name]}
    everything = {path for group in (*LEFT.values(), KEPT) for path in group} | {"usr/share.deb"}
    assert files(image) == everything - gone
    assert "var/cache/apt/archives" in read_tree_of(image).tree
    found = {result.check.name for result in lint(image, chosen(only=list(LEFTOVERS))).results}
    assert found == set(LEFT) - names
    said = [message for message in caplog.messages if message.startswith("clean: ")]
    assert len(said) == len(names)
    if "caches" in names:
        (line,) = (message for message in said if "caches" in message)
        # The content of a.deb has another name, and stays.
        assert "2 files, 1 B left out: /root/.cache/pip/b, /var/cache/apt/archives/a.deb" in line


@pytest.mark.parametrize(
    ("names", "sizes"), [("all", ["0 B", "3.0 kB"]), ("logs", ["0 B"]), ("caches", ["0 B"])]
)
def test_the_size_is_that_of_content_without_a_name(tmp_path, caplog, names, sizes):
    caplog.set_level(NOTE, "rechunk_podman")
    root = make(tmp_path / "root", {"root/.cache/x": "x" * 3000, "usr/bin/app": "x"})
    (root / "var/log").mkdir(parents=True)
    os.link(root / "root/.cache/x", root / "var/log/x")
    built(root, tmp_path, names)
    said = [message for message in caplog.messages if message.startswith("clean: ")]
    assert [message.split(", ")[1].partition(" left out")[0] for message in said] == sizes


def test_an_unset_machine_id_stays(tmp_path, caplog):
    caplog.set_level(NOTE, "rechunk_podman")
    root = make(tmp_path / "root", {"etc/machine-id": "uninitialized\n"})
    assert files(built(root, tmp_path, "all")) == {"etc/machine-id"}
    assert "clean: nothing to leave out" in caplog.messages


def test_the_option():
    assert with_clean_all(["split", "--clean", "IMG"]) == ["split", "--clean=all", "IMG"]
    assert with_clean_all(["build", "--clean=logs", "--", "--clean"]) == [
        "build",
        "--clean=logs",
        "--",
        "--clean",
    ]
    assert parse_clean(None) == ()
    with pytest.raises(UsageError, match="'cache'"):
        BuildOptions(clean=parse_clean("logs,cache"))
