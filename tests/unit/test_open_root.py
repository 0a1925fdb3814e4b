"""open_root() and open_layers(): every kind of reference, and the use cases above them, from Python."""

from __future__ import annotations

import pytest

from rechunk_podman.changelog.run import changelog
from rechunk_podman.errors import UsageError
from rechunk_podman.explain.run import verify
from rechunk_podman.images import open_layers, open_root
from rechunk_podman.lint.checks import Severity
from rechunk_podman.lint.report import lint, lint_update
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.rootfs.root import Root
from support.oci_material import Layout, archive_of, directory, make_tar, member

STATUS = "Package: {}\nStatus: install ok installed\nVersion: {}\nArchitecture: all\n\n"


@pytest.fixture
def layout(tmp_path):
    tar = make_tar([directory("etc"), member("etc/motd", data=b"hello", mode=0o644)])
    return Layout(tmp_path / "layout").layer(tar).finish()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/motd").write_text("hello")
    (tmp_path / "root/etc/motd").chmod(0o644)
    return tmp_path / "root"


def test_a_directory_is_a_root_without_documents(folder):
    with open_root(str(folder)) as opened:
        assert isinstance(opened.files, Root)
        assert opened.files.read("etc/motd", 100) == b"hello"
        assert opened.record is None
        assert opened.name == str(folder)


def test_layouts_and_archives_are_read_in_place(layout, tmp_path):
    archive = archive_of(layout, tmp_path / "a.tar")
    for reference in (str(layout), f"oci:{layout}", f"oci-archive:{archive}", str(archive)):
        with open_root(reference) as opened, open_layers(reference) as layers:
            assert isinstance(opened.files, ImageSource)
            assert opened.record is opened.files.record
            assert layers.record.digest == opened.record.digest
            with layers.layer(0) as tar:
                assert b"hello" in tar.read()


def test_references_without_files_or_layers(folder, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    config = str(tmp_path / "config.json")
    for opener in (open_root, open_layers):
        with pytest.raises(UsageError, match="a saved config has no files"), opener(config):
            pass
        with pytest.raises(UsageError, match="no such file"), opener(str(tmp_path / "absent")):
            pass
    with pytest.raises(UsageError, match="a directory has no layers"), open_layers(str(folder)):
        pass


def test_verify_takes_any_two_of_them(layout, folder):
    found = verify(str(layout), str(folder))
    assert [(d.path, d.what) for d in found.entries if d.what != "owner"] == []
    (folder / "etc/motd").write_text("other")
    found = verify(str(layout), str(folder))
    assert ("etc/motd", "content") in {(d.path, d.what) for d in found.entries}
    assert (found.a, found.b) == (str(layout), str(folder))
    assert verify(str(layout), str(folder), ignore=["/etc"]).same


def test_lint_reports_by_severity(tmp_path):
    key = (
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
    )
    top = tmp_path / "root"
    (top / "root/.ssh").mkdir(parents=True)
    (top / "root/.ssh/id_ed25519").write_bytes(key)
    report = lint(str(top), bootable=False)
    assert report.document()["image"] == str(top)
    assert report.document()["bootable"] is False
    assert report.has(Severity.ERROR)
    assert report.counts["error"] == sum(result.severity is Severity.ERROR for result in report.results) >= 1
    (top / "root/.ssh/id_ed25519").unlink()
    assert not lint(str(top), bootable=False).has(Severity.ERROR)


def test_lint_compares_layers(layout, tmp_path):
    other = Layout(tmp_path / "other").layer(make_tar([directory("etc"), member("etc/motd", data=b"bye")]))
    report = lint_update(str(layout), str(other.finish()))
    assert [change.verdict for change in report.changes] == ["content"]
    assert report.document()["layers"][0]["changes"][0]["path"] == "/etc/motd"
    assert not report.has(Severity.WARNING)


def test_changelog_reads_the_databases_of_both(tmp_path):
    references = []
    for name, version in (("old", "1.0-1"), ("new", "1.1-1")):
        status = (STATUS.format("tool", version) + STATUS.format("base", "5")).encode()
        tar = make_tar([member("var/lib/dpkg/status", data=status)])
        references.append(str(Layout(tmp_path / name).layer(tar).finish()))
    document = changelog(*references).to_json()
    assert document["packages"]["level"] == "binary"
    assert [(c["name"], c["old"], c["new"]) for c in document["packages"]["changes"]] == [
        ("tool", "1.0-1", "1.1-1")
    ]
    assert document["packages"]["unchanged"] == 1
    assert document["download"]["layers"] == 1
    assert document["commits"] is None
