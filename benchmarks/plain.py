"""Images in the layers that users build: a base, packages on top of it, configuration on top of these.

A small server of Debian's packages, and the rpm test image (tests/images/rpm.py), of two moments each. The
base is the same system without the further packages: of Debian another bootstrap, of the rpm image what is
left after `rpm --erase`. A rebuild makes every layer anew, as in practice: what is generated has its time.
"""

from __future__ import annotations

import filecmp
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from images import debian, rpm
from images.cache import cached, call, need, unpack

VERSION = "3"
KINDS = ("debian", "rpm")

#: Of the Debian image: more source packages than 120 layers hold one each.
SERVER = (
    *debian.PACKAGES,
    *(
        "curl",
        "dbus",
        "git",
        "gnupg",
        "less",
        "man-db",
        "nginx",
        "openssh-server",
        "php-cli",
        "python3-requests",
    ),
    *("python3-yaml", "rsync", "ruby", "sqlite3", "systemd", "tmux", "vim"),
)

#: Of both images: (as released, with updates), and when its configuration was copied in (epoch seconds).
MOMENTS = {"debian": debian.MOMENTS, "rpm": rpm.MOMENTS}
BUILT = (1_700_000_000, 1_700_604_800)

CONFIGURATION = {
    "etc/app/app.conf": "listen = 8080\nworkers = 4\n",
    "etc/sysctl.d/90-app.conf": "net.core.somaxconn = 1024\n",
    "usr/local/bin/app": "#!/bin/sh\nexec python3 -m http.server 8080\n",
}


@dataclass(frozen=True)
class Image:
    """Tar files: the layers as built, the lowest first, and all of it in one."""

    layers: tuple[Path, ...]
    whole: Path


def image(kind: str, number: int) -> Image:
    """Return one of the images; it is built once and kept.

    Args:
        kind: one of KINDS. number: 0 as released, 1 with updates.

    Raises:
        MissingTool: mmdebstrap, rpm or tar is not installed.
    """
    full, base = _SOURCES[kind]
    moment = MOMENTS[kind][number]

    def build(folder: Path) -> None:
        need("mmdebstrap", "rpm", "tar")
        lower, upper = folder / "lower", folder / "upper"
        full(moment, upper)
        base(moment, lower)
        pack_paths(lower, folder / "1-base.tar", (path for path, _ in walk(lower)))
        pack_paths(upper, folder / "2-packages.tar", _changes(lower, upper))
        for whiteout in [*upper.rglob(".wh.*")]:
            whiteout.unlink()
        _configure(upper, BUILT[number])
        paths = sorted({parent for path in CONFIGURATION for parent in with_parents(path)})
        pack_paths(upper, folder / "3-configuration.tar", paths)
        pack_paths(upper, folder / "whole.tar", (path for path, _ in walk(upper)))
        call("rm", "-rf", lower, upper)

    folder = cached(f"plain-{kind}-{moment}", f"{VERSION}-{debian.VERSION}-{rpm.VERSION}", build)
    return Image(tuple(sorted(folder.glob("?-*.tar"))), folder / "whole.tar")


def _debian(moment: str, root: Path, packages: tuple[str, ...]) -> None:
    sources = [f"deb {debian.MIRROR} {debian.SUITE} main"]
    if moment == "updated":
        sources.append(f"deb {debian.MIRROR} {debian.SUITE}-updates main")
        sources.append(f"deb {debian.SECURITY_MIRROR} {debian.SUITE}-security main")
    debian.bootstrap(root, debian.SUITE, packages, sources)


def _rpm_base(moment: str, root: Path) -> None:
    """The packages of Debian's base have the same names there."""
    kept = {"setup", "filesystem"}
    for archive in image("debian", 0).layers[:1]:
        status = call("tar", "--extract", "--to-stdout", "--file", archive, "var/lib/dpkg/status")
        kept |= {line.split()[1] for line in status.splitlines() if line.startswith("Package: ")}
    unpack(rpm.tar(moment), root)
    command = ("rpm", f"--root={root}", f"--define=_dbpath {rpm.DBPATH}")
    further = sorted(set(call(*command, "-qa", "--queryformat=%{NAME}\n").split()) - kept)
    call(*command, "--erase", "--nodeps", "--noscripts", *further)


_SOURCES: dict[str, tuple[Callable[[str, Path], None], Callable[[str, Path], None]]] = {
    "debian": (
        lambda moment, root: _debian(moment, root, SERVER),
        lambda moment, root: _debian(moment, root, ("apt",)),
    ),
    "rpm": (lambda moment, root: unpack(rpm.tar(moment), root), _rpm_base),
}


def _changes(lower: Path, upper: Path) -> Iterator[str]:
    """Paths that differ in `upper`, with their directories; a whiteout, made here, for what is gone."""
    told: set[str] = set()
    for path, status in walk(upper):
        if not _same(lower / path, upper / path, status):
            yield from (parent for parent in with_parents(path) if parent not in told)
            told.update(with_parents(path))
    for path, _ in walk(lower):
        parent, _, name = path.rpartition("/")
        if not os.path.lexists(upper / path) and (upper / parent).is_dir():
            whiteout = f"{parent}/.wh.{name}".lstrip("/")
            (upper / whiteout).touch()
            yield from (other for other in with_parents(whiteout) if other not in told)
            told.update(with_parents(whiteout))


def walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    for folder, directories, files in os.walk(root):
        directories.sort()
        for name in sorted([*directories, *files]):
            full = os.path.join(folder, name)
            yield os.path.relpath(full, root), os.lstat(full)


def _same(old: Path, new: Path, status: os.stat_result) -> bool:
    try:
        before = old.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    compared = ("st_mode", "st_uid", "st_gid", "st_rdev", "st_mtime_ns")
    if any(getattr(before, name) != getattr(status, name) for name in compared):
        return False
    if stat.S_ISLNK(status.st_mode):
        return old.readlink() == new.readlink()
    return not stat.S_ISREG(status.st_mode) or filecmp.cmp(old, new, shallow=False)


def with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]


def pack_paths(root: Path, archive: Path, paths: Iterable[str]) -> None:
    """Pack these paths like images.cache.pack, without sparse files: storage cannot export them."""
    listing = archive.with_suffix(".list")
    listing.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in paths))
    options = (
        "--format=posix",
        "--pax-option=delete=atime,delete=ctime",
        "--numeric-owner",
        "--no-recursion",
    )
    xattrs = ("--xattrs", "--xattrs-include=*", "--xattrs-exclude=trusted.*")
    call(
        *("tar", "--create", *options, *xattrs, "--file", archive, "--directory", root),
        *("--null", "--files-from", listing),
    )
    listing.unlink()


def _configure(root: Path, when: int) -> None:
    for name, text in CONFIGURATION.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if text.startswith("#!") else 0o644)
        os.utime(file, (when, when))
