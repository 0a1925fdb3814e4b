"""Components from the summaries of layers: the same as those of the files on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from images.cache import pack
from rechunk_podman.errors import ImageError
from rechunk_podman.history.document import MeasuredRelease, history_document
from rechunk_podman.history.release import Contents, read_contents
from rechunk_podman.history.summary import write_summary
from rechunk_podman.planning.history import parse_history
from rechunk_podman.planning.simulate import replay
from support.assigning import assigned, make
from support.embedded import jar, program
from support.everything import FILES
from support.golden_root import make_golden
from support.oci_material import directory, make_tar, member, run
from support.rpm_headers import package, sqlite_database

DATABASE = "usr/lib/sysimage/rpm/rpmdb.sqlite"


def everything(top: Path) -> Path:
    """Files of every source; also of ecosystems whose packages are single files."""
    make(top, FILES)
    make(
        top,
        {
            "usr/share/doc/bash/NEWS.gz": "",
            "opt/tool/lib/commons.jar": jar(
                {"META-INF/maven/a/b/pom.properties": "artifactId=b\nversion=2\n"}
            ),
            "usr/local/bin/saw": program(),
            "usr/lib/python3/dist-packages/a.py": "a = 1\n",
            "usr/lib/python3/dist-packages/__pycache__/a.cpython-311.pyc": b"\xa7\r\r\n"
            + bytes(12)
            + b"code",
            "etc/app.conf": "x",
        },
    )
    (top / "usr/local/bin/saw").chmod(0o755)
    (top / "usr/share/doc/bash/changelog.gz").symlink_to("NEWS.gz")
    os.link(top / "etc/app.conf", top / "etc/again.conf")
    return top


def summarised(folder: Path, *tars: Path) -> Contents:
    paths = []
    for number, tar in enumerate(tars):
        paths.append(folder / f"{number}.zip")
        with tar.open("rb") as stream:
            write_summary(stream, tar.name, paths[-1])
    return read_contents("image", paths)


def tar_of(top: Path, target: Path) -> Path:
    pack(top, target)
    return target


@pytest.mark.parametrize("build", [everything, make_golden])
def test_layers_and_files_have_the_same_components(build, tmp_path: Path) -> None:
    top = build(tmp_path / "root")
    found = summarised(tmp_path, tar_of(top, tmp_path / "layer.tar"))
    assert {str(c.id): c for c in found.components} == assigned(top).components
    assert set(found.packed) == {c.id for c in found.components}


def test_upper_layers_replace_and_delete(tmp_path: Path) -> None:
    top = everything(tmp_path / "root")
    lower = tar_of(top, tmp_path / "lower.tar")
    (top / "etc/again.conf").unlink()
    make(top, {"srv/app/server.js": "another"})
    upper = tmp_path / "upper.tar"
    status = (top / "srv/app/server.js").stat()
    owner = {"uid": status.st_uid, "gid": status.st_gid}
    changed = member(
        "srv/app/server.js", data=b"another", mode=status.st_mode & 0o777, mtime=int(status.st_mtime), **owner
    )
    mode = (top / "etc").stat().st_mode & 0o777
    upper.write_bytes(make_tar([directory("etc", mode=mode, **owner), member("etc/.wh.again.conf"), changed]))
    found = summarised(tmp_path, lower, upper)
    assert {str(c.id): c for c in found.components} == assigned(top).components


def test_packed_sizes_add_up_to_the_layer(tmp_path: Path) -> None:
    """Text and numbers compress well, random bytes do not; the sum is that of the whole layer."""
    text = "".join(f"line {number}\n" for number in range(40_000))
    top = make(tmp_path / "root", {"opt/a/text": text, "opt/b/random": os.urandom(len(text))})
    tar = tar_of(top, tmp_path / "layer.tar")
    found = summarised(tmp_path, tar)
    packed = {str(ident): size for ident, size in found.packed.items()}
    assert packed["unclaimed/opt/b"] == pytest.approx(len(text), rel=0.02)
    assert packed["unclaimed/opt/a"] < len(text) / 3
    run("zstd", "--quiet", "-3", tar)
    assert sum(packed.values()) == pytest.approx(tar.with_suffix(".tar.zst").stat().st_size, rel=0.02)


def test_parts_travel_in_the_document(tmp_path: Path) -> None:
    """A replay divides a component as a split does, which has its files."""
    top = tmp_path / "root"
    releases = []
    for number in range(3):
        make(top, {f"opt/app/{name}": os.urandom(900_000) for name in "abcdef" if name == "a" or not number})
        folder = tmp_path / str(number)
        folder.mkdir()
        found = summarised(folder, tar_of(top, folder / "layer.tar"))
        releases.append(MeasuredRelease(str(number), "", 1_700_000_000 + number * 604_800, found, ()))
    history = parse_history(json.dumps(history_document("s", releases)).encode())
    for release, measured in zip(history.releases, releases, strict=True):
        components = measured.contents.components
        assert [(c.id, c.parts) for c in release.components] == [(c.id, c.parts) for c in components]
    assert len(next(c for c in history.releases[0].components if c.parts).parts) > 2
    assert all(update.bytes > 5_000_000 for update in replay(history, max_layers=9, parts=False).per_update)
    first, second = replay(history, max_layers=9).per_update
    assert first.bytes > 5_000_000
    assert second.bytes == second.bound == pytest.approx(900_000, rel=0.01)


def test_the_build_time_of_packages_travels_in_the_document(tmp_path: Path) -> None:
    top = make(tmp_path / "root", {"usr/lib/one": "1", "usr/lib/two": "2"})
    built = 1_600_000_060
    records = [
        package(name, top, [f"/usr/lib/{name}"], built=built - number * 60)
        for number, name in enumerate(("one", "two"))
    ]
    sqlite_database(top / DATABASE, records)
    found = summarised(tmp_path, tar_of(top, tmp_path / "layer.tar"))
    releases = [MeasuredRelease(name, "", number, found, ()) for number, name in enumerate("ab")]
    history = parse_history(json.dumps(history_document("s", releases)).encode())
    assert [release.built for release in history.releases] == [built, built]


def test_a_damaged_summary_is_an_error(tmp_path: Path) -> None:
    tar = tar_of(make(tmp_path / "root", {"a": "b"}), tmp_path / "layer.tar")
    summarised(tmp_path, tar)
    summary = tmp_path / "0.zip"
    data = summary.read_bytes()
    summary.write_bytes(data[:-40])
    with pytest.raises(ImageError, match="damaged"):
        read_contents("image", [summary])
