"""Numbers as people write them."""

from __future__ import annotations


def human_size(size: float) -> str:
    """Bytes in the largest decimal unit that leaves a number of at least one: `14.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
