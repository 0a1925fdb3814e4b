"""The limit of an update's download: an error that names its largest causes."""

from __future__ import annotations

from collections.abc import Sequence

from rechunk_podman.errors import RechunkError
from rechunk_podman.explain.download import CHANGED, NEW, RECOMPRESSED, UNKNOWN, LayerUpdate, Update
from rechunk_podman.units import human_size, plural

NAMED = 3
"""The number of layers, and of components of each, that the error names."""


class UpdateTooLargeError(RechunkError):
    """An update downloads more than its limit."""


def require_at_most(update: Update, limit: int) -> None:
    """Raise unless the update downloads at most `limit` bytes.

    Raises:
        UpdateTooLargeError: it downloads more, which the context explains by its largest layers; or it may
            do so, because the size of a layer is unknown.
    """
    if update.downloaded <= limit and not update.unknown_sizes:
        return
    if update.downloaded <= limit:
        raise UpdateTooLargeError(
            f"--max-update: the download is unknown, {plural(update.unknown_sizes, 'layer')} of "
            f"{update.new.name} without a size",
            hint="sizes are in manifests: name the image in a registry, a layout or storage",
        )
    downloads = [entry for entry in update.layers if entry.downloaded]
    downloads.sort(key=lambda entry: -(entry.layer.size or 0))
    raise UpdateTooLargeError(
        f"a client that has {update.old.name} would download {human_size(update.downloaded)}, "
        f"more than --max-update allows: {human_size(limit)}",
        context=[_cause(entry) for entry in downloads[:NAMED]],
        hint="`rechunk-podman diff` shows every layer; a higher --max-update lets it pass",
    )


def _cause(entry: LayerUpdate) -> str:
    """Return the size of a layer, and why it is downloaded."""
    names = [one.text for one in (*entry.of(CHANGED), *entry.of(NEW))]
    names += [f"{name} (removed)" for name in entry.removed]
    names += [f"something in {one.name}" for one in entry.of(UNKNOWN)]
    text = _first(names)
    if entry.status == RECOMPRESSED:
        text = "compressed anew"
    elif not text and entry.components:
        text = f"packed anew: {_first([one.name for one in entry.components])}"
    made = text or " ".join(entry.layer.created_by.split()) or "nothing is said of it"
    return f"{human_size(entry.layer.size or 0)}, layer {entry.layer.number}: {made}"


def _first(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
