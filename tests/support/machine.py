"""A machine of a newer distribution, as far as a chroot is one: with buildah of at least 1.43."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support import tools

#: Everything that is mounted lies in a namespace of its own and vanishes with the command.
ENTER = """
set -eu
root=$1 share=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$share" "$root/mnt"
mount --bind "$share/containers" "$root/var/lib/containers"
mount --bind "$share/tmp" "$root/var/tmp"
mount --bind "$share/tmp" "$root/tmp"
exec chroot "$root" "$@"
"""


@dataclass(frozen=True)
class Machine:
    """The newer machine. `share`, a folder of this one, is /mnt there; its storage lasts for the session."""

    root: Path
    share: Path

    def run(self, *command: str, check: bool = True, cwd: str = "/mnt") -> tools.Done:
        """Runs a command there, as root."""
        inside = (
            *("env", "-i", f"--chdir={cwd}", "HOME=/root", "LC_ALL=C.UTF-8", "BUILDAH_ISOLATION=chroot"),
            *("PATH=/usr/sbin:/usr/bin", "PYTHONPATH=/mnt/packages", "PYTHONDONTWRITEBYTECODE=1"),
            *("CONTAINERS_CONF=/mnt/containers.conf", *command),
        )
        return tools.run(
            "unshare", "--mount", "sh", "-c", ENTER, "sh", self.root, self.share, *inside, check=check
        )

    def rechunk(self, *arguments: str, check: bool = True) -> tools.Done:
        """Runs rechunk-podman there, with that machine's Python and libraries."""
        return self.run("python3", "-m", "rechunk_podman", *arguments, check=check)

    def import_layout(self, layout: Path, name: str) -> str:
        """Copies an image from a layout below `share` into the storage there."""
        source = f"oci:/mnt/{layout.relative_to(self.share)}"
        self.run("skopeo", "--insecure-policy", "copy", "--quiet", source, f"containers-storage:{name}")
        return name


@contextmanager
def newer(root: Path, share: Path, repository: Path, *, memory: bool = True) -> Iterator[Machine]:
    """The machine, with the package of a checkout in its /mnt/packages; `share` is removed at the end.

    root: of images.forky. memory: its storage lies in a tmpfs where there is room for one.
    """
    share.mkdir(parents=True, exist_ok=True)
    if memory:
        tools.in_memory(share)
    try:
        for folder in ("containers", "tmp", "packages"):
            (share / folder).mkdir()
        (share / "tmp").chmod(0o1777)
        (share / "containers.conf").write_text(tools.CONTAINERS_CONF)
        packages = share / "packages"
        shutil.copytree(repository / "frontend/rechunk_podman", packages / "rechunk_podman")
        shutil.copytree(repository / "templates", packages / "rechunk_podman/templates")
        for helper in ("images", "support"):
            shutil.copytree(repository / "tests" / helper, packages / helper)
        yield Machine(root, share)
    finally:
        tools.remove_storage(share)
