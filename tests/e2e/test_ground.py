"""The ground that the other tests stand on holds: the test images are what they claim to be."""

from __future__ import annotations

import os
import stat
import urllib.request
from pathlib import Path

from images import oddities, rpm
from support import tools
from support.needs import require


def test_debian_runs(storage: tools.Storage, debian_image: str) -> None:
    """Python answers in a container; ping has its capability and su its setuid bit where they are mounted."""
    done = storage.container(debian_image, "python3", "-c", "import platform; print(platform.libc_ver()[0])")
    assert done.out == "glibc\n"
    with storage.mounted(debian_image) as root:
        assert os.getxattr(root / "usr/bin/ping", "security.capability")
        assert (root / "usr/bin/su").stat().st_mode & stat.S_ISUID


def test_rpm_is_whole(storage: tools.Storage, rpm_image: str, rpm_updated_image: str, tmp_path: Path) -> None:
    """rpm itself finds nothing amiss in the base image, and one source in a new version in the update."""
    versions = []
    for name in (rpm_image, rpm_updated_image):
        with storage.mounted(name) as root:
            call = ("rpm", f"--root={root}", f"--define=_dbpath {rpm.DBPATH}")
            tools.run("cp", "--archive", root / rpm.DBPATH.lstrip("/"), tmp_path / name.replace("/", "-"))
            database = f"--define=_dbpath {tmp_path / name.replace('/', '-')}"
            asked = ("--query", "--all", "--queryformat", "%{SOURCERPM} %{NAME}\\n")
            versions.append(
                {tuple(line.split()) for line in tools.run("rpm", database, *asked).out.splitlines()}
            )
            assert tools.run(*call, "--verify", "--all", "--nodeps", check=False).out == ""
    changed = {source.rsplit("-", 2)[0] for source, _ in versions[0] ^ versions[1]}
    assert changed == {rpm.updated_source()}
    assert len(versions[0]) > 100


def test_rpm_runs(storage: tools.Storage, rpm_image: str) -> None:
    assert storage.container(rpm_image, "perl", "-e", "print 6*7").out == "42"


def test_oddities_survive_an_import(storage: tools.Storage, oddities_image: str) -> None:
    """The tests on this image need its oddities."""
    with storage.mounted(oddities_image) as root:
        assert os.getxattr(root / "xattrs/acl", "system.posix_acl_access") == oddities.ACL
        assert os.getxattr(root / "xattrs/capable-link", "security.capability") == oddities.CAP_NET_RAW
        assert (root / "links/a/original").stat().st_ino == (root / "before/a-link").stat().st_ino
        assert (root / "closed").stat().st_mode & 0o7777 == 0o750
        assert stat.S_ISBLK((root / "special/block").lstat().st_mode)
        assert (root / "owners/4294967294-3000000000").stat().st_uid == 4294967294
        assert b"latin-1 \xe9\xff\xfe" in os.listdir(os.fsencode(root / "names"))


def test_ordinary_user_has_a_namespace(ordinary_user: tools.OrdinaryUser) -> None:
    assert ordinary_user.run("id", "-u").out != "0\n"
    assert ordinary_user.unshared("id", "-u").out == "0\n"
    done = ordinary_user.run(
        ordinary_user.python, "-c", "import rechunk_podman; print(rechunk_podman.__file__)"
    )
    assert done.out.startswith(str(ordinary_user.home))


def test_a_new_registry_is_empty(tmp_path: Path) -> None:
    require("docker-registry")
    with (
        tools.loopback_registry(tmp_path) as registry,
        urllib.request.urlopen(f"http://{registry.address}/v2/_catalog", timeout=30) as answer,
    ):
        assert answer.read().strip() == b'{"repositories":[]}'
