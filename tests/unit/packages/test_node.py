"""Packages of Node.js: projects, layouts of npm, pnpm and yarn, bundled packages, and their versions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cmp_to_key
from pathlib import Path

import pytest

from images import applications
from rechunk_podman.changelog.installed import of_root
from rechunk_podman.packages.node.layout import place
from rechunk_podman.packages.node.version import compare
from rechunk_podman.rootfs.root import Root
from support.assigning import assigned, make
from support.moments import changed, unclaimed
from support.needs import unavailable

APP = "srv/app"


def package(path, version="1.0.0", **more):
    """Return the files of a package in the directory `path`."""
    return {f"{path}/package.json": json.dumps({"version": version, **more}), f"{path}/lib/x.js": version}


def test_a_package_is_a_component_of_its_project(tmp_path):
    make(tmp_path, package(f"{APP}/node_modules/a"))
    make(tmp_path, package(f"{APP}/node_modules/@s/b", "2.0.0"))
    make(tmp_path, package(f"{APP}/node_modules/a/node_modules/@s/b", "1.5.0"))
    make(tmp_path, package("srv/other/node_modules/a"))
    make(tmp_path, {f"{APP}/node_modules/a/dist/package.json": "{}", f"{APP}/index.js": "x"})
    make(tmp_path, {f"{APP}/node_modules/.package-lock.json": "{}"})
    (tmp_path / APP / "node_modules/a/node_modules/.bin").mkdir()
    (tmp_path / APP / "node_modules/a/node_modules/.bin/b").symlink_to("../@s/b/lib/x.js")
    result = assigned(tmp_path)
    top = f"{APP}/node_modules"
    assert result.paths["node/srv/app/a"] == [
        f"{top}/a/dist/package.json",
        f"{top}/a/lib/x.js",
        f"{top}/a/package.json",
    ]
    assert result["node/srv/app/@s/b"].version == "1.5.0 2.0.0"
    assert len(result.paths["node/srv/app/@s/b"]) == 4
    assert len(result.paths["node/srv/other/a"]) == 2
    assert result.paths["database/node"] == [
        f"{top}/.package-lock.json",
        f"{top}/a/node_modules/.bin/b",
    ]
    assert unclaimed(result) == [f"{APP}/index.js"]


def test_bundled_packages_go_with_the_one_that_brought_them(tmp_path):
    npm = "usr/local/lib/node_modules/npm"
    files = package(npm, "10.0.0", bundleDependencies=["a"])
    files |= package(f"{npm}/node_modules/a") | package(f"{npm}/node_modules/a/node_modules/b")
    files |= {f"{npm}/node_modules/.bin/a": "x"} | package("usr/local/lib/node_modules/npm-x")
    result = assigned(make(tmp_path, files))
    assert set(result.paths["node/usr/local/lib/npm"]) == {path for path in files if f"{npm}/" in path}
    assert {name for name in result.paths if name.startswith("node/")} == {
        "node/usr/local/lib/npm",
        "node/usr/local/lib/npm-x",
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("node_modules/a/package.json", ("", "a", "node_modules/a", "")),
        ("x/node_modules/@s/a/package.json", ("x", "@s/a", "x/node_modules/@s/a", "")),
        (
            "x/node_modules/.pnpm/@s+a@1.0.0_b@2.0.0/node_modules/@s/a/package.json",
            ("x", "@s/a", "x/node_modules/.pnpm/@s+a@1.0.0_b@2.0.0/node_modules/@s/a", ""),
        ),
        (
            "x/.yarn/cache/@s-a-b-npm-1.0.0-beta.1-0123456789-abcdef0123.zip",
            (
                "x",
                "@s-a-b",
                "x/.yarn/cache/@s-a-b-npm-1.0.0-beta.1-0123456789-abcdef0123.zip",
                "1.0.0-beta.1",
            ),
        ),
        (
            "x/.yarn/cache/ts-patch-0123456789-10c0.zip",
            ("x", "ts", "x/.yarn/cache/ts-patch-0123456789-10c0.zip", ""),
        ),
        (
            "x/node_modules/.store/a-virtual-0123456789/package/package.json",
            ("x", "a", "x/node_modules/.store/a-virtual-0123456789/package", ""),
        ),
        (
            "x/.yarn/unplugged/a-npm-1.0.0-0123456789/node_modules/a/package.json",
            ("x", "a", "x/.yarn/unplugged/a-npm-1.0.0-0123456789/node_modules/a", ""),
        ),
        (
            "x/node_modules/.store/a-npm-1.0.0-0123456789/package/package.json",
            ("x", "a", "x/node_modules/.store/a-npm-1.0.0-0123456789/package", "1.0.0"),
        ),
        ("x/node_modules/@s/package.json", None),
        ("x/node_modules/.pnpm/package.json", None),
        ("x/node_modules/a/b/package.json", None),
    ],
)
def test_places(path, expected):
    assert place(path) == expected


def test_broken_records_cost_their_version(tmp_path, caplog):
    top = f"{APP}/node_modules"
    make(tmp_path, package(f"{top}/good"))
    bad = {"deep": "[" * 100_000, "list": "[]", "big": " " * (2 << 20), "text": "\xff", "new\nline": "{"}
    make(tmp_path, {f"{top}/{name}/package.json": text for name, text in bad.items()})
    make(tmp_path, {f"{top}/odd/package.json": json.dumps({"version": "1\ud800"})})
    make(tmp_path, {f"{top}/number/package.json": '{"version": 3}'})
    for name in ("fifo", "link"):
        (tmp_path / top / name).mkdir()
    os.mkfifo(tmp_path / top / "fifo/package.json")
    (tmp_path / top / "link/package.json").symlink_to("../../../../../../../../../etc/passwd")
    result = assigned(tmp_path)
    for name in (*bad, "odd", "fifo", "link"):
        assert result[f"node/srv/app/{name}"].version == ""
        assert result.owner[f"{top}/{name}/package.json"] == f"node/srv/app/{name}"
    assert result["node/srv/app/good"].version == "1.0.0"
    for name in ("deep", "list", "big", "text", "fifo", "link"):
        assert f"{top}/{name}/package.json" in caplog.text


def test_changelog_sees_versions(tmp_path):
    make(tmp_path, package(f"{APP}/node_modules/a", "1.10.0"))
    make(tmp_path, package(f"{APP}/node_modules/b/node_modules/a", "1.9.0"))
    with Root(tmp_path) as root:
        found = of_root(root)
    assert {name: version.text for name, version in found.binary.items()} == {"a": "1.9.0 1.10.0"}


VERSIONS = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"]
VERSIONS += ["1.0.0-rc.1", "1.0.0", "1.2.0", "1.10.0", "2.0.0-0", "2.0.0", "10.0.0"]


def test_versions():
    by_text = sorted(VERSIONS)
    assert by_text != VERSIONS
    assert sorted(by_text, key=cmp_to_key(compare)) == VERSIONS
    assert compare("1.0.0+a", "v1.0.0+b") == 0
    assert compare("latest", "0.0.1") == -1
    assert compare("9" * 10_000 + ".0.0", "1.0.0") == 1


def test_npm_orders_versions_alike():
    """The order of the semver that npm itself uses."""
    if shutil.which("npm") is None:
        unavailable("npm is not installed")
    modules = subprocess.run(["npm", "root", "--global"], capture_output=True, text=True, check=True).stdout
    semver = Path(modules.strip()) / "npm/node_modules/semver"
    if not semver.is_dir():
        unavailable("npm's own semver is not below its global packages")
    script = "console.log(JSON.stringify(require(process.argv[1]).sort(JSON.parse(process.argv[2]))))"
    command = ["node", "-e", script, str(semver), json.dumps(VERSIONS[::-1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == VERSIONS


def test_a_real_update_by_npm_changes_one_component():
    names, old, _ = changed(applications.npm)
    assert names == {"node/srv/app/ms", "database/node", "unclaimed/srv/app"}
    assert old["node/srv/app/@sindresorhus/is"].version == "4.6.0"
    (npm,) = (name for name in old.components if name.startswith("node/usr/"))
    assert npm == "node/usr/local/lib/npm"
    files = {"index.js", "package.json", "package-lock.json"}
    assert {path.rpartition("/")[2] for path in unclaimed(old)} == files


def test_a_real_update_by_pnpm_changes_one_component():
    names, old, _ = changed(applications.pnpm)
    assert names == {"node/srv/app/ms", "database/node", "unclaimed/srv/app"}
    assert len([name for name in old.components if name.startswith("node/")]) > 10


def test_a_real_update_by_yarn_changes_one_component():
    names, old, _ = changed(applications.yarn)
    applications_of_yarn = {"classic", "pnp", "linked"}
    assert names - {"database/node"} == {
        f"{kind}{name}{package}"
        for name in applications_of_yarn
        for kind, package in (("node/srv/", "/ms"), ("unclaimed/srv/", ""))
    }
    for name in applications_of_yarn:
        assert old[f"node/srv/{name}/chalk"].version == "2.4.2"
    assert {path.rpartition("/")[2] for path in unclaimed(old)} <= {
        "index.js",
        "package.json",
        "yarn.lock",
        ".yarnrc.yml",
    }
