"""Every check of an image: one that has all the faults, and one that has none, by the command line."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from rechunk_podman.lint import run as registry
from rechunk_podman.oci.validate.image import validate
from support import tools
from support.oci_material import Layout, directory, make_tar, member

#: A file of 10 GB is no matter for a test: tests/unit/lint/test_lint_secrets_limits.py has it. Files that
#: boot a machine are in tests/unit/lint/test_lint_boot.py.
NOT_HERE = {"initramfs-damaged", "initramfs-reproducible", "initramfs-version", "layer-size", "sealed"}

KEY = f"-----BEGIN {'PRIVATE'} KEY-----\n{'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC' * 4}\n"
WAL = b"SQLite format 3\0" + b"\x10\0\x02\x02" + bytes(80) + b"Packages"
STALE = b"\xa7\r\r\n" + bytes(4) + (12345).to_bytes(4, "little") + bytes(4)

FAULTS = {
    "etc/os-release": b"ID=x\n",
    "etc/group": b"root:x:0:\naudio:x:63:\n",
    "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
    "usr/lib/modules/6.1.0/vmlinuz": b"k",
    "usr/lib/modules/6.2.0/vmlinuz": b"k",
    "var/lib/app/state": b"x",
    "tmp/left": b"x",
    "var/cache/libdnf5/repo/x": b"x",
    "var/log/dnf5.log": b"x",
    "var/lib/dpkg/status-old": b"x",
    "usr/lib/python3/app.py": b"x = 1\n",
    "usr/lib/python3/__pycache__/app.cpython-311.pyc": STALE,
    "usr/lib/jvm/lib/server/classes.jsa": b"x",
    "usr/share/nginx/html/index.html": b"x",
    "etc/linked": b"linked",
    "usr/share/gr\udcf6\udcdfe": b"x",
    "usr/share/rpm/rpmdb.sqlite": WAL,
    "usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite": WAL,
    "root/.ssh/id_rsa": KEY.encode(),
    "root/.netrc": b"machine x login y password z\n",
}

CLEAN = {
    "usr/lib/os-release": b"ID=x\n",
    "etc/group": b"root:x:0:\naudio:x:63:\n",
    "usr/lib/group": b"audio:x:63:\n",
    "etc/machine-id": b"uninitialized\n",
    "usr/lib/modules/6.1.0/vmlinuz": b"k",
    "usr/lib/modules/6.1.0/kernel/fs/ext4.ko": b"m",
    "usr/lib/python3/app.py": b"x = 1\n",
    "usr/share/rpm/rpmdb.sqlite": WAL.replace(b"\x02\x02", b"\x01\x01"),
    "root/.ssh/id_rsa.pub": b"ssh-rsa AAAA",
}


def faulty(folder: Path) -> Path:
    layout = Layout(folder)
    links = [member(f"opt/l/{number}", tarfile.LNKTYPE, linkname="opt/first") for number in range(65_000)]
    layout.layer(
        make_tar(
            [
                *(member(path, data=data) for path, data in FAULTS.items()),
                member("usr/lib/linked", tarfile.LNKTYPE, linkname="etc/linked"),
                member("dev/fifo", tarfile.FIFOTYPE),
                member("opt/first", data=b"x"),
                *links,
            ]
        )
    )
    for number in range(125):
        layout.layer(make_tar([member(f"opt/app/{number}", data=b"x")]))
    labels = {"containers.bootc": "1", "ostree.linux": "5.0.0", "large": "x" * 200_000}
    layout.config["config"] = {"Labels": labels, "Env": ["TOKEN=ghp_" + "a1B2" * 9]}
    return layout.finish()


def clean(folder: Path) -> Path:
    layout = Layout(folder)
    members = [member(path, data=data) for path, data in CLEAN.items()]
    link = member("etc/os-release", tarfile.SYMTYPE, linkname="../usr/lib/os-release")
    layout.layer(make_tar([*members, link, directory("var/log"), directory("tmp", mode=0o1777)]))
    labels = {"containers.bootc": "1", "ostree.linux": "6.1.0"}
    layout.config["config"] = {"Labels": labels, "Env": ["PATH=/usr/bin"]}
    return layout.finish()


def lint(layout: Path) -> tuple[int, list[dict[str, Any]]]:
    command = (*tools.RECHUNK, "lint", f"oci:{layout}", "--zstd-chunked", "--json", "--fail-on=note")
    done = tools.run(*command, check=False)
    return done.code, json.loads(done.out)["findings"]


def test_an_image_with_every_fault(tmp_path: Path) -> None:
    layout = faulty(tmp_path / "faulty")
    validate(layout, strict=False).check()
    code, findings = lint(layout)
    assert code == 1
    names = {check.name for check in registry.CHECKS}
    assert names - {finding["check"] for finding in findings} == NOT_HERE
    for finding in findings:
        assert finding["message"]
        assert finding["why"]
        assert finding["fix"]


def test_an_image_without_faults(tmp_path: Path) -> None:
    layout = clean(tmp_path / "clean")
    validate(layout, strict=False).check()
    assert lint(layout) == (0, [])
