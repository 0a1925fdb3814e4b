"""Components of the kernels: initramfs, modules and vmlinuz are big and change independently.

Names contain the kernel's version only if two kernels need it, so that they stay the same over updates.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from rechunk_podman.components.board import Board
from rechunk_podman.patterns import compile_later
from rechunk_podman.rootfs.root import Root

name = "kernel"
rule = "the path is that of a kernel's part"

_MODULE_DIRECTORIES = ("usr/lib/modules", "lib/modules")
_INITRAMFS = compile_later(
    r"(?:initramfs|initrd)(?:\.img)?[-.](?P<version>.+?)(?P<kdump>kdump)?(?:\.img)?(?:\.old-dkms)?\Z"
)
_IMAGE = compile_later(r"\.?(?:vmlinuz|vmlinux|bzImage|Image|System\.map|config|symvers)-(?P<version>.+?)\Z")
_DTB_DIRECTORIES = compile_later(r"(?:boot/dtbs?[/-]|(?:usr/)?lib/linux-image-)(?P<version>[^/]+)/")
_UKI = compile_later(
    r"(?:efi|boot|boot/efi)/EFI/Linux/(?P<file>[^/]+\.efi)(?:\.extra\.d/.*)?\Z", re.IGNORECASE
)
_OTHERS = ("extra/", "updates/", "weak-updates/")
"""Directories of modules that other packages bring (depmod.d(5))."""
_MOST_KERNELS = 100
"""Kernels whose versions are searched in the names of UKIs at most."""

_IMAGE_SUFFIX = compile_later(r"(?:\.hmac|\.gz|\.xz|\.zst)\Z")


def claim(root: Root, board: Board) -> None:
    """Claim usr/lib/modules/VERSION/** and boot/*-VERSION of every kernel."""
    # (kernel version, part) -> positions
    parts: dict[tuple[str, str], list[int]] = {}
    kernels: set[str] = set()
    for directory in _MODULE_DIRECTORIES:
        below = board.tree.below(directory)
        for position, path in zip(below, board.paths[below.start : below.stop], strict=True):
            version, _, rest = path[len(directory) + 1 :].partition("/")
            if not rest:
                continue
            part = _part_of_modules(rest, version)
            parts.setdefault((version, part), []).append(position)
            if part not in ("modules", "kmods", "dtbs") or rest.startswith(("kernel/", "modules.dep")):
                kernels.add(version)
    below = board.tree.below("boot")
    for position, path in zip(below, board.paths[below.start : below.stop], strict=True):
        file = path.removeprefix("boot/")
        found = None if "/" in file else _part_of_boot(file)
        if found is not None:
            parts.setdefault(found, []).append(position)
            if found[1] == "vmlinuz":
                kernels.add(found[0])
    for ending in (b".dtb", b".dtbo"):
        for position in board.paths.ending(ending).tolist():
            tree = _DTB_DIRECTORIES.match(board.paths[position])
            if tree:
                parts.setdefault((tree["version"], "dtbs"), []).append(position)
    searched = sorted(kernels)[:_MOST_KERNELS]
    for position in board.paths.ending(b".efi").tolist():
        uki = _UKI.match(board.paths[position])
        if uki:
            # named MACHINE-VERSION.efi, VERSION+TRIES.efi or anything else (systemd's kernel-install, ukify)
            known = [version for version in searched if version in uki["file"]]
            version = max(known, key=len, default=uki["file"])
            parts.setdefault((version, "uki"), []).append(position)
            kernels.add(version)
    suffixes = _suffixes(kernels)
    for (version, part), positions in parts.items():
        if version in suffixes:
            number = board.component(name, part + suffixes[version])
            board.drafts[number].version = version
            board.claim_all(np.array(positions, np.intp), number)


def _part_of_modules(rest: str, version: str) -> str:
    """Return the part to which usr/lib/modules/VERSION/`rest` belongs."""
    if rest.startswith(("initramfs", "initrd")):
        return "initramfs"
    if rest.startswith(("dtb/", "dtbs/", "device-tree/")):
        return "dtbs"
    if rest.startswith(_OTHERS):
        return "kmods"
    if "/" not in rest and rest.endswith(".efi"):
        return "uki"
    if rest == "aboot.img" or rest.lstrip(".").startswith(
        ("vmlinuz", "vmlinux", "bzImage", "Image", "System.map", "config", "symvers")
    ):
        return "vmlinuz"
    return "modules"


def _part_of_boot(file: str) -> tuple[str, str] | None:
    """Return (kernel version, part) of a file in /boot; None if it belongs to no kernel."""
    found = _INITRAMFS.match(file)
    if found:
        return found["version"], "initramfs"
    found = _IMAGE.match(_IMAGE_SUFFIX.sub("", file))
    if found:
        return found["version"], "vmlinuz"
    return None


def flavour(version: str) -> str:
    """Return the part of a version by which kernels of one release differ.

    6.1.0-18-rt-amd64 -> rt-amd64; 6.8.5-1+debug -> debug.
    """
    release, _, variant = version.partition("+")
    words = release.split("-")
    while words and (not words[0] or words[0][0].isdigit()):
        del words[0]
    return "-".join([*words, *([variant] if variant else [])])


def _suffixes(kernels: set[str]) -> dict[str, str]:
    """Return the suffix of component names for each kernel version: "", its flavour, or its version."""
    if len(kernels) == 1:
        return dict.fromkeys(kernels, "")
    count = Counter(flavour(version) for version in kernels)
    return {
        version: f"-{version}" if count[kind] > 1 else f"-{kind}" if kind else ""
        for version in sorted(kernels)
        for kind in [flavour(version)]
    }
