"""One image with everything: the components are those that a person would name."""

from __future__ import annotations

from pathlib import Path

from support.assigning import assigned, make
from support.everything import APPLICATION, FILES, FLATPAK, RUNTIME, STORE

WANTED = {
    "usr/bin/bash": "dpkg/bash",
    "opt/venv/lib/python3.11/site-packages/django/__init__.py": "python/opt/venv/django",
    "srv/app/node_modules/express/index.js": "node/srv/app/express",
    f"{APPLICATION}/files/bin/run": "flatpak/app/org.example.Maps/stable",
    f"{RUNTIME}/files/lib/libc.so": "flatpak/runtime/org.example.Platform/45",
    f"{FLATPAK}/repo/objects/aa/bb.file": "flatpak/installation",
    f"{STORE}/overlay/{'l' * 64}/diff/file": "images/quay.io/org/app",
    "usr/lib/modules/6.1.0-18-amd64/kernel/a.ko": "kernel/modules-amd64",
    "usr/lib/modules/6.1.0-18-amd64/vmlinuz": "kernel/vmlinuz-amd64",
    "usr/lib/modules/6.1.0-18-rt-amd64/initramfs.img": "kernel/initramfs-rt-amd64",
}


def test_the_components_of_an_image_with_everything(tmp_path: Path) -> None:
    owner = assigned(make(tmp_path, FILES)).owner
    assert {path: owner[path] for path in WANTED} == WANTED
