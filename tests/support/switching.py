"""A switch from another tool on a release history: what clients download, beside a series that began with us.

The other tool gives the largest components a layer each, in three quarters of the layers, and puts the rest
into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from rechunk_podman.model import ComponentId
from rechunk_podman.planning.history import Release
from rechunk_podman.planning.layout import Kept, lay_out
from rechunk_podman.planning.ledger import Ledger, decode, diff_id_prefix, encode
from rechunk_podman.planning.on_kept import room_for_kept
from rechunk_podman.planning.simulate import layer_contents

Members = dict[ComponentId, bytes]
"""The components of a layer, with their fingerprints."""


def switch(releases: Sequence[Release], max_layers: int) -> list[int]:
    """Return the bytes of each update, the first release being another tool's image, which is adopted."""
    theirs = dict(_by_size(releases[0], max_layers))
    had = {
        diff_id: sum(releases[0].download(one) for one in releases[0].components if one.id in members)
        for diff_id, members in theirs.items()
    }
    downloads = []
    text = ""
    for release in releases[1:]:
        kept = _kept(release, {diff_id: theirs[diff_id] for diff_id in had if diff_id in theirs}, max_layers)
        prefixes = {diff_id_prefix(diff_id): diff_id for diff_id in theirs}
        layout = lay_out(
            release.components,
            decode(text) if text else None,
            None,
            Kept([(diff_id_prefix(one), tuple(sorted(theirs[one]))) for one in kept], prefixes.keys()),
            max_layers=max_layers,
            now=release.date,
        )
        layers = [
            (prefixes.get(layer.prefix, f"sha256:{identity}"), size)
            for layer, (identity, size) in zip(
                layout.plan.layers, layer_contents(release, layout), strict=True
            )
        ]
        diff_ids = [diff_id for diff_id, _ in layers]
        text = encode(Ledger.advance(layout.memory, layout.units, layout.plan, diff_ids, date=release.date))
        downloads.append(sum(size for diff_id, size in layers if diff_id not in had))
        had = dict(layers)
    return downloads


def stay(releases: Sequence[Release], max_layers: int) -> list[int]:
    """Return the bytes of each update of a series that began with the first release."""
    text, had, downloads = "", dict[str, int](), []
    for release in releases:
        previous = decode(text) if text else None
        layout = lay_out(release.components, previous, max_layers=max_layers, now=release.date)
        layers = layer_contents(release, layout)
        diff_ids = [f"sha256:{identity}" for identity, _ in layers]
        text = encode(Ledger.advance(layout.memory, layout.units, layout.plan, diff_ids, date=release.date))
        downloads.append(sum(size for identity, size in layers if identity not in had))
        had = dict(layers)
    return downloads[1:]


def _by_size(release: Release, max_layers: int) -> list[tuple[str, Members]]:
    """Return the diff_id and the components of each layer of the other tool."""
    ranked = sorted(release.components, key=lambda one: (-one.size, one.id))
    alone = max_layers * 3 // 4 - 1
    groups = [[one] for one in ranked[:alone]] + [ranked[alone:]]
    found = []
    for group in filter(None, groups):
        members = {one.id: one.fingerprint for one in group}
        digest = sha256(repr(sorted(members.items())).encode()).hexdigest()
        found.append((f"sha256:{digest}", members))
    return found


def _kept(release: Release, layers: dict[str, Members], max_layers: int) -> list[str]:
    """Return the layers of which nothing changed, without the smallest if there are too many."""
    present = {one.id: one for one in release.components}
    kept = [
        diff_id
        for diff_id, members in layers.items()
        if all(ident in present and present[ident].fingerprint == own for ident, own in members.items())
    ]
    kept.sort(key=lambda diff_id: -sum(present[ident].size for ident in layers[diff_id]))
    while kept:
        held = {ident for diff_id in kept for ident in layers[diff_id]}
        if len(kept) <= room_for_kept([one for one in release.components if one.id not in held], max_layers):
            break
        kept.pop()
    return sorted(kept, key=list(layers).index)
