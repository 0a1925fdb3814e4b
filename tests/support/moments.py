"""Real applications at two moments, and the components that differ between these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from images.applications import MOMENTS
from images.cache import MissingTool
from support.assigning import Result, assigned
from support.needs import unavailable


def changed(builder: Callable[[], Path]) -> tuple[set[str], Result, Path]:
    """The components that differ between the moments; the Result and the root filesystem of the first.

    Skips the test where the application cannot be had.
    """
    try:
        folder = builder()
    except MissingTool as error:
        unavailable(f"missing: {error}")
    old, new = (assigned(folder / moment) for moment in MOMENTS)
    names = {
        name
        for name in old.components.keys() | new.components.keys()
        if old.components.get(name) != new.components.get(name)
    }
    return names, old, folder / MOMENTS[0]


def unclaimed(result: Result) -> list[str]:
    """The paths of no package, but for empty directories."""
    found = [path for path, name in result.owner.items() if name.startswith(("unclaimed/", "bigfiles/"))]
    return [path for path in found if result.mtimes[path]]
