"""initramfs archives of dracut and mkinitramfs, and UKIs of ukify, made from Debian's packages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from images import boot
from images.cache import MissingTool
from rechunk_podman.boot.initramfs import differing_members, read_initramfs
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Source, plan_only
from rechunk_podman.errors import RootfsError
from support.linting import found
from support.needs import needs_root, unavailable

pytestmark = needs_root

CHECKS = ("sealed", "initramfs-version", "initramfs-reproducible")


@pytest.fixture(scope="module")
def out() -> Path:
    try:
        return boot.directory() / "out"
    except MissingTool as error:
        unavailable(f"{error} is not installed")


def read(path: Path):
    with path.open("rb") as file:
        return read_initramfs(file.read)


def findings(top: Path, file: Path, place: str) -> dict[str, str]:
    """Check -> message, in a root filesystem that holds the file alone."""
    target = top / place
    target.parent.mkdir(parents=True)
    shutil.copyfile(file, target)
    return {check: r.finding.message for check in CHECKS for r in found(top, check)}


def test_the_same_members_in_every_compression(out):
    one, *others = (read(out / f"tools.{kind}") for kind in ("zstd", "xz", "lz4"))
    assert one.fault is None
    assert "init" in one.texts
    assert len(one.members) > 300
    for other in others:
        assert other.fault is None
        assert differing_members(one, other) == {}


def test_early_microcode_comes_first(out):
    found = read(out / "dracut.20250101")
    assert found.fault is None
    assert "kernel/x86/microcode/AuthenticAMD.bin" in list(found.members)[:8]
    assert len(found.members) > 800


def test_only_the_version_differs(out):
    differing = differing_members(read(out / "dracut.20250101"), read(out / "dracut.20250108"))
    assert set(differing) <= {"usr/lib/initrd-release"}
    assert "content" in differing["usr/lib/initrd-release"]


@pytest.mark.parametrize(
    ("name", "version", "built"),
    [
        ("tools.gzip", False, True),
        ("tools.zstd", False, False),
        ("dracut.plain", False, True),
        ("dracut.20250101", True, False),
    ],
)
def test_what_lint_says_of_an_archive(out, tmp_path, name, version, built):
    messages = findings(tmp_path, out / name, "usr/lib/modules/6.12/initramfs.img")
    assert ("initramfs-version" in messages) == version
    assert ("initramfs-reproducible" in messages) == built
    if version:
        assert "usr/lib/initrd-release (OSTREE_VERSION=43.20250101.0" in messages["initramfs-version"]


@pytest.mark.parametrize(("name", "sealed"), [("composefs.efi", True), ("quiet.efi", False)])
def test_a_uki(out, tmp_path, name, sealed):
    messages = findings(tmp_path, out / name, "boot/EFI/Linux/linux.efi")
    assert list(messages) == (["sealed"] if sealed else [])
    if sealed:
        with pytest.raises(
            RootfsError, match=r"is sealed: /boot/EFI/Linux/linux\.efi boots with composefs=0123"
        ):
            plan_only(Source(str(tmp_path)), BuildOptions())
    else:
        plan_only(Source(str(tmp_path)), BuildOptions())
