"""apk's database: a real one of Alpine, roots made after apk's documentation, versions, broken records."""

from __future__ import annotations

import base64
import hashlib
import shutil

import pytest

from rechunk_podman.changelog.installed import of_root
from rechunk_podman.packages.apk import reader
from rechunk_podman.packages.apk.version import compare_apk
from rechunk_podman.packages.budget import Budget
from rechunk_podman.packages.digests import SHA256
from rechunk_podman.rootfs.root import Root
from support.assigning import assigned, make

BUILT = 1_700_000_000
DATABASE = "lib/apk/db/installed"


def digest(content: str) -> str:
    return "Q1" + base64.b64encode(hashlib.sha1(content.encode()).digest()).decode()


def record(name, files, version="1.0-r0", origin=None, built=BUILT):
    """The record of a package whose files (path -> content) it describes, as `apk add` writes it."""
    lines = [
        f"C:{digest(name)}",
        f"P:{name}",
        f"V:{version}",
        "A:x86_64",
        f"o:{origin or name}",
        f"t:{built}",
    ]
    for path, content in files.items():
        head, _, file = path.rpartition("/")
        lines += [f"F:{head}", f"R:{file}", "a:0:0:644", f"Z:{digest(content)}"]
    return "\n".join(lines) + "\n\n"


@pytest.fixture
def top(tmp_path):
    files = {"usr/lib/libz.so": "z", "usr/include/zlib.h": "header", "bin/tool": "tool"}
    make(tmp_path, files, mtime=BUILT)
    records = [
        record("zlib", {"usr/lib/libz.so": "z"}),
        record("zlib-dev", {"usr/include/zlib.h": "header"}, origin="zlib"),
        record("tool", {"bin/tool": "tool"}, version="2.0_rc1-r3"),
    ]
    return make(tmp_path, {DATABASE: "".join(records), "etc/apk/world": "tool\n"})


def test_the_database_of_alpine(repository, tmp_path):
    fixture = repository.parent / "shared" / "fixtures" / "apk-installed-alpine-3.20"
    if not fixture.exists():
        pytest.skip("the database of a real Alpine is not beside the checkout")
    (tmp_path / "lib/apk/db").mkdir(parents=True)
    shutil.copyfile(fixture, tmp_path / DATABASE)
    with Root(tmp_path) as root:
        database = reader.load(root)
        found = of_root(root)
    assert database.directories == ["lib/apk/db"]
    packages = {package.name: package for package in database.packages}
    assert len(packages) == 14
    musl = packages["musl-utils"]
    assert (musl.source, musl.version, musl.built, musl.architecture) == (
        "musl",
        "1.2.5-r0",
        1710503016,
        "x86_64",
    )
    assert "usr/bin/ldd" in musl.files.paths.unpack()
    libcrypto = packages["libcrypto3"].files
    index = libcrypto.paths.unpack().index("lib/libcrypto.so.3")
    assert libcrypto.digests.recorded[index]
    assert libcrypto.modes[index] == 0o755
    assert found.sources["openssl"].text == "3.3.2-r0"
    assert "libssl3" not in found.sources


def test_the_packages_of_an_origin_are_a_component(top):
    result = assigned(top)
    assert result.paths["apk/zlib"] == ["usr/include/zlib.h", "usr/lib/libz.so"]
    assert (result["apk/zlib"].version, result["apk/zlib"].built) == ("1.0-r0", BUILT)
    assert result["apk/tool"].version == "2.0_rc1-r3"
    assert result.paths["database/apk"] == ["etc/apk/world", DATABASE]


def test_the_database_of_a_merged_usr(top):
    (top / "usr/lib/apk/db").mkdir(parents=True)
    (top / DATABASE).rename(top / "usr" / DATABASE)
    shutil.rmtree(top / "lib")
    (top / "lib").symlink_to("usr/lib")
    result = assigned(top)
    assert result.paths["apk/tool"] == ["bin/tool"]
    assert f"usr/{DATABASE}" in result.paths["database/apk"]


def test_an_untouched_file_is_not_read(top):
    before = assigned(top)["apk/tool"]
    make(top, {"bin/tool": "TOOL"}, mtime=BUILT)
    assert assigned(top)["apk/tool"] == before


def test_a_digest_may_be_a_short_sha256(tmp_path):
    text = record("tool", {"bin/tool": "tool"}).replace("A:x86_64", "A:x86_64\nf:S")
    package = reader.parse(text.strip("\n").split("\n"))
    assert package.files.digests.algorithm == SHA256


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("1.2.5-r0", "1.2.5-r1", -1),
        ("1.2.5-r9", "1.2.5-r10", -1),
        ("1.9", "1.10", -1),
        ("1.09", "1.1", -1),
        ("1.0_alpha2", "1.0_beta1", -1),
        ("1.0_rc1", "1.0", -1),
        ("1.0_p1", "1.0", 1),
        ("1.0_git20240101", "1.0-r5", 1),
        ("1.0a", "1.0", 1),
        ("1.0", "1.0.0", -1),
        ("1.0_pre", "1.0_pre1", -1),
        ("1.2~ab12-r1", "1.2~ab13-r0", -1),
        ("9" * 30, "1", 1),
        ("", "1", -1),
    ],
)
def test_versions(a, b, expected):
    assert compare_apk(a, b) == expected
    assert compare_apk(b, a) == -expected


def test_a_broken_record_costs_itself(top, caplog):
    path = top / DATABASE
    broken = ["P:nothing\n\n", "P:odd\nV:1\nF:bin\nR:tool\nZ:Q1!\n\n", "P:odder\nV:1\nAxy\nFoo\n\n"]
    path.write_text("".join(broken) + path.read_text())
    assert assigned(top).owner["bin/tool"] == "apk/tool"
    for name in ("nothing", "odd", "odder"):
        assert f"/lib/apk/db/installed: the record of {name} is left out" in caplog.text


def test_without_files_nothing_of_them_is_parsed(top):
    records = reader.split((top / DATABASE).read_bytes(), Budget("database"), files=False)
    assert list(records)[1] == ["P:zlib-dev", "V:1.0-r0", "A:x86_64", "o:zlib"]
