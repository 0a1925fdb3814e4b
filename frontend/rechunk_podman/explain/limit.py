"""The limit of an update's download: an error that names its largest causes."""

from __future__ import annotations

from rechunk_podman.errors import RechunkError
from rechunk_podman.explain.download import CHANGED, NEW, LayerUpdate, Update
from rechunk_podman.units import human_size

NAMED = 3
"""The number of layers, and of components of each, that the error names."""


class UpdateTooLargeError(RechunkError):
    """An update downloads more than its limit."""


def require_at_most(update: Update, limit: int) -> None:
    """Raise unless the update downloads at most `limit` bytes; layers of unknown size count nothing.

    Raises:
        UpdateTooLargeError: it downloads more. The context names the largest layers, and why they changed.
    """
    if update.downloaded <= limit:
        return
    downloads = [entry for entry in update.layers if entry.downloaded]
    downloads.sort(key=lambda entry: -(entry.layer.size or 0))
    raise UpdateTooLargeError(
        f"a client that has {update.old.name} would download {human_size(update.downloaded)}, "
        f"more than --max-update allows: {human_size(limit)}",
        context=[_cause(entry) for entry in downloads[:NAMED]],
        hint="`rechunk-podman diff` shows every layer; a higher --max-update lets it pass",
    )


def _cause(entry: LayerUpdate) -> str:
    """Return the size of a layer, and the components for which it is downloaded."""
    changed = [*entry.of(CHANGED), *entry.of(NEW)]
    names = [one.text for one in changed or entry.components]
    more = len(names) - NAMED
    text = ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{human_size(entry.layer.size or 0)}, layer {entry.layer.number}: {text or entry.status}"
