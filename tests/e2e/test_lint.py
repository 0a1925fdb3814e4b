"""lint and changelog on real images, in storage and out of it."""

from __future__ import annotations

import json

import pytest

from images import rpm
from support.oci_material import Layout, make_tar, member


def lint(storage, *arguments, check=False):
    return storage.rechunk("lint", *arguments, check=check)


def findings(storage, *arguments):
    document = json.loads(lint(storage, "--json", *arguments).out)
    return {finding["check"]: finding for finding in document["findings"]}


def test_a_debian_image_in_storage(storage, debian_image):
    found = findings(storage, debian_image)
    assert "/var/lib/dpkg/status-old" in found["package-journals"]["paths"]
    assert found["pyc-timestamps"]["paths"]
    assert not {"private-keys", "credentials", "os-release", "kernels", "layer-count"} & set(found)
    assert lint(storage, debian_image).code == 0
    assert lint(storage, debian_image, "--fail-on", "warning").code == 1


def test_an_rpm_image_in_storage(storage, rpm_image):
    found = findings(storage, rpm_image)
    assert found["rpmdb-wal"]["severity"] in ("warning", "error")
    assert "os-release" not in found


def test_the_same_faults_are_found_in_storage_and_in_an_archive(storage, debian_image):
    with storage.scratch() as folder:
        storage.copy(f"containers-storage:{debian_image}", f"oci-archive:{folder / 'image.tar'}")
        here = findings(storage, f"oci-archive:{folder / 'image.tar'}")
    there = findings(storage, debian_image)
    assert here.keys() == there.keys()
    for name, finding in there.items():
        assert sorted(here[name]["paths"]) == sorted(finding["paths"]), name


def test_special_files_of_a_real_image(storage, oddities_image):
    found = findings(storage, oddities_image, "--zstd-chunked")
    assert found["special-files"]["severity"] == "error"
    assert lint(storage, oddities_image, "--zstd-chunked", "--only", "special-files").code == 1


def test_an_image_that_changed_only_in_metadata(storage, tmp_path):
    names = []
    for mtime in (1, 2):
        layout = Layout(tmp_path / str(mtime))
        layout.layer(make_tar([member("base", data=b"the same")]))
        layout.layer(make_tar([member("app", data=b"x" * 1000, mtime=mtime)]))
        name = f"localhost/metadata:{mtime}"
        storage.copy(f"oci:{layout.finish()}", f"containers-storage:{name}")
        names.append(name)
    document = json.loads(lint(storage, "--json", *names, check=True).out)
    assert [layer["verdict"] for layer in document["layers"]] == ["kept", "metadata"]
    assert document["layers"][1]["changes"] == [{"path": "/app", "what": "mtime", "old": "1", "new": "2"}]
    assert lint(storage, *names, "--fail-on", "warning").code == 1


def test_what_changed_in_an_update_of_packages(storage, rpm_image, rpm_updated_image):
    document = json.loads(lint(storage, "--json", rpm_image, rpm_updated_image, check=True).out)
    (layer,) = document["layers"]
    assert layer["verdict"] == "content"
    assert any(change["what"] == "content" and "rpmdb" in change["path"] for change in layer["changes"])


def test_a_changelog_of_images_in_storage(storage, rpm_image, rpm_updated_image):
    said = storage.rechunk("changelog", "--json", rpm_image, rpm_updated_image).out
    packages = json.loads(said)["packages"]
    assert packages["level"] == "binary"
    assert packages["changes"]
    assert {change["kind"] for change in packages["changes"]} == {"upgraded"}
    installed = storage.run("rpm", "--version", check=False)
    if installed.code:
        pytest.skip("rpm is not installed")
    with storage.mounted(rpm_updated_image) as root:
        dbpath = f"--dbpath={root}{rpm.DBPATH}"
        for change in packages["changes"]:
            query = storage.run(
                "rpm", dbpath, "-q", "--queryformat=%{VERSION}-%{RELEASE}", change["name"], check=False
            )
            if query.code == 0:
                assert change["new"].endswith(query.out)


def test_a_name_that_is_not_there(storage):
    done = lint(storage, "localhost/nothing:here")
    assert done.code == 2
    assert done.err.startswith("error: no image localhost/nothing:here")
