"""Files that boot: the seal of a unified kernel image, and what makes an initramfs new at every build.

Sources: os-release(5); dracut(8) (--reproducible) and dracut's module dracut-systemd (it copies the fields of
os-release into initrd-release); mkinitramfs(8) (SOURCE_DATE_EPOCH); bootc's documentation ("composefs
backend").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rechunk_podman.boot.initramfs import INITRAMFS, Initramfs, read_initramfs
from rechunk_podman.boot.streams import Read
from rechunk_podman.boot.uki import DIRECTORIES, UKI, read_uki
from rechunk_podman.explain.inspect import describe
from rechunk_podman.lint.checks import Check, Facts, Finding, Severity, Subject
from rechunk_podman.units import human_size, plural

_BELOW = tuple(f"{directory}/" for directory in DIRECTORIES)

_RELEASE = re.compile(r"(?:usr/lib|etc)/(?:os|initrd)-release\Z")
_IDS = ("OSTREE_VERSION", "IMAGE_VERSION", "BUILD_ID", "VERSION")
_FIELD = re.compile(rf"^({'|'.join(_IDS)}|VERSION_ID)=[\"']?([^\"'\n]*)", re.MULTILINE)
_OF_DRACUT = re.compile(r"(?<!\s)\s*\bdracut-\S+")
_NUMBER = 4
"""Digits, besides those of VERSION_ID, of a VERSION that has the number or the date of a build."""
_LONG = 6
"""Characters of the shortest version that is searched for in other files."""

_SPAN = 3600
"""Seconds within which the members of an initramfs are made."""
_TIMES = 3
"""Different times within them that set times do not have."""


def is_boot_file(path: str) -> bool:
    """Return True if a file of this path may be an initramfs or a UKI."""
    return path.startswith(_BELOW) and bool(INITRAMFS.match(path) or UKI.match(path))


def facts_of_boot_file(path: str, read: Read) -> Facts | None:
    """Return the Facts of a file for which is_boot_file() is True, by a function that reads from it."""
    if INITRAMFS.match(path):
        found = read_initramfs(read)
        return Facts(initramfs=found) if found.members or found.fault else None
    uki = read_uki(read, with_initramfs=True)
    if uki is None or (uki.seal is None and uki.initramfs is None):
        return None
    return Facts(initramfs=uki.initramfs, seal=uki.seal)


def _sealed(subject: Subject) -> Iterator[Finding]:
    derived = subject.record is not None and describe(subject.record).derived
    for path, facts in subject.facts.items():
        if facts.seal is None:
            continue
        message = f"/{path} boots with {facts.seal[:40]}{'…' if len(facts.seal) > 40 else ''}"
        if derived:
            yield Finding(f"{message}, in a layer above those of a split", (path,), Severity.NOTE)
        else:
            yield Finding(message, (path,))


def _archives(subject: Subject) -> Iterator[tuple[str, Initramfs]]:
    for path, facts in subject.facts.items():
        if facts.initramfs is not None and path in subject.tree:
            yield path, facts.initramfs


def _damaged(subject: Subject) -> Iterator[Finding]:
    for path, archive in _archives(subject):
        if archive.fault is not None:
            rest = f"only {plural(len(archive.members), 'member')}" if archive.members else "nothing"
            yield Finding(f"/{path}: {rest} could be read: {archive.fault}", (path,))


def _versions(text: str) -> dict[str, str]:
    """Return the fields of an os-release that are others at every build."""
    fields = {key: _OF_DRACUT.sub("", value).strip() for key, value in _FIELD.findall(text)}
    of_release = fields.pop("VERSION_ID", "")
    found = {}
    for key, value in fields.items():
        rest = value.removeprefix(of_release) if key == "VERSION" else value
        digits = sum(character.isdigit() for character in rest)
        if digits >= (_NUMBER if key == "VERSION" else 1) and value != of_release:
            found[key] = value
    return found


def _version(subject: Subject) -> Iterator[Finding]:
    own: dict[str, str] = {}
    for path in ("usr/lib/os-release", "etc/os-release"):
        own |= _versions(subject.text(path) or "")
    for path, archive in _archives(subject):
        holders = _holders(archive, own)
        if holders:
            shown = "; ".join(f"{name} ({what})" for name, what in list(holders.items())[:4])
            more = f" and {len(holders) - 4} more" if len(holders) > 4 else ""
            size = human_size(subject.tree[path].size)
            yield Finding(f"/{path}, {size}, holds the version of the image: {shown}{more}", (path,))


def _holders(archive: Initramfs, own: Mapping[str, str]) -> dict[str, str]:
    """Return member -> the fields of an os-release, with their values, that it holds."""
    found = {}
    known = dict(own)
    for name, data in archive.texts.items():
        if _RELEASE.match(name) and (versions := _versions(data.decode("utf-8", "replace"))):
            found[name] = ", ".join(f"{key}={value}" for key, value in versions.items())
            known = {**versions, **known}
    literals = {value.encode(): f"{key}={value}" for key, value in known.items() if len(value) >= _LONG}
    for name, data in archive.texts.items():
        held = [what for literal, what in literals.items() if literal in data] if name not in found else []
        if held:
            found[name] = ", ".join(held)
    return found


def _reproducible(subject: Subject) -> Iterator[Finding]:
    for path, archive in _archives(subject):
        faults = list(_of_the_build(archive))
        if faults:
            yield Finding(f"/{path} holds {', '.join(faults)}", (path,))


def _of_the_build(archive: Initramfs) -> Iterator[str]:
    members = archive.members
    newest = max((member.mtime for member in members.values()), default=0)
    recent = [member.mtime for member in members.values() if newest - member.mtime < _SPAN]
    if len(set(recent)) >= _TIMES:
        yield f"the times at which {plural(len(recent), 'member')} were made"
    if any(member.dev != (0, 0) or member.ino > len(members) * 2 for member in members.values()):
        yield "inode numbers of the file system in which it was made"
    ids = [name for name in ("etc/machine-id", "var/lib/dbus/machine-id") if name in archive.texts]
    if any(archive.texts[name].strip() not in (b"", b"uninitialized") for name in ids):
        yield "the id of a machine"


CHECKS = (
    Check(
        "sealed",
        Severity.WARNING,
        "no unified kernel image is sealed before the image is split",
        "composefs= on its command line is a digest of all files with their metadata and times: an image "
        "that is split afterwards does not boot. `split` and `build` refuse it.",
        "split first, then seal: make the UKI from the split image, and add it as a layer on top "
        "(docs/sealed.md has the Containerfile); or leave it out: --prune /boot/EFI",
        _sealed,
    ),
    Check(
        "initramfs-damaged",
        Severity.WARNING,
        "an initramfs can be read to its end",
        "The kernel unpacks no more of it than can be read here: what is cut off, damaged or compressed in a "
        "form that it does not know is missing at boot. The other checks see nothing of the rest.",
        "make it anew, and look for a full disk or an error of dracut or mkinitramfs in the log of the build",
        _damaged,
    ),
    Check(
        "initramfs-version",
        Severity.WARNING,
        "no version of the image in its initramfs",
        "The initramfs, often hundreds of MB with its modules and firmware, is another one at every build, "
        "though nothing in it changed, and each update downloads it.",
        "write the version into os-release after the initramfs is made (the last step of the build), or take "
        "the fields out while dracut runs: sed -i '/^\\(BUILD_ID\\|IMAGE_VERSION\\|OSTREE_VERSION\\)=/d' "
        "/usr/lib/os-release",
        _version,
    ),
    Check(
        "initramfs-reproducible",
        Severity.WARNING,
        "an initramfs made of the same files is the same",
        "Times, inode numbers and ids of the build make it another one each time, and each update downloads "
        "it.",
        "export SOURCE_DATE_EPOCH for dracut --reproducible (or reproducible=yes in /etc/dracut.conf.d), or "
        "for mkinitramfs; truncate -s 0 /etc/machine-id before",
        _reproducible,
    ),
)
