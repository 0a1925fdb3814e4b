"""Helpers of the tests of pushing: small images, the requests that reached a registry, its content."""

from __future__ import annotations

import hashlib
import io
import random
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support import tools

PARTS = 8
CHANGED = 3
_FETCHED = re.compile(r'"GET /v2/[^ ]*/blobs/(sha256:[0-9a-f]{64}) [^"]*" 200 (\d+) ')


def small_tar(path: Path, seed: int) -> Path:
    """A root filesystem of PARTS files of a megabyte; another seed changes one of them."""
    with tarfile.open(path, "w") as archive:
        for number in range(PARTS):
            own = seed if number == CHANGED else 0
            data = random.Random(f"{number}-{own}").randbytes(1 << 20)
            member = tarfile.TarInfo(f"opt/part{number}/data.bin")
            member.size, member.mode, member.mtime = len(data), 0o644, 1_700_000_000
            archive.addfile(member, io.BytesIO(data))
    return path


@dataclass(frozen=True)
class Pushed:
    """An image that `split --push` pushed. reference: without transport; pinned: by digest."""

    source: str
    compression: str
    reference: str
    digest: str

    @property
    def pinned(self) -> str:
        """The same by digest."""
        return f"{self.reference.rpartition(':')[0]}@{self.digest}"


class Uploads:
    """The uploads to a registry since this object was made, from its log and from the blobs it stores."""

    def __init__(self, registry: tools.Registry) -> None:
        self.registry = registry
        self.lines = len(registry.log.read_text().splitlines())
        self.before = self.stored()

    def stored(self) -> set[str]:
        """The digests of all blobs in the registry."""
        found = (self.registry.log.parent / "content").glob("docker/registry/v2/blobs/sha256/*/*")
        return {f"sha256:{path.name}" for path in found}

    @property
    def new(self) -> set[str]:
        """Digests that came in."""
        return self.stored() - self.before

    def requests(self, pattern: str) -> int:
        """Return the number of requests in the log that match `METHOD /path`."""
        lines = self.registry.log.read_text().splitlines()[self.lines :]
        return sum(bool(re.search(rf'"{pattern}[^"]* HTTP/1.1" 2', line)) for line in lines)


@contextmanager
def fetched(registry: tools.Registry) -> Iterator[list[tuple[str, int]]]:
    """Yield a list that holds (digest, bytes) of the blobs that were fetched in the context, after it."""
    lines = len(registry.log.read_text().splitlines())
    found: list[tuple[str, int]] = []
    yield found
    new = registry.log.read_text().splitlines()[lines:]
    found += [(match[1], int(match[2])) for line in new if (match := _FETCHED.search(line))]


@dataclass
class Client:
    """A storage of its own that pulls, and counts from the registry's log what it fetched."""

    storage: tools.Storage
    registry: tools.Registry

    def pull(self, reference: str) -> dict[str, int]:
        """Digest -> bytes of the blobs that were fetched for it."""
        with fetched(self.registry) as found:
            self.storage.run("podman", "pull", "--quiet", "--tls-verify=false", reference)
        return dict(found)


def push(storage: tools.Storage, image: str, *options: object, check: bool = True) -> tools.Done:
    """Runs split --push without TLS."""
    words = [str(option) for option in options]
    return storage.rechunk("split", image, "--tls-verify=false", *words, check=check)


def document(reference: str, *options: str) -> bytes:
    """A document of an image in a registry, verbatim."""
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", *options, f"docker://{reference}"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def digest_of(reference: str) -> str:
    """The digest of what a reference names now."""
    return "sha256:" + hashlib.sha256(document(reference)).hexdigest()


def same_files(storage: tools.Storage, image: str, reference: str, folder: Path) -> None:
    """The image in the registry is sound, and holds what the one in storage does."""
    layout = folder / "pulled"
    storage.run(
        *("skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", "--src-tls-verify=false"),
        *(f"docker://{reference}", f"oci:{layout}"),
    )
    storage.rechunk("validate", f"oci:{layout}")
    storage.rechunk("verify", f"containers-storage:{image}", f"oci:{layout}")
    shutil.rmtree(layout)
