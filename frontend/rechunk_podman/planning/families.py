"""Plans without memory: a placement that each component's name and size decide all by themselves.

With no record of what went where, what counts is that the next image, planned afresh, puts things where
this one did. The largest components get layers of their own; the others fall into bins by rendezvous
hashing of their name families, so that one more component or one more bin moves few others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

from rechunk_podman.model import Component, ComponentId

ALONE_SHARE = 0.75
"""The share of the layers that goes to the largest components."""

VOLATILE_SOURCES = frozenset({"database", "unclaimed"})
"""Sources whose components change at (nearly) every build: they share a layer with each other alone."""

PACKAGE_SOURCES = frozenset({"rpm", "dpkg", "apk", "alpm"})

GENERIC = frozenset(
    {
        *("lib", "libs", "golang", "go", "rust", "node", "nodejs", "perl", "php", "python", "pypy", "ruby"),
        *("rubygem", "ghc", "ocaml", "lua", "java", "tex", "texlive", "font", "fonts", "google", "xorg", "x"),
    }
)
"""First words of package names that say nothing of which packages are released together."""

_WORDS = re.compile(r"[^a-z+]+")


def family(ident: ComponentId) -> str:
    """The part of a package's name up to its first dash or digit, generic words left out."""
    if ident.source not in PACKAGE_SOURCES:
        return str(ident)
    for word in _WORDS.split(ident.name.lower()):
        if word and word not in GENERIC:
            return word
    return ident.name


def stateless_layers(components: Iterable[Component], max_layers: int) -> list[list[Component]]:
    """At most `max_layers` groups of `components`, none empty, by size and name alone."""
    ranked = sorted(components, key=lambda component: (-component.size, component.id))
    if len(ranked) <= max_layers:
        return [[component] for component in ranked]
    alone = int(max_layers * ALONE_SHARE)
    groups = [[component] for component in ranked[:alone]]
    rest = ranked[alone:]
    volatile = [component for component in rest if component.id.source in VOLATILE_SOURCES]
    if volatile and max_layers - alone > 1:
        groups.append(volatile)
        rest = [component for component in rest if component.id.source not in VOLATILE_SOURCES]
    bins: dict[int, list[Component]] = {}
    count = max_layers - len(groups)
    for component in rest:
        bins.setdefault(_rendezvous(family(component.id), count), []).append(component)
    return groups + [bins[number] for number in sorted(bins)]


def _rendezvous(name: str, count: int) -> int:
    """Highest random weight: with one bin more or less, a name moves with probability 1/count."""
    key = name.encode("utf-8", "surrogateescape")
    return max(
        range(count), key=lambda number: blake2b(key, digest_size=8, salt=number.to_bytes(8, "big")).digest()
    )
