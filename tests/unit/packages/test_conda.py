"""Packages of conda environments."""

from __future__ import annotations

import hashlib
import json
from functools import cmp_to_key

from rechunk_podman.changelog.installed import of_root
from rechunk_podman.packages.conda.version import compare
from rechunk_podman.rootfs.root import Root
from support.assigning import assigned, make

BUILT = 1_700_000_000
ENVIRONMENT = "opt/conda/envs/app"


def record(name, version, paths, **more):
    """Return the path and the text of a package's record; files hold the texts of their paths."""
    described = [
        {
            "_path": path,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(str(path).encode("utf-8", "surrogatepass")).hexdigest(),
        }
        for path in paths
    ]
    text = {"name": name, "version": version, "files": paths, "timestamp": BUILT * 1000}
    text |= {"paths_data": {"paths": described, "paths_version": 1}, **more}
    return {f"{ENVIRONMENT}/conda-meta/{name}-{version}-h0.json": json.dumps(text)}


def test_a_package_is_a_component_of_its_environment(tmp_path):
    site = "lib/python3.11/site-packages"
    paths = ["bin/openssl", f"{site}/x.py", f"{site}/x-1.0.dist-info/METADATA"]
    make(tmp_path, {f"{ENVIRONMENT}/{path}": path for path in paths}, mtime=BUILT - 5)
    make(tmp_path, {f"{ENVIRONMENT}/{site}/x-1.0.dist-info/INSTALLER": "conda"})
    make(tmp_path, {**record("openssl", "3.1", paths), f"{ENVIRONMENT}/conda-meta/history": "x"})
    result = assigned(tmp_path)
    (own,) = record("openssl", "3.1", paths)
    assert set(result.paths[f"conda/{ENVIRONMENT}/openssl"]) == {
        own,
        *(f"{ENVIRONMENT}/{path}" for path in paths),
    }
    openssl = result[f"conda/{ENVIRONMENT}/openssl"]
    assert (openssl.version, openssl.built) == ("3.1", BUILT)
    assert result.mtimes[f"{ENVIRONMENT}/bin/openssl"] == BUILT - 5
    assert result.paths["database/conda"] == [f"{ENVIRONMENT}/conda-meta/history"]
    assert not any(name.startswith("python/") for name in result.components)


def test_changelog_sees_versions(tmp_path):
    make(tmp_path, record("openssl", "3.1", ["x"]))
    with Root(tmp_path) as root:
        assert of_root(root).binary["openssl"].text == "3.1"


def test_broken_records_cost_themselves(tmp_path, caplog):
    make(tmp_path, {f"{ENVIRONMENT}/x": "x", "etc/shadow": "x", **record("good", "1", ["x"])})
    make(tmp_path, record("odd", "1", ["../../../../../../etc/shadow", "\ud800", "a\0b"], timestamp="soon"))
    make(tmp_path, record("number", "1", [3, None, ["x"]], paths_data={"paths": [3, {"_path": 3}]}))
    for name, text in {"list": "[]", "none": "{}", "cut": '{"name": "cut', "deep": "[" * 100_000}.items():
        make(tmp_path, {f"{ENVIRONMENT}/conda-meta/{name}-1-0.json": text})
    result = assigned(tmp_path)
    assert result.owner[f"{ENVIRONMENT}/x"] == f"conda/{ENVIRONMENT}/good"
    for name in ("list", "none", "cut", "deep"):
        assert f"/{ENVIRONMENT}/conda-meta/{name}-1-0.json" in caplog.text


def test_versions():
    """The order that conda's documentation gives as its example."""
    ordered = ["0.4", "0.4.1.rc", "0.4.1", "0.5a1", "0.5b3", "0.5C1", "0.5", "0.9.6", "0.960923", "1.0"]
    ordered += ["1.1dev1", "1.1_", "1.1a1", "1.1.0dev1", "1.1.a1", "1.1.0rc1", "1.1.0", "1.1.0post1"]
    ordered += ["1.1post1", "1996.07.12", "1!0.4.1", "1!3.1.1.6", "2!0.4.1"]
    by_text = sorted(ordered, key=lambda version: version[::-1])
    assert by_text != ordered
    assert sorted(by_text, key=cmp_to_key(compare)) == ordered
    for a, b in (("0.4", "0.4.0"), ("0.4.1.rc", "0.4.1.RC"), ("1.1.0dev1", "1.1.dev1"), ("1.1", "1.1.0")):
        assert compare(a, b) == 0
    assert compare("of conda?", "0.1") == -1
