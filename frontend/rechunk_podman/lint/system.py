"""Files that an operating system needs at their locations: os-release, users, groups, machine-id, kernels.

Sources: os-release(5); machine-id(5); nss-altfiles' README; bootc's documentation ("Users and groups",
"Generic guidance for building images"); ostree's adapting-existing.md; rpm-ostree's "treefile".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rechunk_podman.lint.checks import Check, Finding, Severity, Subject
from rechunk_podman.model import Kind
from rechunk_podman.packages.leftovers import MACHINE_IDS, machine_ids
from rechunk_podman.units import plural

_OS_RELEASE, _ETC_OS_RELEASE = "usr/lib/os-release", "etc/os-release"
_LINK = "../usr/lib/os-release"

_TWINS = ("passwd", "group")
_LOCAL = ("root", "wheel")
"""Entries that stay in /etc of an ostree system."""

_FIRST_PERSON = 1000


def _os_release(subject: Subject) -> Iterator[Finding]:
    if not subject.bootable:
        return
    vendor, local = subject.tree.get(_OS_RELEASE), subject.tree.get(_ETC_OS_RELEASE)
    if vendor is None:
        yield Finding(f"there is no /{_OS_RELEASE}", (_OS_RELEASE,))
    elif vendor.kind is not Kind.FILE:
        what = f"a symlink to {vendor.target}" if vendor.kind is Kind.SYMLINK else "no regular file"
        yield Finding(f"/{_OS_RELEASE} is {what}", (_OS_RELEASE,))
    if local is None:
        if vendor is not None:
            yield Finding(f"there is no /{_ETC_OS_RELEASE}", (_ETC_OS_RELEASE,))
    elif local.kind is not Kind.SYMLINK:
        yield Finding(f"/{_ETC_OS_RELEASE} is no symlink", (_ETC_OS_RELEASE,))
    elif local.target != _LINK:
        yield Finding(f"/{_ETC_OS_RELEASE} leads to {local.target}, not to {_LINK}", (_ETC_OS_RELEASE,))


def _entries(text: str) -> dict[str, int]:
    """Return name -> id of a passwd(5) or group(5) file."""
    found = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[0] and fields[2].isdecimal():
            found[fields[0]] = int(fields[2])
    return found


def _users_and_groups(subject: Subject) -> Iterator[Finding]:
    if not subject.bootable:
        return
    etc = "usr/etc" if "usr/etc" in subject.tree and "etc/passwd" not in subject.tree else "etc"
    altfiles = "altfiles" in (subject.text(f"{etc}/nsswitch.conf") or "")
    committed = any(label.startswith("ostree.") for label in subject.labels)
    severity = Severity.ERROR if altfiles or committed else Severity.WARNING
    for name in _TWINS:
        local, twin = subject.text(f"{etc}/{name}"), subject.text(f"usr/lib/{name}")
        if local is None:
            continue
        system = {
            entry
            for entry, number in _entries(local).items()
            if number < _FIRST_PERSON and entry not in _LOCAL
        }
        if twin is None:
            if system:
                shown = _some(sorted(system))
                yield Finding(
                    f"/{etc}/{name} has no twin /usr/lib/{name}: {shown}", (f"{etc}/{name}",), severity
                )
        elif missing := sorted(system - _entries(twin).keys()):
            message = f"/usr/lib/{name} lacks what /{etc}/{name} has: {_some(missing)}"
            yield Finding(message, (f"usr/lib/{name}",), Severity.WARNING)


def _some(names: list[str], shown: int = 8) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def _machine_id(subject: Subject) -> Iterator[Finding]:
    severity = None if subject.bootable else Severity.WARNING
    for path in machine_ids(subject.tree, subject.text):
        what = "holds the id of a machine" if path in MACHINE_IDS else "belongs to one machine"
        yield Finding(f"/{path} {what}", (path,), severity)


def _modules(subject: Subject) -> dict[str, bool]:
    """Return the version of each directory of kernel modules -> True if it contains a kernel."""
    found: dict[str, bool] = {}
    for top in ("usr/lib/modules", "lib/modules"):
        for path, entry in subject.below(top):
            version, _, rest = path[len(top) + 1 :].partition("/")
            if not rest:
                if entry.kind is Kind.DIRECTORY:
                    found.setdefault(version, False)
            elif rest == "vmlinuz":
                found[version] = True
    for path, _ in subject.below("boot"):
        match = re.fullmatch(r"boot/vmlinuz-(.+)", path)
        if match is not None:
            found[match[1]] = True
    return found


def _kernels(subject: Subject) -> Iterator[Finding]:
    if not subject.bootable:
        return
    found = _modules(subject)
    kernels = sorted(version for version, kernel in found.items() if kernel)
    if len(kernels) > 1:
        paths = tuple(f"usr/lib/modules/{version}" for version in kernels)
        yield Finding(f"{len(kernels)} kernels: {', '.join(kernels)}", paths)
    leftover = sorted(version for version, kernel in found.items() if not kernel)
    if kernels and leftover:
        paths = tuple(f"usr/lib/modules/{version}" for version in leftover)
        yield Finding(f"modules without their kernel: {', '.join(leftover)}", paths, Severity.WARNING)


def _kernel_label(subject: Subject) -> Iterator[Finding]:
    version = subject.labels.get("ostree.linux")
    if not version:
        return
    found = _modules(subject)
    if version not in found:
        there = f"; there is {', '.join(sorted(found))}" if found else ""
        yield Finding(f"the label ostree.linux names {version}, which has no modules{there}")
    elif not any(True for _ in subject.below(f"usr/lib/modules/{version}/kernel")):
        path = f"usr/lib/modules/{version}"
        yield Finding(
            f"{plural(1, 'directory')} of modules without a module: {version}", (path,), Severity.WARNING
        )


CHECKS = (
    Check(
        "os-release",
        Severity.ERROR,
        "os-release is where early boot finds it",
        "The initramfs reads /etc/os-release before anything but /usr may be there; an absolute link, or "
        "one the other way round, leads nowhere then, and the boot stops with 'os-release file is "
        "missing'.",
        "make /usr/lib/os-release a regular file, then: ln -sf ../usr/lib/os-release /etc/os-release",
        _os_release,
    ),
    Check(
        "users-and-groups",
        Severity.ERROR,
        "system users and groups have their twins in /usr/lib",
        "Tools that commit an image anew keep only root in /etc/passwd and /etc/group and look for "
        "everybody else in /usr/lib/passwd and /usr/lib/group: what is not there vanishes (audio, kvm, "
        "tty).",
        "append the system entries of /etc/passwd and /etc/group to /usr/lib/passwd and /usr/lib/group, "
        "or create them by sysusers.d and ignore this check",
        _users_and_groups,
    ),
    Check(
        "machine-id",
        Severity.ERROR,
        "no identity of one machine",
        "Every machine that is installed from the image would have the same id (DHCP leases, logs and mesh "
        "networks collide), and it is another one at every build.",
        "truncate -s 0 /etc/machine-id (or write 'uninitialized'); rm -f /var/lib/dbus/machine-id "
        "/var/lib/systemd/random-seed /var/lib/systemd/credential.secret",
        _machine_id,
    ),
    Check(
        "kernels",
        Severity.ERROR,
        "one kernel at most, and no modules without theirs",
        "ostree and bootc boot the one kernel in /usr/lib/modules and refuse several; each costs hundreds "
        "of MB.",
        "remove the other kernel packages in the layer that installs the new one, then rm -r what is left of "
        "/usr/lib/modules/VERSION",
        _kernels,
    ),
    Check(
        "kernel-label",
        Severity.ERROR,
        "the label ostree.linux names a kernel that is there",
        "The label was inherited from a base image with another kernel: clients show, and tools choose "
        "by, a version that is not in the image.",
        "label the image anew: ostree.linux=VERSION of what is in /usr/lib/modules, or drop the label",
        _kernel_label,
    ),
)
