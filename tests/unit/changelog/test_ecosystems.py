"""changelog, diff and inspect of updates, in ecosystems whose package managers cannot be had here.

The records are made after their documentation. tests/tools/test_updates_of_systems.py and
tests/unit/packages/test_updates_of_applications.py have the others.
"""

from __future__ import annotations

import hashlib
import json
import plistlib

import pytest

from rechunk_podman.changelog.installed import of_root
from rechunk_podman.rootfs.root import Root
from support.assigning import make
from support.embedded import TEXT, jar, program
from support.updates import update

BUILT = 1_700_000_000


def conda(version):
    text = {"name": "tool", "version": version, "files": ["bin/tool"], "timestamp": BUILT * 1000}
    return {"opt/conda/bin/tool": version, f"opt/conda/conda-meta/tool-{version}-0.json": json.dumps(text)}


def portage(version):
    record = f"var/db/pkg/app-misc/tool-{version}"
    digest = hashlib.md5(version.encode()).hexdigest()
    contents = f"obj /usr/bin/tool {digest} {BUILT}\n"
    return {"usr/bin/tool": version, f"{record}/CONTENTS": contents, f"{record}/BUILD_TIME": f"{BUILT}\n"}


def xbps(version):
    listed = {"tool": {"pkgver": f"tool-{version}", "state": "installed", "architecture": "x86_64"}}
    files = {"files": [{"file": "/usr/bin/tool", "sha256": hashlib.sha256(version.encode()).hexdigest()}]}
    return {
        "usr/bin/tool": version,
        "var/db/xbps/pkgdb-0.38.plist": plistlib.dumps(listed),
        "var/db/xbps/.tool-files.plist": plistlib.dumps(files),
    }


def go(version):
    return {"usr/local/bin/tool": program(TEXT.replace("v1.2.3", version))}


def jvm(version):
    text = f"artifactId=tool\ngroupId=org.own\nversion={version}\n"
    return {"srv/lib/tool.jar": jar({"META-INF/maven/org.own/tool/pom.properties": text})}


UPDATES = [
    (conda, "conda/opt/conda/tool", "tool", "1.9", "1.10"),
    (portage, "portage/app-misc/tool", "app-misc/tool", "1.9-r1", "1.10"),
    (xbps, "xbps/tool", "tool", "1.9_1", "1.10_1"),
    (go, "go/example.com/saw", "example.com/saw", "v1.9.0", "v1.10.0"),
    (jvm, "jvm/org.own:tool", "org.own:tool", "1.9", "1.10"),
]


@pytest.mark.parametrize(("write", "component", "package", "old", "new"), UPDATES)
def test_all_commands_know_the_versions(write, component, package, old, new, tmp_path):
    for name, version in (("before", old), ("after", new)):
        files = {**write(version), "usr/share/other": "x" * 100_000}
        for path in make(tmp_path / name, files, mtime=BUILT).rglob("bin/*"):
            path.chmod(0o755)
    found = update(tmp_path / "before", tmp_path / "after", tmp_path)
    assert component in found.components
    assert found.changes == {package: (old, new)}
    assert found.downloaded[component] == (old, new)
    assert found.versions[component] == new
    assert found.travelled <= found.size + 10_240 * len(found.components)


def test_names_of_directories_are_one_line(tmp_path):
    site = "opt/v/lib/python3.11/site-packages"
    make(
        tmp_path,
        {f"{site}/a\n# b-1\n2.dist-info/METADATA": "", f"nix/store/{'0' * 32}-c\033\udcff-1/file": ""},
    )
    with Root(tmp_path) as root:
        found = of_root(root)
    names = {"a\ufffd# b": "1\ufffd2", "c\ufffd\ufffd": "1"}
    assert {name: version.text for name, version in found.binary.items()} == names
