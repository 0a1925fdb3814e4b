"""os-release, users and groups, machine ids, kernels: images with the fault, and without."""

from __future__ import annotations

import pytest

from rechunk_podman.lint.checks import Severity
from support.linting import found, labelled, make

GOOD_RELEASE = {"usr/lib/os-release": "ID=x\n", "etc/os-release": "->../usr/lib/os-release"}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"etc/os-release": "ID=x\n"}, "no /usr/lib/os-release"),
        ({"usr/lib/os-release": "->../../etc/os-release", "etc/os-release": "ID=x\n"}, "is a symlink to"),
        ({"usr/lib/os-release": "ID=x\n", "etc/os-release": "->/usr/lib/os-release"}, "leads to /usr/lib"),
        ({"usr/lib/os-release": "ID=x\n", "etc/os-release": "ID=x\n"}, "is no symlink"),
        ({"usr/lib/os-release": "ID=x\n"}, "no /etc/os-release"),
    ],
)
def test_os_release_where_early_boot_does_not_find_it(tmp_path, files, says):
    results = found(make(tmp_path, files), "os-release", bootable=True)
    assert results[0].severity is Severity.ERROR
    assert any(says in result.finding.message for result in results)
    assert found(tmp_path, "os-release", bootable=False) == []


def test_os_release_in_its_place(tmp_path):
    assert found(make(tmp_path, GOOD_RELEASE), "os-release", bootable=True) == []


def test_an_image_without_an_operating_system_needs_no_os_release(tmp_path):
    assert found(make(tmp_path, {"app": "x"}), "os-release") == []
    assert found(tmp_path, "os-release", bootable=True)[0].severity is Severity.ERROR


USERS = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    "etc/group": "root:x:0:\nwheel:x:10:\naudio:x:63:\nkvm:x:36:\n",
}


def test_groups_without_their_twins(tmp_path):
    make(tmp_path, USERS)
    (result,) = found(tmp_path, "users-and-groups", record=labelled(containers_bootc="1"))
    assert "/etc/group has no twin /usr/lib/group: audio, kvm" in result.finding.message
    assert result.severity is Severity.WARNING
    (result,) = found(tmp_path, "users-and-groups", record=labelled(ostree_commit="0"))
    assert result.severity is Severity.ERROR


def test_altfiles_make_missing_twins_an_error(tmp_path):
    make(tmp_path, {**USERS, "etc/nsswitch.conf": "group: files [SUCCESS=merge] altfiles systemd\n"})
    assert found(tmp_path, "users-and-groups", bootable=True)[0].severity is Severity.ERROR


def test_a_twin_that_lacks_a_group(tmp_path):
    make(tmp_path, {**USERS, "usr/lib/group": "audio:x:63:\n", "usr/lib/passwd": ""})
    (result,) = found(tmp_path, "users-and-groups", bootable=True)
    assert result.finding.message.endswith("lacks what /etc/group has: kvm")
    assert result.severity is Severity.WARNING


def test_users_and_groups_with_their_twins(tmp_path):
    make(tmp_path, {**USERS, "usr/lib/group": "audio:x:63:\nkvm:x:36:\n", "usr/lib/passwd": ""})
    assert found(tmp_path, "users-and-groups", bootable=True) == []


def test_an_application_image_needs_no_twins(tmp_path):
    assert found(make(tmp_path, USERS), "users-and-groups") == []


@pytest.mark.parametrize("path", ["etc/machine-id", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed"])
def test_the_identity_of_a_machine(tmp_path, path):
    make(tmp_path, {path: "0123456789abcdef0123456789abcdef\n"})
    (result,) = found(tmp_path, "machine-id", bootable=True)
    assert result.finding.paths == (path,)
    assert result.severity is Severity.ERROR
    assert found(tmp_path, "machine-id")[0].severity is Severity.WARNING


@pytest.mark.parametrize("text", ["", "uninitialized\n"])
def test_no_identity_yet(tmp_path, text):
    make(tmp_path, {"etc/machine-id": text, "var/lib/dbus/machine-id": "->/etc/machine-id"})
    assert found(tmp_path, "machine-id", bootable=True) == []


def kernel(version: str) -> dict[str, str]:
    return {
        f"usr/lib/modules/{version}/vmlinuz": "k",
        f"usr/lib/modules/{version}/kernel/fs/ext4.ko": "m",
    }


def test_two_kernels(tmp_path):
    make(tmp_path, kernel("6.1.0") | kernel("6.2.0"))
    (result,) = found(tmp_path, "kernels", bootable=True)
    assert result.finding.message == "2 kernels: 6.1.0, 6.2.0"
    assert result.severity is Severity.ERROR
    assert found(tmp_path, "kernels") == []


def test_modules_of_a_kernel_that_is_gone(tmp_path):
    make(tmp_path, kernel("6.1.0") | {"usr/lib/modules/6.0.0/extra/x.ko": "m"})
    (result,) = found(tmp_path, "kernels", bootable=True)
    assert "6.0.0" in result.finding.message
    assert result.severity is Severity.WARNING


def test_one_kernel_or_none(tmp_path):
    assert found(make(tmp_path / "one", kernel("6.1.0")), "kernels", bootable=True) == []
    assert found(make(tmp_path / "none", {"usr/lib/x": ""}), "kernels", bootable=True) == []


def test_a_label_of_a_kernel_that_is_not_there(tmp_path):
    make(tmp_path, kernel("6.2.0"))
    (result,) = found(tmp_path, "kernel-label", record=labelled(ostree_linux="6.1.0"))
    assert "names 6.1.0, which has no modules; there is 6.2.0" in result.finding.message
    assert result.severity is Severity.ERROR


def test_a_label_of_a_kernel_without_modules(tmp_path):
    make(tmp_path, {"usr/lib/modules/6.1.0/vmlinuz": "k"})
    (result,) = found(tmp_path, "kernel-label", record=labelled(ostree_linux="6.1.0"))
    assert result.severity is Severity.WARNING


def test_a_label_of_the_kernel_that_is_there(tmp_path):
    make(tmp_path, kernel("6.1.0"))
    assert found(tmp_path, "kernel-label", record=labelled(ostree_linux="6.1.0")) == []
    assert found(tmp_path, "kernel-label") == []
