"""The limit of an update's download."""

from __future__ import annotations

import re

import pytest

from rechunk_podman.explain.download import Update, compare
from rechunk_podman.explain.inspect import describe
from rechunk_podman.explain.limit import UpdateTooLargeError, require_at_most
from support.described import NOW, Content, component, image, layer, ledger_of

GLIBC, BASH = component("rpm/glibc", "1", "2.39-1"), component("rpm/bash", "1", "5.2-1")
TOOL, LIB = component("rpm/tool", "1", "1"), component("rpm/lib", "1", "1")


def update(before: list[Content], after: list[Content], *, manifest: bool = True) -> Update:
    first = ledger_of(before)
    old = image(*before, ledger=first, name="old")
    new = image(*after, ledger=ledger_of(after, first, NOW + 1), name="new", manifest=manifest)
    return compare(describe(old), describe(new))


def causes(found: Update) -> list[str]:
    with pytest.raises(UpdateTooLargeError) as raised:
        require_at_most(found, found.downloaded - 1)
    require_at_most(found, found.downloaded)
    return list(raised.value.context)


def test_the_largest_causes_are_named():
    """The error names changed and removed components, and layers that were only packed or compressed anew."""
    before = [layer(GLIBC, BASH), layer(TOOL, LIB), layer(component("rpm/a", "1", "1"))]
    after = [
        layer(component("rpm/glibc", "2", "2.39-2"), size=5000),
        layer(BASH, size=3000),
        layer(TOOL, size=2000),
        layer(component("rpm/a", "1", "1"), blob="gzip", size=4000),
    ]
    assert causes(update(before, after)) == [
        "5.0 kB, layer 1: rpm/glibc 2.39-1 → 2.39-2",
        "4.0 kB, layer 4: compressed anew",
        "3.0 kB, layer 2: packed anew: rpm/bash",
    ]
    assert causes(update(before[1:2], after[2:3])) == ["2.0 kB, layer 1: rpm/lib (removed)"]


def test_a_layer_of_many_changes():
    many = [component(f"rpm/p{number}", "1", "1") for number in range(5)]
    changed = [component(f"rpm/p{number}", "2", "2") for number in range(5)]
    (line,) = causes(update([layer(*many)], [layer(*changed)]))
    assert re.search(r"layer 1: rpm/p0 1 → 2, rpm/p1 1 → 2, rpm/p2 1 → 2 and 2 more$", line)


def test_an_unknown_download_is_not_let_pass():
    """Without a manifest there are no sizes: a gate that counts nothing would let everything pass."""
    found = update([layer(GLIBC)], [layer(component("rpm/glibc", "2", "2"))], manifest=False)
    assert found.downloaded == 0
    with pytest.raises(UpdateTooLargeError, match="1 layer of new without a size"):
        require_at_most(found, 1_000_000)
