"""Root filesystems and groups whose owners would cost memory or time without end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from faults.bombs import write

STORE = "usr/lib/containers/storage"
FLATPAK = "var/lib/flatpak"
PATTERNS = f"[{', '.join(['x'] * 9990)}]"


def many_kernels(root: Path) -> None:
    for number in range(25_000):
        write(root, f"usr/lib/modules/6.1.{number}-x/vmlinuz", b"")


def many_unified_kernel_images(root: Path) -> None:
    for number in range(12_000):
        write(root, f"boot/EFI/Linux/{number}.efi", b"")
        write(root, f"boot/vmlinuz-9.{number}", b"")


def many_applications(root: Path) -> None:
    write(root, f"{FLATPAK}/repo/objects/aa/bb.file", b"")
    for number in range(8000):
        (root / f"{FLATPAK}/app/org.x.A{number}/x86_64/stable/{number:064x}").mkdir(parents=True)


def commits_of_one_large_directory(root: Path) -> None:
    """A dirtree object of 4 MB, to which each of many commits leads."""
    objects = root / FLATPAK / "repo/objects"
    tree = b"\xcd" * 32
    item = b"n\0" + tree + b"\2"
    count = (4 << 20) // (len(item) + 4) - 10
    data = item * count + b"".join((end * len(item)).to_bytes(4, "little") for end in range(1, count + 1))
    write(root, f"{FLATPAK}/repo/objects/cd/{tree.hex()[2:]}.dirtree", data + len(data).to_bytes(4, "little"))
    commit = b"x" * 20 + tree
    write(root, f"{FLATPAK}/commit", commit + b"\xee" * 32 + bytes([len(commit)]) * 6)
    for number in range(2000):
        name = f"{number:064x}"
        (objects / name[:2]).mkdir(parents=True, exist_ok=True)
        os.link(root / FLATPAK / "commit", objects / name[:2] / f"{name[2:]}.commit")
        (root / f"{FLATPAK}/app/org.x.A/x86_64/stable/{name}").mkdir(parents=True)


def images_of_empty_lists(root: Path) -> None:
    write(root, f"{STORE}/overlay-images/images.json", b"[" + b"[]," * 5_500_000 + b"[]]")


def images_share_all_layers(root: Path) -> None:
    layers = [{"id": f"{number:064}", "parent": f"{number + 1:064}"} for number in range(500)]
    images = [{"id": f"i{number}", "names": [f"n{number}"], "layer": "0" * 64} for number in range(2000)]
    write(root, f"{STORE}/overlay-layers/layers.json", json.dumps(layers).encode())
    write(root, f"{STORE}/overlay-images/images.json", json.dumps(images).encode())


BOMBS: dict[Callable[[Path], None], str] = {
    many_kernels: "",
    many_unified_kernel_images: "",
    many_applications: "",
    commits_of_one_large_directory: "MiB, and the rest is not read",
    images_of_empty_lists: "its images are unknown",
    images_share_all_layers: "the rest is not read",
}
"""A root filesystem -> a text in its warnings."""


def lists_by_aliases() -> str:
    aliases = "".join(f" g{number}: {{packages: *a}}\n" for number in range(1, 9990))
    return f"groups:\n g0: {{packages: &a {PATTERNS}}}\n{aliases}"


def ready_groups_again_and_again() -> str:
    return f"use: [{', '.join(['kde'] * 9990)}]\n"


GROUPS: dict[Callable[[], str], str] = {
    lists_by_aliases: "more than 10000 patterns",
    ready_groups_again_and_again: "",
}
"""The text of a groups file -> a text in its error."""
