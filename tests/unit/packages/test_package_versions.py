"""The order of versions, by the manuals and by the tools themselves."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rechunk_podman.packages.ecosystems import compare
from rechunk_podman.packages.versions import (
    MOST_VERSIONS,
    compare_dpkg,
    compare_rpm,
    join_versions,
    newest,
    rpmvercmp,
    verrevcmp,
)

RPM = [
    ("1.0", "1.0", 0),
    ("1.0", "1.1", -1),
    ("1.9", "1.10", -1),
    ("1.010", "1.10", 0),
    ("1.0", "1.0.1", -1),
    ("1.0a", "1.0", 1),
    ("1.0a", "1.0b", -1),
    ("1.0.a", "1.0.1", -1),
    ("1_0", "1.0", 0),
    ("1.0.", "1.0", 0),
    ("1.0~rc1", "1.0", -1),
    ("1.0~rc1", "1.0~rc2", -1),
    ("1.0~~", "1.0~", -1),
    ("1.0^git1", "1.0", 1),
    ("1.0^git1", "1.0.1", -1),
    ("1.0^git1~pre", "1.0^git1", -1),
    ("1.0~rc1^git1", "1.0~rc1", 1),
    ("1.0^", "1.0~", 1),
    ("20240101", "20231231", 1),
    ("9" * 5000, "1" + "0" * 5000, -1),
    ("", "1", -1),
]


@pytest.mark.parametrize(("a", "b", "expected"), RPM)
def test_rpm(a, b, expected):
    assert rpmvercmp(a, b) == expected
    assert rpmvercmp(b, a) == -expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("1:1.0-1", "2.0-1", 1),
        ("0:1.0-1", "1.0-1", 0),
        ("1.0-2.fc40", "1.0-10.fc40", -1),
        ("1.0", "1.0-1", 0),
        ("5.36.0-1.el9", "5.36.0-1.el9_1", -1),
    ],
)
def test_epoch_and_release_of_rpm(a, b, expected):
    assert compare_rpm(a, b) == expected
    assert compare_rpm(b, a) == -expected


DPKG = [
    ("1.0-1", "1.0-1", 0),
    ("1.0-1", "1.0-1+b1", -1),
    ("1.0-1+deb12u1", "1.0-1+deb12u2", -1),
    ("20230311+deb12u1", "20250419~deb12u2", -1),
    ("1.0~rc1-1", "1.0-1", -1),
    ("1.0", "1.0-0", 0),
    ("1.0", "1.0-1", -1),
    ("1.0-1-2", "1.0-1", 1),
    ("1:0.1", "9.9", 1),
    ("1.0a", "1.0+", -1),
    ("1.0", "1.0a", -1),
    ("1.9", "1.10", -1),
    ("1.01", "1.1", 0),
    ("2b", "2.1", -1),
    ("3.0.2-0+deb~1", "3.0.2-0+deb", -1),
]


@pytest.mark.parametrize(("a", "b", "expected"), DPKG)
def test_dpkg(a, b, expected):
    assert compare_dpkg(a, b) == expected
    assert compare_dpkg(b, a) == -expected


def test_the_order_that_the_manual_gives():
    parts = ["~~", "~~a", "~", "", "a"]
    for one, two in itertools.combinations(parts, 2):
        assert verrevcmp(one, two) == -1


def test_the_source_decides():
    assert compare("dpkg", "1.0+", "1.0a") == 1
    assert compare("rpm", "1.0+", "1.0a") == -1


def test_of_several_versions_the_newest_decides():
    assert compare("dpkg", "6.1.27-1 6.1.128-1", "6.1.128-1") == 0
    assert compare("dpkg", "6.1.27-1 6.1.128-1", "6.1.129-1") == -1


def test_versions_in_one_text():
    versions = ["6.1.128-1", "6.1.27-1", "", "6.1.128-1", "1:0"]
    assert join_versions(versions, compare_dpkg) == "6.1.27-1 6.1.128-1 1:0"
    assert join_versions(reversed(versions), compare_dpkg) == "6.1.27-1 6.1.128-1 1:0"
    # 1.0 and 1.00 are equal
    assert join_versions(["1.00", "1.0"], compare_rpm) == join_versions(["1.0", "1.00"], compare_rpm)
    many = join_versions(map(str, range(100)), compare_rpm)
    assert len(many.split()) == MOST_VERSIONS
    assert newest(many) == "99"
    assert join_versions([], compare_rpm) == newest("") == ""


def test_any_text_is_a_version():
    for text in ("", ":", "-", "9" * 5000 + ":1", "\udcff", "a b", "\n"):
        for other in ("1", text):
            assert compare_rpm(text, other) == -compare_rpm(other, text)
            assert compare_dpkg(text, other) == -compare_dpkg(other, text)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
def test_dpkg_says_the_same():
    versions = [
        "1.0",
        "1.0-1",
        "1.0~rc1-1",
        "1.0-1+b1",
        "1.0+dfsg-1",
        "1.0a-1",
        "1:0.9",
        "1.0.1",
        "1.00",
        "2b",
        "2.1",
    ]
    for a, b in itertools.combinations(versions, 2):
        says = next(
            number
            for relation, number in (("lt", -1), ("eq", 0), ("gt", 1))
            if subprocess.run(["dpkg", "--compare-versions", a, relation, b], check=False).returncode == 0
        )
        assert compare_dpkg(a, b) == says, (a, b)


@pytest.mark.skipif(shutil.which("rpm") is None, reason="rpm is not installed")
def test_rpm_says_the_same():
    cases = [case for case in RPM if case[0] and len(case[0]) < 100]
    calls = "".join(f'print(rpm.vercmp("{a}", "{b}") .. " ")' for a, b, _ in cases)
    done = subprocess.run(
        ["rpm", "--eval", "%{lua:" + calls + "}"], capture_output=True, text=True, check=True
    )
    assert [int(word) for word in done.stdout.split()] == [expected for _, _, expected in cases]


versions = st.text("0123456789abZ.~^+-_:", max_size=12)


@given(versions, versions, versions)
def test_an_order(a, b, c):
    assert compare_dpkg(a, b) == -compare_dpkg(b, a)
    assert compare_dpkg(a, a) == compare_rpm(a, a) == 0
    assert compare_rpm(a, b) == -compare_rpm(b, a)
    low, middle, high = sorted([a, b, c], key=_key)
    assert verrevcmp(low, middle) <= 0
    assert verrevcmp(middle, high) <= 0
    assert verrevcmp(low, high) <= 0


def _key(text):
    from functools import cmp_to_key

    return cmp_to_key(verrevcmp)(text)
