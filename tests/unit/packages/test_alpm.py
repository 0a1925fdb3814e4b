"""pacman's local database: a real one of Arch Linux, versions as vercmp sees them, broken records."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import shutil
import subprocess
import tarfile

import pytest

from rechunk_podman.changelog.installed import of_root
from rechunk_podman.packages.alpm import reader, text
from rechunk_podman.packages.alpm.version import compare_alpm
from rechunk_podman.rootfs.root import Root
from support.assigning import assigned, make

BUILT = 1_700_000_000
LOCAL = "var/lib/pacman/local"


def install(top, name, files, version="1.0-1", base=None, database="var/lib/pacman"):
    """Install a package whose files (path -> content) hold what its mtree says."""
    make(top, files, mtime=BUILT - 5)
    desc = f"%NAME%\n{name}\n\n%VERSION%\n{version}\n\n%BASE%\n{base or name}\n\n%ARCH%\nany\n\n"
    mtree = ["#mtree", "/set type=file uid=0 gid=0 mode=644"]
    for path, content in files.items():
        (top / path).chmod(0o644)
        digest = hashlib.sha256(content.encode()).hexdigest()
        encoded = path.replace(" ", "\\040")
        mtree.append(f"./{encoded} time={BUILT - 5}.0 size={len(content)} sha256digest={digest}")
    record = f"{database}/local/{name}-{version}"
    make(
        top,
        {
            f"{database}/local/ALPM_DB_VERSION": "9\n",
            f"{record}/desc": f"{desc}%BUILDDATE%\n{BUILT}\n\n",
            f"{record}/files": "%FILES%\n" + "".join(f"{path}\n" for path in files) + "\n",
            f"{record}/mtree": gzip.compress("\n".join(mtree).encode()),
        },
    )


@pytest.fixture
def top(tmp_path):
    install(tmp_path, "zlib", {"usr/lib/libz.so": "z"})
    install(tmp_path, "zlib-doc", {"usr/share/doc/zlib/a b": "doc"}, base="zlib")
    install(tmp_path, "tool", {"usr/bin/tool": "tool"}, version="2:1.0-3")
    return tmp_path


def test_the_database_of_arch(repository, tmp_path):
    fixture = repository.parent / "shared" / "fixtures" / "alpm-local-arch.tar.gz"
    if not fixture.exists():
        pytest.skip("the database of a real Arch Linux is not beside the checkout")
    with tarfile.open(fixture) as archive:
        archive.extractall(tmp_path)  # noqa: S202 (our own archive)
    with Root(tmp_path) as root:
        database = reader.load(root)
        found = of_root(root)
    assert database.directories == ["var/lib/pacman"]
    packages = {package.name: package for package in database.packages}
    assert len(packages) == len(found.binary) == 135
    # %BASE% of packages that one PKGBUILD builds
    assert packages["libgcc"].source == packages["libstdc++"].source == "gcc"
    bash = packages["bash"]
    assert (bash.version, bash.built) == ("5.3.9-1", 1765404175)
    paths = bash.files.paths.unpack()
    index = paths.index("etc/bash.bashrc")
    assert (bash.files.sizes[index], bash.files.modes[index]) == (733, 0o644)
    assert bash.files.mtimes[index] == 1765404175
    assert bash.files.digests.rows[index].tobytes().hex().startswith("563e03eb4b40edfc")
    assert not bash.files.packaged[paths.index("usr/bin/sh")]


def test_the_packages_of_a_base_are_a_component(top):
    result = assigned(top)
    assert result.paths["alpm/zlib"] == [
        "usr/lib/libz.so",
        "usr/share/doc/zlib/a b",
        *(f"{LOCAL}/{name}-1.0-1/{file}" for name in ("zlib", "zlib-doc") for file in text_files()),
    ]
    assert (result["alpm/zlib"].version, result["alpm/zlib"].built) == ("1.0-1", BUILT)
    assert result.paths["database/alpm"] == [f"{LOCAL}/ALPM_DB_VERSION"]


def text_files():
    return ("desc", "files", "mtree")


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (b"[options]\nDBPath = /usr/lib/pacman-db/\n", "usr/lib/pacman-db"),
        (b"#DBPath = /var/lib/pacman/\nDBPath=/a b # c\n", "a b"),
        (b"#DBPath     = /var/lib/pacman/\n", None),
        (b"\xff\nDBPath\n", None),
    ],
)
def test_the_configured_path(config, path):
    assert text.database_path(config) == path


def test_a_database_at_the_configured_path(tmp_path):
    make(tmp_path, {"etc/pacman.conf": "[options]\nDBPath = /usr/lib/db/\n"})
    install(tmp_path, "tool", {"usr/bin/tool": "tool"}, database="usr/lib/db")
    result = assigned(tmp_path)
    assert "usr/bin/tool" in result.paths["alpm/tool"]
    assert result.paths["database/alpm"] == ["usr/lib/db/local/ALPM_DB_VERSION"]


def test_an_untouched_file_is_not_read(top):
    before = assigned(top)["alpm/tool"]
    make(top, {"usr/bin/tool": "TOOL"}, mtime=BUILT - 5)
    assert assigned(top)["alpm/tool"] == before


def test_versions_are_those_of_vercmp():
    if shutil.which("vercmp") is None:
        pytest.skip("pacman is not installed")
    versions = [
        "1.0",
        "1.0-1",
        "1.0-2",
        "1:0.5-1",
        "1.0a",
        "1.0.a",
        "1.0.1",
        "1.0rc1",
        "1..0",
        "1_0",
        "1.0~1",
    ]
    for a, b in itertools.combinations(versions, 2):
        said = subprocess.run(["vercmp", a, b], capture_output=True, text=True, check=True).stdout
        assert (a, b, compare_alpm(a, b)) == (a, b, int(said))
        assert compare_alpm(b, a) == -int(said)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("1.0-1", "1.0-2", -1),
        ("1.0", "1.0-2", 0),
        ("1:1.0-1", "2.0-1", 1),
        ("1.0a", "1.0", -1),
        ("1.0.a", "1.0.1", -1),
        ("1.0.1", "1.0.a", 1),
        ("7.1.0.r9.g54d9411-1", "7.1.0-1", 1),
        ("9" * 5000, "1" + "0" * 5000, -1),
        ("", "1", -1),
    ],
)
def test_versions(a, b, expected):
    assert compare_alpm(a, b) == expected
    assert compare_alpm(b, a) == -expected


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("desc", b"%NAME%\n\n"),
        ("desc", b"%NAME%\nx\n\n%VERSION%\n" + b"1" * 2000),
        ("mtree", gzip.compress(b"./a mode=644\n", mtime=0)[:-9]),
        ("mtree", b"./a mode=abc\n"),
        ("mtree", b"\n" * 300_000),
        ("files", None),
    ],
)
def test_a_broken_record_costs_itself(top, caplog, file, content):
    path = top / LOCAL / f"zlib-1.0-1/{file}"
    if content is None:
        path.unlink()
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    result = assigned(top)
    assert result.owner["usr/bin/tool"] == "alpm/tool"
    assert result.owner["usr/lib/libz.so"] == "unclaimed/usr/lib"
    assert f"/{LOCAL}: the record of zlib-1.0-1 is left out" in caplog.text
