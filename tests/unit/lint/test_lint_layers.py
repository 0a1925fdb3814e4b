"""Why layers are downloaded again: content, metadata, packing, form, compression; and the command's words."""

from __future__ import annotations

import gzip
import json

import pytest
from typer.testing import CliRunner

from rechunk_podman.cli.app import application
from rechunk_podman.errors import UsageError
from rechunk_podman.lint import run as registry
from rechunk_podman.lint.layers import compare
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.spec import MEDIA_LAYER_GZIP
from support.linting import make
from support.oci_material import Layout, directory, make_tar, member
from support.writing import write


def image(path, *layers, compress=None):
    layout = Layout(path)
    for members in layers:
        tar = make_tar(members)
        if compress is None:
            layout.layer(tar)
        else:
            layout.layer(tar, gzip.compress(tar, compress, mtime=0), MEDIA_LAYER_GZIP)
    return layout.finish()


def compared(tmp_path, old, new, **options):
    one = image(tmp_path / "old", *old, **options)
    two = image(tmp_path / "new", *new, **options)
    with open_image(one) as before, open_image(two) as now:
        return compare(before, now)


BASE = [directory("usr"), member("usr/lib", data=b"library")]


def test_the_same_layers(tmp_path):
    (layer,) = compared(tmp_path, [BASE], [BASE])
    assert (layer.verdict, layer.old, layer.changes) == ("kept", 1, ())
    assert registry.run_update((layer,)) == []


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({"mtime": 7}, ("app", "mtime", "0", "7")),
        ({"mode": 0o755}, ("app", "mode", "0644", "0755")),
        ({"uid": 3}, ("app", "owner", "0:0", "3:0")),
        ({"pax": {"SCHILY.xattr.user.x": "1"}}, ("app", "xattrs", "", "user.x")),
    ],
)
def test_metadata_alone(tmp_path, fields, change):
    kept, layer = compared(
        tmp_path, [BASE, [member("app", data=b"x")]], [BASE, [member("app", data=b"x", **fields)]]
    )
    assert kept.verdict == "kept"
    assert (layer.verdict, layer.old) == ("metadata", 2)
    assert layer.changes == (change,)
    (result,) = registry.run_update((kept, layer))
    assert result.check.name == "metadata-only-layer"
    assert result.finding.paths == ("app",)
    assert f"({change[1]} 1)" in result.finding.message


def test_the_time_of_a_directory(tmp_path):
    (layer,) = compared(tmp_path, [BASE], [[directory("usr", mtime=9), BASE[1]]])
    assert layer.verdict == "metadata"
    assert layer.changes == (("usr", "mtime", "0", "9"),)


@pytest.mark.parametrize(
    ("new", "changes"),
    [
        ([member("app", data=b"y")], [("app", "content", "1 bytes", "1 bytes")]),
        (
            [member("app", data=b"y", mtime=3)],
            [("app", "content", "1 bytes", "1 bytes"), ("app", "mtime", "0", "3")],
        ),
        ([member("app", data=b"x"), member("more", data=b"")], [("more", "added", None, "file")]),
        ([directory("app")], [("app", "type", "file", "directory")]),
    ],
)
def test_content(tmp_path, new, changes):
    _, layer = compared(tmp_path, [BASE, [member("app", data=b"x")]], [BASE, new])
    assert layer.verdict == "content"
    assert list(layer.changes) == changes
    assert [result.check.name for result in registry.run_update((layer,))] == ["changed-layer"]


def test_a_file_that_went_is_content(tmp_path):
    old = [member("app", data=b"x"), member("gone", data=b"y")]
    _, layer = compared(tmp_path, [BASE, old], [BASE, [member("app", data=b"x")]])
    assert layer.verdict == "content"
    assert layer.changes == (("gone", "removed", "file", None),)


def test_files_in_other_layers(tmp_path):
    a, b = member("a", data=b"a" * 10), member("b", data=b"b")
    (layer,) = compared(tmp_path, [[a], [b]], [[a, b]])
    assert layer.verdict == "repacked"
    assert [change.what for change in layer.changes] == ["moved"]
    assert [result.check.name for result in registry.run_update((layer,))] == ["repacked-layer"]


def test_the_advice_is_for_plans_without_memory(tmp_path):
    """A plan that had memory was told to have some."""
    a, b = member("a", data=b"a" * 10), member("b", data=b"b")
    old, new = image(tmp_path / "old", [a], [b]), image(tmp_path / "new", [a, b])
    fixes = []
    for remembered in (False, True):
        with open_image(old) as before, open_image(new) as now:
            (result,) = registry.run_update(compare(before, now, remembered=remembered))
        fixes.append(result.fix)
        assert result.to_json()["fix"] == result.fix
    assert "--previous" in fixes[0]
    assert fixes[1].startswith("nothing: the image was planned with memory")


def test_another_order_of_the_same_entries(tmp_path):
    a, b = member("a", data=b"a"), member("b", data=b"b")
    (layer,) = compared(tmp_path, [[a, b]], [[b, a]])
    assert (layer.verdict, layer.changes) == ("rewritten", ())
    assert [result.check.name for result in registry.run_update((layer,))] == ["rewritten-layer"]


def test_another_compression_of_the_same_tar(tmp_path):
    one = image(tmp_path / "old", [member("a", data=b"a" * 5000)], compress=1)
    two = image(tmp_path / "new", [member("a", data=b"a" * 5000)], compress=9)
    with open_image(one) as before, open_image(two) as now:
        (layer,) = compare(before, now)
    assert layer.verdict == "recompressed"
    assert [result.check.name for result in registry.run_update((layer,))] == ["recompressed-layer"]


def test_a_hard_link_instead_of_a_copy(tmp_path):
    import tarfile

    a, b = member("a", data=b"a"), member("b", data=b"a")
    link = member("b", tarfile.LNKTYPE, linkname="a", mode=0o644)
    (layer,) = compared(tmp_path, [[a, b]], [[a, link]])
    assert layer.verdict == "metadata"
    assert layer.changes == (("b", "links", None, "a"),)


def test_layers_that_the_writer_makes(tmp_path):
    top = make(tmp_path / "root", {"usr/bin/a": "a", "usr/bin/b": "b", "etc/c": "c"})
    write(top, f"oci:{tmp_path / 'old'}", count=3)
    (top / "usr/bin/a").chmod(0o700)
    write(top, f"oci:{tmp_path / 'new'}", count=3)
    with open_image(tmp_path / "old") as before, open_image(tmp_path / "new") as now:
        layers = compare(before, now)
    changed = [layer for layer in layers if layer.verdict != "kept"]
    assert [layer.verdict for layer in changed] == ["metadata"]
    assert changed[0].changes == (("usr/bin/a", "mode", "0644", "0700"),)


def lint(*arguments):
    return CliRunner().invoke(application(), ["lint", *map(str, arguments)])


@pytest.fixture
def faulty(tmp_path):
    """A layout whose image has an error and a warning."""
    layers = [member("root/.netrc", data=b"machine x login y password z\n"), member("tmp/x", data=b"x")]
    return image(tmp_path / "image", layers)


def test_the_exit_code_says_whether_something_was_found(faulty, tmp_path):
    assert lint(faulty).exit_code == 1
    assert lint(faulty, "--fail-on", "never").exit_code == 0
    assert lint(faulty, "--ignore", "credentials").exit_code == 0
    assert lint(faulty, "--ignore", "credentials", "--fail-on", "warning").exit_code == 1
    assert lint(faulty, "--only", "logs", "--fail-on", "note").exit_code == 0


def test_words(faulty):
    said = lint(f"oci:{faulty}").stdout
    assert "error: credentials: .netrc with a password\n  /root/.netrc\n  why: " in said
    assert said.endswith("1 error, 1 warning\n")
    assert "password z" not in said


def test_json(faulty):
    document = json.loads(lint(faulty, "--json").stdout)
    assert document["counts"] == {"error": 1, "note": 0, "warning": 1}
    first = document["findings"][0]
    assert (first["check"], first["severity"], first["paths"]) == ("credentials", "error", ["/root/.netrc"])
    assert first["why"]
    assert first["fix"]


def test_json_of_an_update(tmp_path):
    old, new = (image(tmp_path / str(mtime), [member("app", data=b"x", mtime=mtime)]) for mtime in (1, 2))
    done = lint(old, new, "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["layers"][0]["verdict"] == "metadata"
    assert document["layers"][0]["changes"] == [{"path": "/app", "what": "mtime", "old": "1", "new": "2"}]
    assert lint(old, new, "--fail-on", "warning").exit_code == 1
    assert "/app: mtime: 1970-01-01 00:00:01 -> 1970-01-01 00:00:02" in lint(old, new).stdout


def test_a_wrong_call(faulty, tmp_path):
    config = tmp_path / "config.json"
    config.write_text("{}")
    for arguments in (
        (config,),
        (faulty, config),
        ("--only", "nonsense", faulty),
        ("--ignore", "", faulty),
        ("--fail-on", "often", faulty),
        (),
        (faulty, make(tmp_path / "directory", {"x": ""})),
    ):
        done = lint(*arguments)
        assert isinstance(done.exception, UsageError), arguments
        assert done.exception.exit_code == 2


def test_the_list_names_every_check():
    said = lint("--list").stdout
    names = [line.split()[0] for line in said.splitlines()]
    assert names == [check.name for check in (*registry.CHECKS, *registry.UPDATE_CHECKS)]


def test_every_check_is_documented(repository):
    text = (repository / "docs" / "lint.md").read_text()
    for check in (*registry.CHECKS, *registry.UPDATE_CHECKS):
        assert f"`{check.name}`" in text
