"""The sections of a UKI: the seal on its command line, its initramfs; files that are none."""

from __future__ import annotations

import gzip
import io

import pytest

from rechunk_podman.boot.uki import read_uki
from support.booting import cpio, efi

INITRD = gzip.compress(cpio({"init": b"x"}))


def read(data: bytes, **options: bool):
    return read_uki(io.BytesIO(data).read, **options)


@pytest.mark.parametrize(
    ("line", "seal"),
    [
        (b"root=x composefs=abc rw\n\0", "composefs=abc"),
        (b"composefs=?abc", "composefs=?abc"),
        (b"root=x rw", None),
        (b"nocomposefs=1 composefs.x=2", None),
    ],
)
def test_the_seal(line, seal):
    found = read(efi({".osrel": b"ID=x", ".cmdline": line, ".initrd": INITRD}))
    assert found.seal == seal
    assert found.initramfs is None


def test_a_seal_in_the_second_profile():
    assert read(efi({".cmdline": b"rw", ".profile": b"", ".cmdline\0": b"composefs=abc"})).seal is None
    two = efi({".cmdline": b"rw", ".linux": b"k" * 3000, ".CMDLINE": b"composefs=abc"})
    assert read(two.replace(b".CMDLINE", b".cmdline")).seal == "composefs=abc"


def test_the_initramfs_in_it():
    found = read(efi({".linux": b"kernel" * 5000, ".initrd": INITRD, ".uname": b"6"}), with_initramfs=True)
    assert list(found.initramfs.members) == ["init"]
    assert found.initramfs.fault is None


def test_files_that_are_no_program():
    whole = efi({".linux": b"k" * 900, ".cmdline": b"composefs=abc", ".initrd": INITRD})
    assert read(b"") is read(b"MZ" + bytes(2000)) is read(b"#!/bin/sh\n") is None
    assert read(b"MZ" + b"\xff" * 2000) is None
    for length in range(0, len(whole), 7):
        found = read(whole[:length], with_initramfs=True)
        assert found is None or found.seal in (None, *("composefs=abc"[:end] for end in range(11, 14)))
