"""Components that attributes name, and those of kernels."""

from __future__ import annotations

import pytest
import xattr

from rechunk_podman.components.sources.kernel import flavour
from rechunk_podman.components.sources.xattr import parse_interval
from rechunk_podman.errors import RootfsError
from support.assigning import assigned, make
from support.rpm_headers import package, sqlite_database


@pytest.fixture
def top(tmp_path):
    return make(
        tmp_path / "root",
        {"opt/app/a": "1", "opt/app/deep/b": "2", "opt/app-c": "3", "opt/app/deep/d": "4", "etc/e": "5"},
    )


def mark(path, component=None, interval=None):
    if component is not None:
        xattr.setxattr(path, "user.component", component)
    if interval is not None:
        xattr.setxattr(path, "user.update-interval", interval)


def test_directories_hand_their_component_down_and_the_nearest_wins(top):
    (top / "opt/app/link").symlink_to("a")
    (top / "opt/app/empty").mkdir()
    mark(top / "opt/app", b"outer")
    mark(top / "opt/app/deep", b"inner")
    mark(top / "opt/app/deep/d", b"own")
    result = assigned(top)
    assert result.paths["xattr/outer"] == ["opt/app/a", "opt/app/empty", "opt/app/link"]
    assert result.paths["xattr/inner"] == ["opt/app/deep/b"]
    assert result.paths["xattr/own"] == ["opt/app/deep/d"]
    assert result.owner["opt/app-c"] == "unclaimed/opt"


def test_the_root_directory_hands_down_too(top):
    mark(top, b"all")
    assert set(assigned(top).owner.values()) == {"xattr/all", "filesystem/root"}


@pytest.mark.parametrize(
    ("text", "days"),
    [
        (b"daily", 1),
        (b"weekly", 7),
        (b"biweekly", 14),
        (b"monthly", 30),
        (b"quarterly", 91),
        (b"yearly", 365),
        (b"Weekly\n", 7),
        (b"45", 45),
        (b"0.5", 0.5),
    ],
)
def test_intervals(top, text, days):
    mark(top / "opt/app", b"mine", text)
    assert assigned(top)["xattr/mine"].interval == days


@pytest.mark.parametrize("text", [b"often", b"0", b"-1", b"nan", b"inf", b"", b"\xff"])
def test_intervals_that_are_none(text):
    with pytest.raises(RootfsError, match="/x"):
        parse_interval(text, "/x")


@pytest.mark.parametrize("text", [b" ", b"a\nb", b"\xff", b"a\0b"])
def test_names_that_are_none(top, text):
    mark(top / "opt/app", text)
    with pytest.raises(RootfsError, match="/opt/app"):
        assigned(top)


def test_two_intervals_of_one_component_name_both_paths(top):
    mark(top / "opt/app", b"mine", b"daily")
    mark(top / "etc/e", b"mine", b"weekly")
    with pytest.raises(RootfsError) as caught:
        assigned(top)
    said = " ".join([caught.value.message, *caught.value.context])
    assert "xattr/mine" in said
    assert "/opt/app " in said
    assert "/etc/e " in said


def test_one_interval_said_twice(top):
    mark(top / "opt/app", b"mine", b"weekly")
    mark(top / "etc/e", b"mine", b"7")
    assert assigned(top)["xattr/mine"].interval == 7


def test_an_inner_component_does_not_inherit_the_interval(top):
    mark(top / "opt/app", b"outer", b"daily")
    mark(top / "opt/app/deep", b"inner")
    assert assigned(top)["xattr/inner"].interval is None


def test_an_interval_alone_is_said_of_whatever_component_the_path_is_in(top):
    mark(top / "etc/e", interval=b"monthly")
    sqlite_database(top / "var/lib/rpm/rpmdb.sqlite", [package("pkg", top, ["/opt/app/a"])])
    mark(top / "opt/app/a", interval=b"yearly")
    result = assigned(top)
    assert result["unclaimed/etc"].interval == 30
    assert result["rpm/pkg"].interval == 365


def test_intervals_alone_contradict_each_other_too(top):
    mark(top / "opt/app/a", interval=b"monthly")
    mark(top / "opt/app/deep/b", interval=b"yearly")
    with pytest.raises(RootfsError, match="unclaimed/opt/app"):
        assigned(top)


MODULES = "usr/lib/modules"
FEDORA = "6.8.5-301.fc40.x86_64"


def kernel(version):
    return {
        f"{MODULES}/{version}/vmlinuz": "k",
        f"{MODULES}/{version}/initramfs.img": "i",
        f"{MODULES}/{version}/System.map": "s",
        f"{MODULES}/{version}/modules.dep": "d",
        f"{MODULES}/{version}/kernel/fs/ext4.ko.xz": "m",
    }


def test_one_kernel_has_names_without_its_version(tmp_path):
    result = assigned(make(tmp_path, kernel(FEDORA)))
    base = f"{MODULES}/{FEDORA}"
    assert result.paths["kernel/initramfs"] == [f"{base}/initramfs.img"]
    assert result.paths["kernel/modules"] == [f"{base}/kernel/fs/ext4.ko.xz", f"{base}/modules.dep"]
    assert result.paths["kernel/vmlinuz"] == [f"{base}/System.map", f"{base}/vmlinuz"]
    assert result["kernel/vmlinuz"].version == FEDORA


def test_a_debian_kernel_in_boot(tmp_path):
    version = "6.1.0-18-amd64"
    files = {f"boot/{name}-{version}": "x" for name in ("vmlinuz", "initrd.img", "config", "System.map")}
    files[f"{MODULES}/{version}/kernel/a.ko"] = "m"
    files["boot/grub/grub.cfg"] = "g"
    result = assigned(make(tmp_path, files))
    assert result.owner[f"boot/initrd.img-{version}"] == "kernel/initramfs"
    assert {result.owner[f"boot/{name}-{version}"] for name in ("vmlinuz", "config", "System.map")} == {
        "kernel/vmlinuz"
    }
    assert result.owner[f"{MODULES}/{version}/kernel/a.ko"] == "kernel/modules"
    assert result.owner["boot/grub/grub.cfg"] == "unclaimed/boot"


def test_other_names_in_boot(tmp_path):
    files = {
        "boot/vmlinuz-linux": "k",
        "boot/initramfs-linux.img": "i",
        f"boot/vmlinuz-{FEDORA}": "k",
        f"boot/.vmlinuz-{FEDORA}.hmac": "h",
        f"boot/initramfs-{FEDORA}.img": "i",
    }
    owner = assigned(make(tmp_path, files)).owner
    assert owner["boot/vmlinuz-linux"] == "kernel/vmlinuz-linux"
    assert owner["boot/initramfs-linux.img"] == "kernel/initramfs-linux"
    assert owner[f"boot/.vmlinuz-{FEDORA}.hmac"] == owner[f"boot/vmlinuz-{FEDORA}"] == "kernel/vmlinuz"
    assert owner[f"boot/initramfs-{FEDORA}.img"] == "kernel/initramfs"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (FEDORA, ""),
        (FEDORA + "+debug", "debug"),
        ("6.1.0-18-amd64", "amd64"),
        ("6.1.0-18-rt-amd64", "rt-amd64"),
        ("6.4.0-150600.23-default", "default"),
    ],
)
def test_flavours(version, expected):
    assert flavour(version) == expected


def test_several_kernels(tmp_path):
    flavours = assigned(make(tmp_path / "a", {**kernel("6.1.0-18-amd64"), **kernel("6.1.0-18-rt-amd64")}))
    assert {"kernel/vmlinuz-amd64", "kernel/vmlinuz-rt-amd64", "kernel/modules-amd64"} <= set(
        flavours.components
    )
    versions = assigned(make(tmp_path / "b", {**kernel("6.8.5-1.fc40"), **kernel("6.9.1-1.fc40")}))
    assert {"kernel/vmlinuz-6.8.5-1.fc40", "kernel/initramfs-6.9.1-1.fc40"} <= set(versions.components)


def test_a_leftover_directory_is_no_second_kernel(tmp_path):
    files = {**kernel(FEDORA), f"{MODULES}/6.7.1-1.fc40/extra/note": "n"}
    result = assigned(make(tmp_path, files))
    assert "kernel/vmlinuz" in result.components
    assert result.owner[f"{MODULES}/6.7.1-1.fc40/extra/note"] == "unclaimed/usr/lib/modules"


def test_a_packaged_kernel_keeps_what_its_package_knows(tmp_path):
    make(tmp_path, kernel(FEDORA), mtime=1_600_000_000)
    image = f"/{MODULES}/{FEDORA}/vmlinuz"
    sqlite_database(
        tmp_path / "var/lib/rpm/rpmdb.sqlite", [package("kernel-core", tmp_path, [image], changes=[9, 8])]
    )
    result = assigned(tmp_path)
    assert result["kernel/vmlinuz"].changes == (9, 8)
    assert result.mtimes[image.lstrip("/")] == 1_600_000_000
    assert result["kernel/initramfs"].changes == ()


def test_parts_of_a_kernel_beside_its_modules(tmp_path):
    """Device trees, modules of other packages and unified images are parts; firmware stays where it is."""
    version = "6.8.5-301.fc40.x86_64"
    files = {
        **kernel(FEDORA),
        f"{MODULES}/{version}/dtb/vendor/board.dtb": "d",
        "usr/lib/linux-image-6.8.5-301.fc40.x86_64/vendor/other.dtb": "d",
        f"{MODULES}/{version}/extra/nvidia/nvidia.ko": "n",
        f"{MODULES}/{version}/updates/dkms/v4l2loopback.ko": "v",
        f"{MODULES}/{version}/{version}.efi": "u",
        f"boot/efi/EFI/Linux/0123-{version}.efi": "u",
        "usr/lib/firmware/vendor/blob.bin": "f",
    }
    result = assigned(make(tmp_path, files))
    assert {result.owner[path] for path in files if path.endswith(".dtb")} == {"kernel/dtbs"}
    assert {result.owner[path] for path in files if "/extra/" in path or "/dkms/" in path} == {"kernel/kmods"}
    assert {result.owner[path] for path in files if path.endswith(".efi")} == {"kernel/uki"}
    assert result.owner["usr/lib/firmware/vendor/blob.bin"] == "unclaimed/usr/lib/firmware"


def test_a_unified_image_alone_is_a_kernel(tmp_path):
    result = assigned(make(tmp_path, {"efi/EFI/Linux/linux.efi": "u"}))
    assert result.owner["efi/EFI/Linux/linux.efi"] == "kernel/uki"
