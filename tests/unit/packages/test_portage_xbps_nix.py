"""The databases of portage and xbps and the store of Nix, made after their documentation.

What portage and Nix themselves write is in tests/tools/test_updates_of_systems.py; xbps cannot be had.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import plistlib
import shutil
import subprocess

import pytest

from rechunk_podman.changelog.installed import of_root
from rechunk_podman.packages.nix.version import compare_nix, split_name
from rechunk_podman.packages.portage.version import compare_portage
from rechunk_podman.packages.portage.version import split_name as split_portage
from rechunk_podman.packages.xbps.version import compare_xbps
from rechunk_podman.rootfs.root import Root
from support.assigning import assigned, make

BUILT = 1_700_000_040
VDB = "var/db/pkg"
XBPS = "var/db/xbps"
HASH = "0123456789abcdfghijklmnpqrsvwxyz"


def md5(content):
    return hashlib.md5(content.encode()).hexdigest()


def emerge(top, name, files):
    """Install files (path -> content) as the package `name` (CATEGORY/NAME-VERSION)."""
    make(top, files, mtime=BUILT - 5)
    lines = ["dir /usr", "dir /usr/bin", "fif /run/pipe"]
    lines += [f"obj /{path} {md5(content)} {BUILT - 5}" for path, content in files.items()]
    lines += [f"sym /usr/bin/link of {name} -> ../lib/my tool {BUILT - 5}"]
    record = {"CONTENTS": "\n".join(lines) + "\n", "BUILD_TIME": f"{BUILT}\n", "SLOT": "0\n"}
    make(top, {f"{VDB}/{name}/{file}": content for file, content in record.items()})


@pytest.fixture
def gentoo(tmp_path):
    emerge(tmp_path, "app-misc/tool-1.10_p1-r2", {"usr/lib/my tool": "tool"})
    emerge(tmp_path, "dev-lang/python-3.11.9", {"usr/bin/python3.11": "11"})
    emerge(tmp_path, "dev-lang/python-3.12.1", {"usr/bin/python3.12": "12"})
    make(tmp_path, {f"{VDB}/app-misc/-MERGING-new-1/CONTENTS": "obj /usr/bin/python3.11 x 1\n"})
    (tmp_path / "usr/bin/link of app-misc").mkdir()
    (tmp_path / "usr/bin/link of app-misc/tool-1.10_p1-r2").symlink_to("../lib/my tool")
    return tmp_path


def test_portage(gentoo):
    result = assigned(gentoo)
    assert {"usr/lib/my tool", "usr/bin/link of app-misc/tool-1.10_p1-r2"} <= set(
        result.paths["portage/app-misc/tool"]
    )
    assert f"{VDB}/app-misc/tool-1.10_p1-r2/SLOT" in result.paths["portage/app-misc/tool"]
    # all slots are one component
    assert {"usr/bin/python3.11", "usr/bin/python3.12"} <= set(result.paths["portage/dev-lang/python"])
    python = result["portage/dev-lang/python"]
    assert (python.version, python.built) == ("3.11.9 3.12.1", BUILT)
    with Root(gentoo) as root:
        assert of_root(root).binary["app-misc/tool"].text == "1.10_p1-r2"


def test_an_untouched_file_of_portage_is_not_read(gentoo):
    before = assigned(gentoo)["portage/app-misc/tool"]
    make(gentoo, {"usr/lib/my tool": "TOOL"}, mtime=BUILT - 5)
    assert assigned(gentoo)["portage/app-misc/tool"] == before


def test_a_broken_record_of_portage_costs_itself(gentoo, caplog):
    make(gentoo, {f"{VDB}/a/noversion/CONTENTS": "dir /usr\n", f"{VDB}/a/many-1/CONTENTS": "\n" * 300_000})
    os.mkfifo(gentoo / VDB / "a/fifo-1")
    (gentoo / VDB / "a/fifos-1").mkdir()
    os.mkfifo(gentoo / VDB / "a/fifos-1/CONTENTS")
    assert assigned(gentoo).owner["usr/lib/my tool"] == "portage/app-misc/tool"
    for name in ("noversion", "many-1", "fifos-1"):
        assert f"/{VDB}: the record of a/{name} is left out" in caplog.text


PORTAGE = [
    ("1.0", "1.1", -1),
    ("1.9", "1.10", -1),
    ("1.09", "1.1", -1),
    ("1.010", "1.01", 0),
    ("1", "1.0", -1),
    ("1.0a", "1.0", 1),
    ("1.0_alpha", "1.0_beta", -1),
    ("1.0_rc1", "1.0", -1),
    ("1.0_p", "1.0", 1),
    ("1.0_p1", "1.0_p1_pre2", 1),
    ("1.0-r1", "1.0", 1),
    ("1.0-r0", "1.0", 0),
    ("9999", "1.0", 1),
    ("odd", "0", -1),
    ("9" * 5000, "1" + "0" * 5000, -1),
]


@pytest.mark.parametrize(("a", "b", "expected"), PORTAGE)
def test_versions_of_portage(a, b, expected):
    """The Package Manager Specification, 3.3; portage's own vercmp() says the same."""
    assert compare_portage(a, b) == expected
    assert compare_portage(b, a) == -expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gtk+-2.24.33-r3", ("gtk+", "2.24.33-r3")),
        ("font-adobe-100dpi-1.0.4", ("font-adobe-100dpi", "1.0.4")),
        ("libstdc++-v3-3.3.6", ("libstdc++-v3", "3.3.6")),
        ("7zip-24.09", ("7zip", "24.09")),
    ],
)
def test_names_of_portage(text, expected):
    assert split_portage(text) == expected


def entry(path, content):
    return {"file": f"/{path}", "sha256": hashlib.sha256(content.encode()).hexdigest(), "size": len(content)}


def void(top, **packages):
    """Install packages: name -> (version, source, files)."""
    listed = {"_XBPS_ALTERNATIVES_": {"vi": ["vim"]}}
    for name, (version, source, files) in packages.items():
        make(top, files, mtime=BUILT - 5)
        listed[name] = {
            "pkgver": f"{name}-{version}",
            "architecture": "x86_64",
            "build-date": "2023-11-14 22:14 UTC",
            **source,
        }
        content = {
            "files": [entry(path, text) for path, text in files.items()],
            "links": [{"file": f"/usr/bin/{name}-link", "target": "/usr/bin/x"}],
            "dirs": [{"file": "/usr/bin"}],
        }
        make(top, {f"{XBPS}/.{name}-files.plist": plistlib.dumps(content)})
    make(top, {f"{XBPS}/pkgdb-0.38.plist": plistlib.dumps(listed)})


@pytest.fixture
def voidlinux(tmp_path):
    void(
        tmp_path,
        zlib=("1.3.1_1", {"sourcepkg": "zlib"}, {"usr/lib/libz.so": "z"}),
        minizip=("1.3.1_1", {"source-revisions": "zlib:0123abc"}, {"usr/lib/libminizip.so": "m"}),
        untgz=("1.3.1_1", {"sourcepkg": "zlib-1.3.1_1"}, {"usr/lib/untgz": "u"}),
        tool=("2.0rc1_3", {}, {"usr/bin/tool": "tool"}),
    )
    (tmp_path / "usr/bin/tool-link").symlink_to("x")
    return tmp_path


def test_xbps(voidlinux):
    result = assigned(voidlinux)
    assert result.paths["xbps/zlib"] == [
        "usr/lib/libminizip.so",
        "usr/lib/libz.so",
        "usr/lib/untgz",
        f"{XBPS}/.minizip-files.plist",
        f"{XBPS}/.untgz-files.plist",
        f"{XBPS}/.zlib-files.plist",
    ]
    assert (result["xbps/zlib"].version, result["xbps/zlib"].built) == ("1.3.1_1", BUILT)
    assert {"usr/bin/tool", "usr/bin/tool-link"} <= set(result.paths["xbps/tool"])
    assert result.paths["database/xbps"] == [f"{XBPS}/pkgdb-0.38.plist"]


@pytest.mark.parametrize(
    "content",
    [b"<plist><dict>", b"<plist><string>a</string></plist>", b"x", b"</dict>", b"<integer>x</integer>"],
)
def test_a_broken_property_list_is_named(voidlinux, caplog, content):
    make(voidlinux, {f"{XBPS}/.zlib-files.plist": content})
    result = assigned(voidlinux)
    assert f"/{XBPS}/pkgdb-0.38.plist: the record of zlib is left out" in caplog.text
    assert result.owner["usr/bin/tool"] == "xbps/tool"
    make(voidlinux, {f"{XBPS}/pkgdb-0.38.plist": content})
    result = assigned(voidlinux)
    assert f"cannot read the package database /{XBPS}/pkgdb-0.38.plist" in caplog.text
    assert result.owner["usr/bin/tool"].startswith("unclaimed/")


def test_a_package_names_no_other_file(voidlinux, caplog):
    path = voidlinux / XBPS / "pkgdb-0.38.plist"
    listed = plistlib.loads(path.read_bytes())
    listed["../../../etc/x"] = {"pkgver": "../../../etc/x-1_1"}
    path.write_bytes(plistlib.dumps(listed))
    make(voidlinux, {"var/etc/x-files.plist": plistlib.dumps({"files": [entry("usr/bin/tool", "tool")]})})
    assert assigned(voidlinux).owner["usr/bin/tool"] == "xbps/tool"


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("1.0_1", "1.0_2", -1),
        ("1.9_1", "1.10_1", -1),
        ("1.0rc1_1", "1.0_1", -1),
        ("1.0alpha1_1", "1.0beta1_1", -1),
        ("1.0a_1", "1.0_1", 1),
        ("1.0_1", "1.0.0_1", 0),
        ("1.0pl1_1", "1.0.1_1", 0),
        ("1.2.3_10", "1.2.3_9", 1),
        ("9" * 5000, "1" + "0" * 5000, -1),
    ],
)
def test_versions_of_xbps(a, b, expected):
    assert compare_xbps(a, b) == expected
    assert compare_xbps(b, a) == -expected


def store(top, files):
    return make(top, {f"nix/store/{path}": content for path, content in files.items()}, mtime=1)


def test_a_component_of_nix_survives_an_update(tmp_path):
    other = HASH[::-1]
    store(
        tmp_path,
        {
            f"{HASH}-hello-2.12/bin/hello": "hello",
            f"{other}-hello-2.12-man/share/man": "page",
            f"{HASH}-etc-fstab": "fstab",
            f"{HASH}-hello-2.12.drv": "drv",
            ".links/x": "x",
        },
    )
    make(tmp_path, {f"nix/var/nix/db/{name}": "" for name in ("db.sqlite", "reserved")})
    before = assigned(tmp_path)
    assert before.paths["nix/hello"] == [
        f"nix/store/{HASH}-hello-2.12.drv",
        f"nix/store/{HASH}-hello-2.12/bin/hello",
        f"nix/store/{other}-hello-2.12-man/share/man",
    ]
    assert before["nix/hello"].version == "2.12 2.12-man"
    assert before.paths["nix/etc-fstab"] == [f"nix/store/{HASH}-etc-fstab"]
    # Nix sets all times to 1, and compares them when it says what is whole
    assert before.mtimes[f"nix/store/{HASH}-etc-fstab"] == 1
    assert before.paths["database/nix"] == ["nix/var/nix/db/db.sqlite"]
    assert before.paths["nix/reserved"] == ["nix/var/nix/db/reserved"]
    (tmp_path / "nix/store" / f"{HASH}-hello-2.12").rename(tmp_path / "nix/store" / f"{other}-hello-2.13")
    after = assigned(tmp_path)
    assert after["nix/etc-fstab"] == before["nix/etc-fstab"]
    assert f"nix/store/{other}-hello-2.13/bin/hello" in after.paths["nix/hello"]


NIX = ["1.0", "1.1", "2.3", "2.3.1", "2.1", "2.3pre1", "2.3a", "2.3c", "2.5", "1.10", "1.9", "", "010", "1-2"]


def test_versions_are_those_of_nix(tmp_path):
    if shutil.which("nix-instantiate") is None:
        pytest.skip("Nix is not installed")
    pairs = list(itertools.product(NIX, repeat=2))
    texts = [f'(builtins.compareVersions "{a}" "{b}")' for a, b in pairs]
    names = ["openssl-3.0.12-bin", "foo-bar", "a--1", "unit-sshd.service", "x-_1"]
    texts += [f'(builtins.parseDrvName "{name}")' for name in names]
    command = ["nix-instantiate", "--eval", "--strict", "--json", "--store", "dummy://", "-"]
    environment = {**os.environ, "NIX_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path)}
    done = subprocess.run(
        command, input=f"[ {' '.join(texts)} ]", env=environment, capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert [compare_nix(a, b) for a, b in pairs] == said[: len(pairs)]
    assert [split_name(name) for name in names] == [(x["name"], x["version"]) for x in said[len(pairs) :]]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("1.0", "2.3", -1),
        ("2.1", "2.3", -1),
        ("2.3.1", "2.3", 1),
        ("2.3.1", "2.3a", 1),
        ("2.3pre1", "2.3", -1),
    ],
)
def test_versions_of_nix(a, b, expected):
    """The examples of nix-env's manual."""
    assert compare_nix(a, b) == expected
    assert compare_nix(b, a) == -expected
