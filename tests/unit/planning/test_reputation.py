"""Reputation: what a name tells of a package's pace, in the spelling of any distribution."""

from __future__ import annotations

from collections import Counter

import pytest

from rechunk_podman.model import Component, ComponentId
from rechunk_podman.planning import reputation as table
from rechunk_podman.planning.families import family, stateless_layers
from rechunk_podman.planning.rates import FIRST_RATE, first_rate
from rechunk_podman.planning.reputation import BUSY, CALM, LIVELY, ORDINARY, STILL, reputation


@pytest.mark.parametrize(
    ("name", "pace"),
    [
        ("linux", BUSY),
        ("python3.13", BUSY),
        ("php83", BUSY),
        ("php83-pecl-redis", LIVELY),
        ("libxml2", LIVELY),
        ("gnutls28", LIVELY),
        ("python-urllib3", LIVELY),
        ("py3-requests", LIVELY),
        ("gst-plugins-base1.0", LIVELY),
        ("NetworkManager", LIVELY),
        ("pcre2", CALM),
        ("liburi-perl", CALM),
        ("perl-URI", CALM),
        ("google-noto-fonts", STILL),
        ("libxcb", STILL),
        ("acl", STILL),
        ("something-of-our-own", ORDINARY),
        ("4", ORDINARY),
    ],
)
def test_names_in_the_spelling_of_any_distribution(name: str, pace: float) -> None:
    assert reputation(ComponentId("dpkg", name)) == pace


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("unclaimed", "linux"),
        ("python", "usr/requests"),
        ("node", "srv/app/curl"),
        ("flatpak", "app/org.mozilla.firefox/firefox"),
        ("images", "quay.io/org/firefox"),
        ("map", "firefox"),
        ("groups", "mesa"),
        ("xattr", "fonts"),
        ("bigfiles", "srv/linux"),
    ],
)
def test_only_packages_of_systems_have_a_reputation(source: str, name: str) -> None:
    assert reputation(ComponentId(source, name)) == ORDINARY


@pytest.mark.parametrize("source", ["flatpak", "images", "map", "groups", "xattr", "bigfiles", "node"])
def test_what_is_assumed_of_components_without_a_table(source: str) -> None:
    """The pace of an ordinary package, unless the owner gives an interval; no name makes a family."""
    ident = ComponentId(source, "app/firefox")
    assert first_rate(Component(ident, 1, b"")) == FIRST_RATE
    assert first_rate(Component(ident, 1, b"", interval=14.0)) == 0.5
    assert family(ident) == f"{source}/app/firefox"


def test_every_name_stands_in_the_table_once_and_in_lower_case() -> None:
    names = Counter(
        name for text in (table._BUSY, table._LIVELY, table._CALM, table._STILL) for name in text.split()
    )
    assert [name for name, count in names.items() if count > 1] == []
    assert [name for name in names if name != name.lower()] == []


def test_without_memory_the_small_and_busy_stay_away_from_the_large_and_still() -> None:
    busy = [Component(ComponentId("rpm", name), 90_000, b"") for name in ("curl", "vim", "openssl", "bind")]
    still = [Component(ComponentId("rpm", f"font{n}-fonts"), 2_000_000 + n, b"") for n in range(60)]
    for group in stateless_layers([*busy, *still], 12):
        assert len({component in busy for component in group}) == 1
