"""Python distributions: prefixes, RECORD, egg-info, virtual environments, and who owns what elsewhere."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
from functools import cmp_to_key

import pytest

from images import applications
from rechunk_podman.changelog.installed import of_root
from rechunk_podman.packages.python import text
from rechunk_podman.packages.python.version import compare
from rechunk_podman.rootfs.root import Root
from support.assigning import assigned, make
from support.moments import changed, unclaimed

SITE = "opt/venv/lib/python3.11/site-packages"


def line(path: str, content: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(content)}\n"


def distribution(name="foo", version="1.0", site=SITE, **more):
    """Return the files of a distribution with a module, a program and byte code; `more` is in dist-info."""
    info = f"{name}-{version}.dist-info"
    record = line(f"{name}/__init__.py", version) + line(f"../../../bin/{name}", "#!")
    record += f"{name}/__pycache__/__init__.cpython-311.pyc,,\n{info}/METADATA,,\n{info}/RECORD,,\n"
    found = {"METADATA": f"Name: {name}\n", "RECORD": record, **more}
    return {
        f"{site}/{name}/__init__.py": version,
        f"{site}/{name}/__pycache__/__init__.cpython-311.pyc": "",
        f"{os.path.normpath(f'{site}/../../../bin')}/{name}": "#!",
        **{f"{site}/{info}/{file}": data for file, data in found.items()},
    }


def test_a_distribution_is_a_component(tmp_path):
    files = distribution(INSTALLER="pip\n")
    result = assigned(make(tmp_path, files))
    assert set(result.paths["python/opt/venv/foo"]) == set(files)
    assert result["python/opt/venv/foo"].version == "1.0"


def test_the_same_distribution_in_other_prefixes_is_another_component(tmp_path):
    make(tmp_path, distribution())
    make(tmp_path, distribution(site="usr/local/lib/python3.11/dist-packages"))
    make(tmp_path, distribution(site="usr/lib64/python3.11/site-packages"))
    make(tmp_path, distribution(site="srv/functions/vendor/x"))
    found = {ident for ident in assigned(tmp_path).paths if ident.startswith("python/")}
    expected = ("opt/venv", "usr/local", "usr", "srv/functions/vendor/x")
    assert found == {f"python/{prefix}/foo" for prefix in expected}


def test_a_new_python_makes_no_new_component(tmp_path):
    make(tmp_path, distribution(site="usr/local/lib/python3.13/site-packages"))
    assert "python/usr/local/foo" in assigned(tmp_path).components


def test_what_setuptools_brought_along_is_its_own(tmp_path):
    make(tmp_path, distribution("wheel", "0.43", f"{SITE}/setuptools/_vendor"))
    assert not [ident for ident in assigned(tmp_path).paths if "wheel" in ident]


def test_a_virtual_environment_is_a_component(tmp_path):
    own = {"opt/venv/pyvenv.cfg": "home = /usr/bin\nversion = 3.11.7\n", "opt/venv/bin/activate": "x"}
    make(tmp_path, {**distribution(), **own, "opt/venv/app/main.py": "x", "usr/bin/python3.11": "ELF"})
    (tmp_path / "opt/venv/bin/python").symlink_to("/usr/bin/python3.11")
    make(tmp_path, {"var/lib/dpkg/info/python3.11.list": "/usr/bin/python3.11\n"})
    stanza = "Package: python3.11\nStatus: install ok installed\nVersion: 3.11.2\n"
    result = assigned(make(tmp_path, {"var/lib/dpkg/status": stanza}))
    assert result.paths["python/opt/venv"] == [
        "opt/venv/bin/activate",
        "opt/venv/bin/python",
        "opt/venv/pyvenv.cfg",
    ]
    assert result.owner["opt/venv/bin/foo"] == "python/opt/venv/foo"
    assert result.owner["usr/bin/python3.11"] == "dpkg/python3.11"
    assert result.owner["opt/venv/app/main.py"].startswith("unclaimed/")


def test_an_interpreter_of_no_package_is_a_component(tmp_path):
    library = "usr/local/lib/python3.12"
    own = [
        f"{library}/os.py",
        f"{library}/json/x.py",
        "usr/local/bin/python3.12",
        "usr/local/lib/libpython3.12.so.1.0",
    ]
    make(tmp_path, {**dict.fromkeys(own, "x"), **distribution(site=f"{library}/site-packages")})
    result = assigned(tmp_path)
    assert set(result.paths["python/usr/local/cpython"]) == set(own)
    assert result.owner[f"{library}/site-packages/foo/__init__.py"] == "python/usr/local/foo"
    debian = {"usr/lib/python3.11/os.py": "x", "usr/lib/python3.11/json.py": "x"}
    result = assigned(dpkg_owned(tmp_path / "debian", debian))
    assert set(result.paths["dpkg/python3-foo"]) >= set(debian)
    assert "python/usr/cpython" not in result.components


def test_eggs(tmp_path):
    site = "usr/local/lib/python3.6/site-packages"
    files = {
        f"{site}/old-2.0-py3.6.egg-info/PKG-INFO": "Name: old\nVersion: 2.0\n",
        f"{site}/old-2.0-py3.6.egg-info/installed-files.txt": "../old.py\nPKG-INFO\n",
        f"{site}/old.py": "x",
        f"{site}/top.egg-info/PKG-INFO": "Metadata-Version: 1.0\nName: top\nVersion: 3.1\n",
        f"{site}/top.egg-info/top_level.txt": "top\n_top\n",
        f"{site}/top/deep/x.py": "x",
        f"{site}/_top.py": "x",
        f"{site}/easy-4.0-py3.6.egg/EGG-INFO/PKG-INFO": "Name: easy\nVersion: 4.0\n",
        f"{site}/easy-4.0-py3.6.egg/easy/x.py": "x",
    }
    result = assigned(make(tmp_path, files))
    versions = {name: result[f"python/usr/local/{name}"].version for name in ("old", "top", "easy")}
    assert versions == {"old": "2.0", "top": "3.1", "easy": "4.0"}
    for path in files:
        name = path.removeprefix(f"{site}/").lstrip("_")[:3].replace("eas", "easy")
        assert result.owner[path] == f"python/usr/local/{name}"


def dpkg_owned(top, files):
    """Write the files, and a database by which the package python3-foo holds them."""
    make(top, files)
    sums = [f"{hashlib.md5(content.encode()).hexdigest()}  {path}\n" for path, content in files.items()]
    stanza = "Package: python3-foo\nStatus: install ok installed\nVersion: 1.0-1\n"
    info = "var/lib/dpkg/info/python3-foo"
    listed = "".join(f"/{path}\n" for path in files)
    return make(
        top, {"var/lib/dpkg/status": stanza, f"{info}.list": listed, f"{info}.md5sums": "".join(sums)}
    )


def test_a_distribution_of_the_system_stays_with_its_package(tmp_path):
    files = distribution(site="usr/lib/python3.11/site-packages")
    result = assigned(dpkg_owned(tmp_path, files))
    assert {result.owner[path] for path in files} == {"dpkg/python3-foo"}
    assert "python/usr/foo" not in result.components


def test_byte_code_of_the_system_stays_with_its_package(tmp_path):
    """Debian lists no byte code, and eggs without a list of files claim whole directories."""
    site = "usr/lib/python3/dist-packages"
    info = f"{site}/foo-1.0.egg-info"
    files = {f"{info}/PKG-INFO": "Name: foo\nVersion: 1.0\n", f"{info}/top_level.txt": "foo\n"}
    files[f"{site}/foo/__init__.py"] = "x"
    dpkg_owned(tmp_path, files)
    compiled = f"{site}/foo/__pycache__/__init__.cpython-311.pyc"
    result = assigned(make(tmp_path, {compiled: "x"}))
    assert {result.owner[path] for path in (*files, compiled)} == {"dpkg/python3-foo"}


def test_a_file_that_pip_replaced_is_pips(tmp_path):
    site = "usr/lib/python3.11/site-packages"
    old = distribution(site=site)
    dpkg_owned(tmp_path, {**old, f"{site}/foo/data": "of Debian", f"{site}/foo/same": "same"})
    (tmp_path / f"{site}/foo-1.0.dist-info/RECORD").unlink()
    new = distribution(version="2.0", site=site)
    record = new[f"{site}/foo-2.0.dist-info/RECORD"] + line("foo/same", "same") + line("foo/data", "of pip")
    make(tmp_path, {**new, f"{site}/foo-2.0.dist-info/RECORD": record})
    make(tmp_path, {f"{site}/foo/__pycache__/__init__.cpython-311.pyc": "new byte code"})
    result = assigned(tmp_path)
    replaced = ("foo/__init__.py", "foo/__pycache__/__init__.cpython-311.pyc", "foo-2.0.dist-info/METADATA")
    assert {result.owner[f"{site}/{path}"] for path in replaced} == {"python/usr/foo"}
    kept = ("foo/data", "foo/same", "foo-1.0.dist-info/METADATA")
    assert {result.owner[f"{site}/{path}"] for path in kept} == {"dpkg/python3-foo"}


def test_node_modules_in_a_distribution_are_its_own(tmp_path):
    path = f"{SITE}/foo/node_modules/left/package.json"
    files = distribution()
    files[f"{SITE}/foo-1.0.dist-info/RECORD"] += line("foo/node_modules/left/package.json", "{}")
    result = assigned(make(tmp_path, {**files, path: "{}", f"{SITE}/foo/node_modules/left/new": "x"}))
    assert result.owner[path] == "python/opt/venv/foo"
    assert result.owner[f"{SITE}/foo/node_modules/left/new"] == "database/node"


def test_changelog_sees_versions(tmp_path):
    make(tmp_path, distribution("Foo.Bar", "1.10"))
    make(tmp_path, distribution("foo_bar", "1.9", "usr/local/lib/python3.11/site-packages"))
    make(tmp_path, distribution("rpms", site="usr/lib/python3.11/site-packages", INSTALLER="rpm\n"))
    make(tmp_path, distribution("debs", site="usr/lib/python3/dist-packages"))
    make(tmp_path, {"usr/lib/python3.11/os.py": "x"})
    with Root(tmp_path) as root:
        found = of_root(root)
    assert {name: version.text for name, version in found.binary.items()} == {"foo-bar": "1.9 1.10"}
    assert set(found.sources) == {"opt/venv/foo-bar", "usr/local/foo-bar"}


def test_broken_records_cost_themselves(tmp_path, caplog):
    make(tmp_path, distribution("good"))
    make(tmp_path, distribution("nul", RECORD=f'a\0b,,\n"{"x" * 200_000}\n'))
    make(tmp_path, distribution("out", RECORD="../../../../../../../etc/shadow,,\n/etc/passwd,,\n"))
    make(tmp_path, distribution("new\nline", RECORD="x\ny,,\n"))
    make(tmp_path, {"etc/shadow": "of the image", "etc/passwd": "x", f"{SITE}/-1.dist-info/METADATA": "x"})
    for name, target in (("fifo", None), ("link", "/etc/shadow"), ("loop", "RECORD")):
        directory = tmp_path / f"{SITE}/{name}-1.dist-info"
        directory.mkdir()
        if target is None:
            os.mkfifo(directory / "RECORD")
        else:
            (directory / "RECORD").symlink_to(target)
    result = assigned(tmp_path)
    assert result.owner[f"{SITE}/good/__init__.py"] == "python/opt/venv/good"
    assert result.owner["etc/shadow"] == "python/opt/venv/out"
    assert result.owner[f"{SITE}/loop-1.dist-info/RECORD"] == "python/opt/venv/loop"
    for record in ("nul-1.0.dist-info/RECORD", "-1.dist-info", "fifo-1.dist-info/RECORD", "loop-1"):
        assert f"{SITE}/{record}" in caplog.text


@pytest.mark.parametrize(
    ("site", "prefix"),
    [
        ("usr/lib/python3/dist-packages", "usr"),
        ("lib/python3.11/site-packages", ""),
        ("opt/lib/python/lib/pypy3.10/site-packages", "opt/lib/python"),
        ("opt/x/site-packages", "opt/x/site-packages"),
        ("var/task", "var/task"),
    ],
)
def test_prefixes(site, prefix):
    assert text.prefix_of(site) == prefix


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("foo.py", "a/b/foo.py"),
        ("../../bin/foo", "bin/foo"),
        ("../../../../etc/foo", "etc/foo"),
        ("/etc/foo", "etc/foo"),
        ("./x/../y", "a/b/y"),
        ("x//y", "a/b/x/y"),
    ],
)
def test_paths_of_records_stay_below_the_root(path, expected):
    assert text.join("a/b", path) == expected


def test_versions():
    ordered = ["no version", "1.0.dev1", "1.0a1", "1.0rc1", "1.0", "1.0+local", "1.0.post1", "1.10", "1!0.1"]
    shuffled = sorted(ordered, key=lambda version: hashlib.md5(version.encode()).digest())
    assert sorted(shuffled, key=cmp_to_key(compare)) == ordered
    assert compare("1.0", "1.0.0") == 0
    assert compare("9" * 10_000, "1") == -1


def test_a_real_update_by_pip_changes_one_component():
    names, old, _ = changed(applications.pip)
    assert names == {"python/opt/venv/idna"}
    assert old["python/opt/venv/idna"].version == "3.6"
    assert {"python/opt/venv", "python/opt/venv/pip", "python/srv/target/six"} <= old.components.keys()
    assert unclaimed(old) == []


def test_a_real_update_by_uv_changes_one_component():
    names, old, _ = changed(applications.uv)
    assert names == {"python/app/.venv/idna"}
    assert unclaimed(old) == []


def test_pip_orders_versions_alike():
    """Of pip's own list of versions the newest is the last one by our order."""
    versions = ["2.0.0rc1", "1.9", "2.0.0.post1", "1.10", "2.0.0", "2.0.0.dev3"]
    script = "import sys; from pip._vendor.packaging.version import Version as V; "
    script += "print(*sorted(sys.argv[1:], key=V))"
    done = subprocess.run(
        [sys.executable, "-c", script, *versions], capture_output=True, text=True, check=True
    )
    assert sorted(versions, key=cmp_to_key(compare)) == done.stdout.split()
