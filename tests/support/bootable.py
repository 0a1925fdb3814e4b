"""A small image that looks like a bootable one, built on a base of which it has the labels."""

from __future__ import annotations

import tarfile
from pathlib import Path

from images.storage import import_tar
from support import tools

FILES = {
    "usr/lib/modules/6.9.1/vmlinuz": b"kernel",
    "usr/lib/modules/6.9.1/initramfs.img": b"i" * 2_000_000,
    "usr/lib/modules/6.9.1/modules.dep": b"",
    "usr/lib/os-release": b"ID=test\n",
    "sysroot/ostree/repo/config": b"[core]\n",
    "etc/app.conf": b"x = 1\n",
}

LABELS = {
    "ostree.linux": "6.8.0",
    "ostree.commit": "0123",
    "ostree.bootable": "true",
    "org.opencontainers.image.version": "base.1",
    "org.opencontainers.image.title": "The base",
    "maintainer": "somebody",
}


def bootable_image(storage: tools.Storage, name: str, folder: Path) -> str:
    """Imports it under `name`, which is returned; `folder` is to work in."""
    for path, content in FILES.items():
        file = folder / "root" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    with tarfile.open(folder / "root.tar", "w") as tar:
        tar.add(folder / "root", ".")
    import_tar(folder / "root.tar", name, env=storage.env, config={"Labels": LABELS})
    return name
