"""The bytes of an update by their causes, and the verdict. Pure: an Update in, sums and a sentence out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rechunk_podman.explain.download import CHANGED, NEW, RECOMPRESSED, UNKNOWN, LayerUpdate, Update
from rechunk_podman.units import human_size

PACKAGES, FILES, BOTH, MOVED, CAME_ALONG, ANEW, UNTOLD = (
    "packages",
    "files",
    "packages and files",
    "moved",
    "came along",
    "recompressed",
    "unknown",
)
"""The causes of a download. BOTH: packages and files of no package changed in one layer. MOVED: nothing in
the layer changed, but its components were in other layers. CAME_ALONG: unchanged components of a layer in
which others changed. UNTOLD: the image does not record the content of the layer."""

TEXTS = {
    PACKAGES: "changed packages",
    FILES: "changed files of no package",
    BOTH: "changed packages and files of no package in one layer",
    MOVED: "moved by the plan, unchanged",
    CAME_ALONG: "came along, unchanged",
    ANEW: "compressed anew, unchanged",
    UNTOLD: "of unknown content",
}
"""Cause -> its text for people."""

_OF_FILES = frozenset({"unclaimed", "bigfiles", "xattr", "filesystem"})
"""Sources whose components hold files of no package."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause. bytes: the known bytes downloaded for it. layers: the number of layers with such bytes.

    at_least: some unchanged components have unknown sizes; their bytes are counted as changed.
    """

    name: str
    bytes: int
    layers: int
    at_least: bool = False


def causes(update: Update) -> tuple[Cause, ...]:
    """Return the causes of a download, the most expensive first; their bytes add up to all known ones."""
    sizes: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    for entry in update.layers:
        if entry.downloaded:
            for name, size in _shares(entry).items():
                sizes[name] += size
                layers[name] += 1
    partly = any(entry.downloaded and not entry.ride_known for entry in update.layers)
    found = [
        Cause(name, sizes[name], layers[name], at_least=partly and name == CAME_ALONG) for name in layers
    ]
    return tuple(sorted(found, key=lambda cause: (-cause.bytes, cause.name)))


def _shares(entry: LayerUpdate) -> dict[str, int]:
    """Divide the bytes of a layer among the causes."""
    size = entry.layer.size or 0
    if entry.status == RECOMPRESSED:
        return {ANEW: size}
    reasons = [component.name for component in (*entry.of(CHANGED), *entry.of(NEW))]
    reasons += entry.removed
    untold = bool(entry.of(UNKNOWN) or entry.layer.more or not entry.components)
    if not reasons and not untold:
        return {MOVED: size}
    along = min(entry.ride_bytes, size)
    shares = {_kind(reasons) if reasons else UNTOLD: size - along}
    if along:
        shares[CAME_ALONG] = along
    return shares


def _kind(names: Iterable[str]) -> str:
    # rpm-ostree names only packages, and without a source and slash before the name.
    kinds = {"/" not in name or name.partition("/")[0] not in _OF_FILES for name in names}
    return BOTH if len(kinds) == 2 else PACKAGES if kinds == {True} else FILES


def verdict(update: Update) -> str:
    """Return one sentence: the bytes of the download, its main cause, and a remedy."""
    old, new = update.old, update.new
    found = causes(update)
    if not found:
        return f"A client that has {old.name} downloads nothing for {new.name}."
    first = found[0]
    size = human_size(update.downloaded)
    whole = "" if new.size is None else f" of {human_size(new.size)}"
    most = "all" if len(found) == 1 else "most"
    why = f"{most} of it {TEXTS[first.name]}" + (f" ({human_size(first.bytes)})" if len(found) > 1 else "")
    advice = ""
    moved = sum(cause.bytes for cause in found if cause.name == MOVED)
    if moved * 5 > update.downloaded and new.ledger is not None and len(new.ledger.dates) < 2:
        advice = "; planned with --previous, what did not change would have stayed in its layer"
    return f"A client that has {old.name} downloads {size}{whole} for {new.name}, {why}{advice}."
