"""Seals, versions and times in files that boot: lint finds them, and a build refuses a seal."""

from __future__ import annotations

import gzip

import pytest

from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Source, plan_only
from rechunk_podman.errors import RootfsError
from rechunk_podman.lint import run as registry
from rechunk_podman.lint.layers import MemberChange, compare
from rechunk_podman.lint.subject import of_image
from rechunk_podman.oci.read.image import open_image
from support.booting import cpio, cpio_member, efi
from support.linting import found, make, results
from support.oci_material import Layout, make_tar, member

IMG = "usr/lib/modules/6.1/initramfs.img"
RELEASE = "VERSION_ID=43\nVERSION=\"43.20250101.0 (Kinoite)\"\nOSTREE_VERSION='43.20250101.0'\n"
SEALED = efi({".cmdline": b"composefs=0123 rw"})


def test_a_seal_is_found_and_refused(tmp_path):
    make(tmp_path, {"boot/EFI/Linux/a.efi": SEALED, "efi/b.EFI": SEALED, "usr/share/c.efi": SEALED})
    assert [r.finding.paths for r in found(tmp_path, "sealed")] == [("boot/EFI/Linux/a.efi",), ("efi/b.EFI",)]
    with pytest.raises(
        RootfsError, match=r"sealed: /boot/EFI/Linux/a\.efi boots with composefs=0123"
    ) as error:
        plan_only(Source(str(tmp_path)), BuildOptions())
    assert "also /efi/b.EFI" in error.value.context
    assert "--prune /boot/EFI/Linux/a.efi" in (error.value.hint or "")
    plan_only(Source(str(tmp_path)), BuildOptions(prune=("/boot/EFI", "/efi/")))


@pytest.mark.parametrize(
    ("release", "holds"),
    [
        (RELEASE, "VERSION=43.20250101.0 (Kinoite), OSTREE_VERSION=43.20250101.0"),
        ("VERSION_ID=13\nVERSION='13 (trixie)'\nBUILD_ID=rolling\n", None),
        ('VERSION_ID="24.04"\nVERSION="24.04.3 LTS"\n', None),
        ("VERSION_ID=43\nVERSION='43 dracut-106-6'\nBUILD_ID=2025-01-01\n", "BUILD_ID=2025-01-01"),
    ],
)
def test_versions_in_the_release_files_of_an_initramfs(tmp_path, release, holds):
    make(tmp_path, {IMG: gzip.compress(cpio({"usr/lib/initrd-release": release.encode()}))})
    messages = [result.finding.message for result in found(tmp_path, "initramfs-version")]
    expected = [] if holds is None else [f"holds the version of the image: usr/lib/initrd-release ({holds})"]
    assert [message.partition("B, ")[2] for message in messages] == expected


def test_the_version_of_the_image_in_any_text_of_an_initramfs(tmp_path):
    archive = cpio({"etc/motd": b"welcome to 43.20250101.0\n", "x": b"\0 43.20250101.0", "y": b"43"})
    make(tmp_path, {IMG: archive, "usr/lib/os-release": RELEASE, "boot/initrd.img-6": cpio({"a": b"b"})})
    (result,) = found(tmp_path, "initramfs-version")
    assert result.finding.paths == (IMG,)
    assert "etc/motd (OSTREE_VERSION=43.20250101.0)" in result.finding.message


def test_times_inodes_and_ids_in_an_initramfs(tmp_path):
    built = [cpio_member(name, ino=number * 1000, mtime=10**9 + number) for number, name in enumerate("abcd")]
    clamped = cpio({str(number): b"" for number in range(9)}, mtime=10**9)
    files = {
        "boot/initrd.img-1": b"".join(built),
        "boot/initrd.img-2": clamped,
        "boot/initrd.img-3": cpio({"etc/machine-id": b"0123\n"}),
        "boot/initrd.img-4": cpio({"etc/machine-id": b"uninitialized\n"}),
        "boot/initrd.img-5": b"i" * 5000,
        "boot/a.efi": efi({".initrd": b"".join(built)}),
    }
    make(tmp_path, files)
    messages = [result.finding.message for result in found(tmp_path, "initramfs-reproducible")]
    both = "the times at which 4 members were made, inode numbers of the file system in which it was made"
    assert messages == [
        f"/boot/a.efi holds {both}",
        f"/boot/initrd.img-1 holds {both}",
        "/boot/initrd.img-3 holds the id of a machine",
    ]


def test_an_initramfs_that_is_cut_off_or_of_an_unknown_form(tmp_path):
    whole = gzip.compress(cpio({"a": b"", "b": bytes(range(256)) * 99}))
    files = {IMG: whole, "boot/initrd.img-1": whole[:-99], "boot/initrd.img-2": b"\x04\x22\x4d\x18" * 99}
    files["boot/initrd.img-3"] = b""
    make(tmp_path, {**files, "boot/a.efi": efi({".initrd": whole + b"junk"})})
    assert [result.finding.message for result in found(tmp_path, "initramfs-damaged")] == [
        "/boot/a.efi: only 2 members could be read: neither an archive nor a known compression at byte "
        f"{len(whole)}",
        "/boot/initrd.img-1: only 1 member could be read: the gzip data is cut off",
        "/boot/initrd.img-2: nothing could be read: neither an archive nor a known compression at byte 0",
    ]
    assert not found(tmp_path, "initramfs-reproducible")


def test_a_layout_is_read_in_one_pass(tmp_path):
    layout = Layout(tmp_path / "image")
    files = {"boot/a.efi": SEALED, IMG: gzip.compress(cpio({"etc/initrd-release": RELEASE.encode()}))}
    layout.layer(make_tar([member(path, data=data) for path, data in files.items()]))
    with open_image(layout.finish()) as image:
        subject = of_image(image, name="it")
    assert len(results(subject, "sealed")) == len(results(subject, "initramfs-version")) == 1


def test_contents_under_names_of_ostree(tmp_path):
    """Its layers hold each content as an object, and the path of the system as a hard link to it."""
    layout = Layout(tmp_path / "image")
    files = {
        "boot/a.efi": SEALED,
        IMG: gzip.compress(cpio({"etc/motd": b"43.20250101.0"})),
        "usr/lib/os-release": RELEASE.encode(),
        "usr/bin/app": b"app",
    }
    entries = []
    for number, (path, data) in enumerate(files.items()):
        name = f"sysroot/ostree/repo/objects/00/{number}.file"
        entries += [member(name, data=data), member(path, b"1", linkname=name)]
    layout.layer(make_tar(entries))
    with open_image(layout.finish()) as image:
        subject = of_image(image, name="it")
    assert [result.finding.paths for result in results(subject, "sealed")] == [("boot/a.efi",)]
    assert [result.finding.paths for result in results(subject, "initramfs-version")] == [(IMG,)]


@pytest.mark.parametrize("cut", ["old", "new"])
def test_members_that_could_not_be_read_are_not_reported(tmp_path, cut):
    pair = []
    for name in ("old", "new"):
        archive = cpio({"a": name.encode(), "b": b"", "c": b"x" * 500})
        layout = Layout(tmp_path / name)
        layout.layer(make_tar([member(IMG, data=archive[:-400] if name == cut else archive)]))
        pair.append(layout.finish())
    with open_image(pair[0]) as old, open_image(pair[1]) as new:
        layers = compare(old, new)
    assert list(layers[0].members) == [MemberChange(IMG, "a", "content")]


def test_an_update_names_the_members_that_differ(tmp_path):
    pair = []
    for name, release, time in (("old", b"1", 7), ("new", b"2", 8)):
        layout = Layout(tmp_path / name)
        members = cpio({"a": b"a"}, mtime=time) + cpio({"etc/initrd-release": release})
        layout.layer(
            make_tar(
                [
                    member(IMG, data=gzip.compress(members)),
                    member("boot/initrd.img-6", data=cpio({"b": b""}, mtime=time)),
                ]
            )
        )
        pair.append(layout.finish())
    with open_image(pair[0]) as old, open_image(pair[1]) as new:
        layers = compare(old, new)
    changes = [
        (IMG, "etc/initrd-release", "content"),
        (IMG, "a", "mtime"),
        ("boot/initrd.img-6", "b", "mtime"),
    ]
    assert list(layers[0].members) == [MemberChange(*change) for change in changes]
    found = [r for r in registry.run_update(layers) if r.check.name == "initramfs-members"]
    assert [str(result.severity) for result in found] == ["warning", "note"]
    assert found[1].finding.paths == (f"{IMG}!etc/initrd-release: content", f"{IMG}!a: mtime")
