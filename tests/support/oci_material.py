"""Images for the tests of reading: written by hand, document by document, or by the field's own tools."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """A tool's stdout; its stderr is in the failure's message."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any) -> tuple[Any, bytes]:
    """A tar member for make_tar(); pax= gives its pax records."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mode = fields.pop("mode", 0o755 if kind == tarfile.DIRTYPE else 0o644)
    info.pax_headers = fields.pop("pax", {})
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, **fields: Any) -> tuple[Any, bytes]:
    return member(name, tarfile.DIRTYPE, **fields)


def make_tar(members: Iterable[tuple[Any, bytes]]) -> bytes:
    """A tar archive in pax format."""
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Layout:
    """An OCI layout in the making; whatever a test asks for can be wrong in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs" / "sha256").mkdir(parents=True)
        self.write("oci-layout", {"imageLayoutVersion": "1.0.0"})
        self.config: dict[str, Any] = {"architecture": "amd64", "os": "linux", "config": {}, "history": []}
        self.manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}
        self.config["rootfs"] = {"type": "layers", "diff_ids": []}
        self.entry: dict[str, Any] = {"mediaType": MANIFEST}
        self.index: dict[str, Any] = {"schemaVersion": 2, "manifests": [self.entry]}

    def write(self, name: str, document: Any) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        (self.path / name).write_bytes(data)

    def blob(self, data: bytes) -> dict[str, Any]:
        """Writes a blob; digest and size for a descriptor."""
        self.file(sha256(data)).write_bytes(data)
        return {"digest": sha256(data), "size": len(data)}

    def file(self, digest: str) -> Path:
        return self.path / "blobs" / digest.replace(":", "/")

    def layer(self, tar: bytes, stored: bytes | None = None, media_type: str = LAYER) -> Layout:
        """Adds a layer: its tar, and the compressed blob where it has one."""
        self.manifest["layers"].append(
            {"mediaType": media_type, **self.blob(tar if stored is None else stored)}
        )
        self.config["rootfs"]["diff_ids"].append(sha256(tar))
        self.config["history"].append({"created_by": "test"})
        return self

    def finish(self) -> Path:
        """Writes config, manifest and index."""
        config = json.dumps(self.config).encode()
        self.manifest.setdefault("config", {"mediaType": CONFIG, **self.blob(config)})
        self.entry.update({**self.blob(json.dumps(self.manifest).encode()), **self.entry})
        self.write("index.json", self.index)
        return self.path


def archive_of(layout: Path, target: Path, edit: Callable[[str, bytes], bytes | None] | None = None) -> Path:
    """An OCI archive of a layout; edit(name, data) may change a member or leave it out."""
    found = []
    for path in sorted(layout.rglob("*")):
        name = path.relative_to(layout).as_posix()
        if path.is_file():
            data: bytes | None = path.read_bytes()
            if edit is not None:
                data = edit(name, data or b"")
            if data is not None:
                found.append(member(name, data=data))
    target.write_bytes(make_tar(found))
    return target


def odd_rootfs(top: Path) -> Path:
    """A root filesystem with one of everything that an image can hold; needs root."""
    (top / "etc/deep/er").mkdir(parents=True)
    (top / "usr/bin").mkdir(parents=True)
    (top / "tmp").mkdir()
    (top / "tmp").chmod(0o1777)
    (top / "etc/deep").chmod(0o750)
    (top / "usr/bin/tool").write_bytes(os.urandom(70000))
    (top / "usr/bin/tool").chmod(0o4755)
    os.link(top / "usr/bin/tool", top / "usr/bin/alias")
    os.link(top / "usr/bin/tool", top / "etc/alias")
    (top / "lib").symlink_to("usr/lib")
    (top / "etc/dangling").symlink_to("../../../../etc/passwd")
    (top / "etc/empty").touch()
    (top / "etc/owned").write_text("x")
    os.chown(top / "etc/owned", 1234567, 7654321)
    (top / ("n" * 120)).write_text("long name")
    long = top / ("d" * 100) / ("e" * 100) / ("f" * 100)
    long.mkdir(parents=True)
    (long / "file").write_text("long path")
    Path(os.fsdecode(bytes(top) + b"/etc/not-utf8-\xff\xfe")).write_text("odd")
    (top / "etc/newline\nand space").write_text("odd")
    os.mkfifo(top / "etc/fifo")
    os.mknod(top / "etc/null", 0o20666, os.makedev(1, 3))
    os.mknod(top / "etc/block", 0o60660, os.makedev(7, 200))
    (top / "etc/attributes").write_text("x")
    os.setxattr(top / "etc/attributes", "user.raw", b"\x00\xff\n=1 \x80")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(top / "usr/bin/tool", "security.capability", capability)
    os.setxattr(top / "etc/deep", "user.directory", b"d")
    os.utime(top / "etc/owned", (1, 1))
    os.utime(top / "etc/empty", ns=(0, 1700000000_999999999))
    return top


class Storage:
    """A containers-storage of its own (vfs), for podman, buildah and skopeo."""

    def __init__(self, path: Path) -> None:
        self.options: list[str | Path] = [
            "--root",
            path / "root",
            "--runroot",
            path / "run",
            "--storage-driver",
            "vfs",
        ]
        self.place = f"[vfs@{path / 'root'}+{path / 'run'}]"

    def buildah(self, *command: str | Path) -> str:
        return run("buildah", *self.options, *command)

    def podman(self, *command: str | Path) -> str:
        return run("podman", *self.options, *command)

    def image(self, name: str, steps: Sequence[Callable[[Path], object]]) -> Path:
        """An image of as many layers as there are steps, each of which edits the mounted root filesystem.

        Returns:
            The mounted root filesystem of a container of the image, which lives as long as the storage.
        """
        base = "scratch"
        for step in steps:
            container = self.buildah("from", base).strip()
            step(Path(self.buildah("mount", container).strip()))
            self.buildah("umount", container)
            self.buildah("commit", "--quiet", container, name)
            self.buildah("rm", container)
            base = name
        return Path(self.buildah("mount", self.buildah("from", base).strip()).strip())
