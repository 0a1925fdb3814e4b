"""All checks, in the order in which they run and are listed; choose and run them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rechunk_podman.errors import UsageError
from rechunk_podman.lint import boot, databases, inodes, layers, leftovers, limits, secrets, system, times
from rechunk_podman.lint.checks import Check, Result, Subject
from rechunk_podman.lint.layers import LayerChange

CHECKS: tuple[Check, ...] = (
    *system.CHECKS,
    *boot.CHECKS,
    *leftovers.CHECKS,
    *times.CHECKS,
    *inodes.CHECKS,
    *databases.CHECKS,
    *secrets.CHECKS,
    *limits.CHECKS,
)
"""Checks of one image."""

UPDATE_CHECKS: tuple[Check, ...] = layers.CHECKS
"""Checks of an update from one image to another."""


def chosen(*, only: Collection[str] = (), ignore: Collection[str] = ()) -> tuple[Check, ...]:
    """Return all checks, or the checks that `only` names, without the checks that `ignore` names.

    Raises:
        UsageError: there is no check of a given name.
    """
    known = {check.name: check for check in (*CHECKS, *UPDATE_CHECKS)}
    for name in (*only, *ignore):
        if name not in known:
            near = sorted(other for other in known if name and (name in other or other in name))
            hint = f"did you mean {', '.join(near)}?" if near else "`rechunk-podman lint --list` names them"
            raise UsageError(f"no check named {name}", hint=hint)
    return tuple(check for name, check in known.items() if (not only or name in only) and name not in ignore)


def run(subject: Subject, checks: Sequence[Check] = CHECKS) -> list[Result]:
    """Return the findings of the checks of one image, the worst first; skip checks of updates."""
    return _sorted(subject, [check for check in checks if check in CHECKS])


def run_update(changes: tuple[LayerChange, ...], checks: Sequence[Check] = UPDATE_CHECKS) -> list[Result]:
    """Return the findings of the checks of an update, the worst first; skip checks of images."""
    return _sorted(changes, [check for check in checks if check in UPDATE_CHECKS])


def _sorted(subject: Subject | tuple[LayerChange, ...], checks: Sequence[Check]) -> list[Result]:
    found = [Result(check, finding) for check in checks for finding in check.run(subject)]
    return sorted(found, key=lambda result: -result.severity)
