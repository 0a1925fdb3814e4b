"""Plans without memory: only the name and size of a component decide its layer.

There is no record of earlier layers, so the plan of the next image must assign components in the same way.
The largest components get layers of their own; the others are divided into classes of bytes per expected
change (names have a reputation), and in each class into bins by rendezvous hashing of their name families, so
that one more component or one more bin moves few others.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from rechunk_podman.model import Component, ComponentId
from rechunk_podman.patterns import compile_later
from rechunk_podman.planning.rates import FIRST_RATE, first_rate
from rechunk_podman.planning.reputation import PACKAGE_SOURCES

ALONE_SHARE = 0.7
"""The share of the layers that goes to the largest components."""

CLASSES = (50e3, 200e3, 800e3, 3.2e6)
"""Bounds of the classes of the other components: bytes divided by pace (1: an ordinary package). They
separate small components that change often from large ones that seldom change."""

VOLATILE_SOURCES = frozenset({"database", "unclaimed"})
"""Sources whose components change at nearly every build; they share layers only with each other."""

GENERIC = frozenset(
    {
        *("lib", "libs", "golang", "go", "rust", "node", "nodejs", "perl", "php", "python", "pypy", "ruby"),
        *("rubygem", "ghc", "ocaml", "lua", "java", "tex", "texlive", "font", "fonts", "google", "xorg", "x"),
    }
)
"""First words of package names that packages of unrelated releases have in common."""

_WORDS = compile_later(r"[^a-z+]+")


def family(ident: ComponentId) -> str:
    """Return the first part of a package's name, up to a dash or digit, that is not a generic word."""
    if ident.source not in PACKAGE_SOURCES:
        return str(ident)
    # portage's names begin with a category
    for word in _WORDS.split(ident.name.rpartition("/")[2].lower()):
        if word and word not in GENERIC:
            return word
    return ident.name


def stateless_layers(
    components: Iterable[Component], max_layers: int, others: int = 0
) -> list[list[Component]]:
    """Return at most `max_layers` groups of `components`, none empty, by size, name and kind alone.

    Args:
        others: further layers, which hold large components already.
    """
    known = list(components)
    pace = {component.id: first_rate(component) / FIRST_RATE for component in known}
    # a component costs most in a shared layer if it is large, and if it changes often, for the others' bytes
    ranked = sorted(known, key=lambda c: (-c.size * math.sqrt(pace[c.id]), c.id))
    if len(ranked) <= max_layers:
        return [[component] for component in ranked]
    alone = max(int((max_layers + others) * ALONE_SHARE) - others, 0)
    groups = [[component] for component in ranked[:alone]]
    rest = ranked[alone:]
    volatile = [component for component in rest if component.id.source in VOLATILE_SOURCES]
    if volatile and max_layers - alone > 1:
        groups.append(volatile)
        rest = [component for component in rest if component.id.source not in VOLATILE_SOURCES]
    classes: list[list[Component]] = [[] for _ in range(len(CLASSES) + 1)]
    for component in rest:
        classes[bisect_right(CLASSES, component.size / pace[component.id])].append(component)
    bins: dict[tuple[int, int], list[Component]] = {}
    for number, (members, count) in enumerate(_shares(classes, pace, max_layers - len(groups))):
        for component in members:
            key = (number, _rendezvous(family(component.id), count))
            bins.setdefault(key, []).append(component)
    return groups + [bins[key] for key in sorted(bins)]


def _shares(
    classes: Iterable[list[Component]], pace: Mapping[ComponentId, float], count: int
) -> list[tuple[list[Component], int]]:
    """Share `count` bins among the classes that are not empty; join classes if there are too few bins."""
    found = [members for members in classes if members]
    while len(found) > count:
        found[:2] = [found[0] + found[1]]
    # n bins cost bytes * changes / n; the sum is smallest if n is proportional to the root of bytes * changes
    weights = [math.sqrt(sum(c.size for c in g) * sum(pace[c.id] for c in g)) for g in found]
    shares = [1] * len(found)
    for _ in range(count - len(found)):
        shares[max(range(len(found)), key=lambda at: (weights[at] / shares[at], at))] += 1
    return list(zip(found, shares, strict=True))


def _rendezvous(name: str, count: int) -> int:
    """Return the bin with the highest random weight; one more bin moves 1/count of the names."""
    key = name.encode("utf-8", "surrogateescape")
    return max(
        range(count), key=lambda number: blake2b(key, digest_size=8, salt=number.to_bytes(8, "big")).digest()
    )
