"""A real rpm-based root filesystem, and an update of it, without an rpm distribution at hand.

The content is that of the Debian image (debian.py): every Debian source package becomes an rpm source package
with the same binary packages, files, owners, modes, capabilities, config files and changelog, built by
rpmbuild and installed by `rpm --root`. What no package owns in the result is a handful of files.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from images import debian
from images.cache import cached, call, need, pack, unpack
from images.rpmspec import SourcePackage, read_sources, spec

VERSION = "2"
DBPATH = "/usr/lib/sysimage/rpm"

#: `base`: the first image; `update`: the same root after `rpm --upgrade` of one source package.
MOMENTS = ("base", "update")

#: The source that the update brings in a new version: the first of which the Debian updates have another one.
UPDATED = ("openssl", "perl", "xz-utils", "expat", "tzdata", "ca-certificates", "python3.11")

#: Debian's own tools mean nothing in an rpm image; their files are left out.
LEFT_OUT = frozenset(
    {"apt", "dpkg", "debian-archive-keyring", "debconf", "debianutils", "base-files", "base-passwd"}
)


def tar(moment: str) -> Path:
    """The root filesystem as a tar file, ready to import.

    Args:
        moment: one of MOMENTS.

    Raises:
        MissingTool: rpm, rpmbuild, tar or mmdebstrap is not installed.
    """
    if moment not in MOMENTS:
        raise ValueError(f"not a moment: {moment}")
    return folder() / f"{moment}.tar"


def tar_with_engines() -> Path:
    """The first image with podman, buildah and skopeo, made of debian.tar_with_engines(), as a tar file.

    Raises:
        MissingTool: as tar().
    """

    def build(target: Path) -> None:
        need("rpm", "rpmbuild", "tar", "getcap")
        work = target / "work"
        try:
            _install(debian.tar_with_engines(), work)
            pack(work / "root", target / "base.tar")
        finally:
            shutil.rmtree(work, ignore_errors=True)

    return cached("rpm-engines", f"{VERSION}-{debian.VERSION}", build) / "base.tar"


def updated_source() -> str:
    """The name of the source package that differs between the two moments."""
    return (folder() / "updated").read_text().strip()


def folder() -> Path:
    """The cached folder of both moments: base.tar, update.tar and `updated`."""

    def build(target: Path) -> None:
        need("rpm", "rpmbuild", "tar", "getcap")
        before, after = debian.tar("release"), debian.tar("updated")
        work = target / "work"
        try:
            _build(target, work, before, after)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    return cached("rpm", f"{VERSION}-{debian.VERSION}", build)


def _build(target: Path, work: Path, before: Path, after: Path) -> None:
    sources = _install(before, work)
    root = work / "root"
    pack(root, target / "base.tar")

    newer = work / "newer"
    unpack(after, newer)
    latest = {source.name: source for source in read_sources(newer)}
    name = next((n for n in UPDATED if n in sources and latest[n].version != sources[n].version), None)
    if name is None:
        raise RuntimeError(f"none of {', '.join(UPDATED)} has an update in {debian.SUITE}")
    update = work / "rpms-update"
    _rpmbuild(latest[name], newer, work, update)
    shutil.rmtree(newer)
    (target / "updated").write_text(name + "\n")
    _rpm(root, "--upgrade", *sorted(update.glob("**/*.rpm")))
    _finish(root)
    pack(root, target / "update.tar")


def _install(origin_tar: Path, work: Path) -> dict[str, SourcePackage]:
    """Make rpms of a Debian's packages, and `work`/root, where they are installed. Return the sources."""
    origin, root, rpms = work / "origin", work / "root", work / "rpms-base"
    unpack(origin_tar, origin)
    sources = {source.name: source for source in read_sources(origin) if source.name not in LEFT_OUT}
    _setup_files(origin)
    for source in (*sources.values(), *_filesystem(origin)):
        _rpmbuild(source, origin, work, rpms)
    shutil.rmtree(origin)
    root.mkdir()
    rest = set(rpms.glob("**/*.rpm"))
    for first in ("setup", "filesystem"):
        (package,) = rpms.glob(f"**/{first}-1-1.*.rpm")
        _rpm(root, "--install", package)
        rest.remove(package)
    _rpm(root, "--install", *sorted(rest))
    _finish(root)
    return sources


def _rpm(root: Path, action: str, *packages: Path) -> None:
    call(
        "rpm",
        f"--root={root}",
        f"--define=_dbpath {DBPATH}",
        action,
        "--nosignature",
        "--nodeps",
        "--noscripts",
        *packages,
        env={"SOURCE_DATE_EPOCH": "1700000000"},
    )


def _rpmbuild(source: SourcePackage, root: Path, work: Path, target: Path) -> None:
    """Builds the binary packages of one source straight from `root`, which stands in for its %install."""
    file = work / f"{source.name}.spec"
    file.write_text(spec(source, root), errors="surrogateescape")
    call(
        "rpmbuild",
        "-bb",
        "--noclean",
        f"--buildroot={root}",
        f"--define=_topdir {work}/top",
        f"--define=_rpmdir {target}",
        "--define=_build_id_links none",
        "--define=debug_package %{nil}",
        "--define=__os_install_post %{nil}",
        "--define=__spec_install_pre %{___build_pre}",
        "--define=__check_files %{nil}",
        "--define=_binary_payload w0.gzdio",
        "--define=_buildhost builder.example.org",
        "--define=_changelog_trimage 0",
        "--define=_changelog_trimtime 0",
        "--define=use_source_date_epoch_as_buildtime 1",
        f"--define=_dbpath {work}/nodb",
        "--nodeps",
        file,
        env={"SOURCE_DATE_EPOCH": str(source.build_time)},
    )


def _setup_files(root: Path) -> None:
    """Make the files of the package `filesystem`, which stand for Debian's base packages."""
    (root / "etc/os-release").unlink(missing_ok=True)
    (root / "usr/lib/os-release").write_text('NAME="rpm test image"\nID=rechunk-test\nVERSION_ID=1\n')
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    (root / "var/lib/rpm").symlink_to("../../usr/lib/sysimage/rpm")
    (root / "usr/lib/sysimage/rpm").mkdir(parents=True)


def _filesystem(root: Path) -> list[SourcePackage]:
    """The two packages that own the skeleton: users and groups, then directories and the merged /usr."""
    links = [
        name for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32") if (root / name).is_symlink()
    ]
    directories = [
        *(
            "boot",
            "dev",
            "etc",
            "home",
            "media",
            "mnt",
            "opt",
            "proc",
            "root",
            "run",
            "srv",
            "sys",
            "tmp",
            "usr",
            "var",
        ),
        *(
            "usr/bin",
            "usr/sbin",
            "usr/lib",
            "usr/lib64",
            "usr/share",
            "usr/share/doc",
            "usr/libexec",
            "usr/local",
        ),
        *("usr/lib/sysimage", "var/lib", "var/log", "var/cache", "var/tmp", "var/mail", "var/spool"),
    ]
    for directory in directories:
        (root / directory).mkdir(exist_ok=True)
    users = ["etc/passwd", "etc/group"]
    files = ["etc/shadow", "etc/gshadow", "etc/os-release", "usr/lib/os-release", "var/log/lastlog"]
    paths = [*links, *directories, *files, "var/lib/rpm", "usr/lib/sysimage/rpm", "var/run", "var/lock"]
    when = 1700000000
    return [
        SourcePackage(
            name=name,
            version="1",
            release="1",
            build_time=when,
            changelog=((when, "Test Builder <builder@example.org>", "1-1", ("First version.",)),),
            binaries={name: tuple("/" + path for path in owned)},
            config=frozenset({"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"}),
            ghosts=frozenset({"/var/log/lastlog"}),
        )
        for name, owned in (("setup", users), ("filesystem", paths))
    ]


def _finish(root: Path) -> None:
    """Do the work of the triggers and post-install scripts of an rpm distribution."""
    call("ldconfig", "-r", root)
    for leftover in ("__db.001", "__db.002", "__db.003", ".rpm.lock"):
        (root / DBPATH.lstrip("/") / leftover).unlink(missing_ok=True)
