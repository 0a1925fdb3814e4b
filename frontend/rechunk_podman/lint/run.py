"""All checks, in the order in which they run and are listed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rechunk_podman.errors import UsageError
from rechunk_podman.lint import databases, inodes, layers, leftovers, limits, secrets, system, times
from rechunk_podman.lint.checks import Check, Result, Subject
from rechunk_podman.lint.layers import LayerChange

CHECKS: tuple[Check, ...] = (
    *system.CHECKS,
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
    """The checks to run, of both kinds: all, or those named by `only`, without those named by `ignore`.

    Raises:
        UsageError: there is no check of a name.
    """
    known = {check.name: check for check in (*CHECKS, *UPDATE_CHECKS)}
    for name in (*only, *ignore):
        if name not in known:
            near = sorted(other for other in known if name and (name in other or other in name))
            hint = f"did you mean {', '.join(near)}?" if near else "`rechunk-podman lint --list` names them"
            raise UsageError(f"no check named {name}", hint=hint)
    return tuple(check for name, check in known.items() if (not only or name in only) and name not in ignore)


def run(subject: Subject, checks: Sequence[Check] = CHECKS) -> list[Result]:
    """What the checks of one image find, the worst first; other checks are left out."""
    return _sorted(subject, [check for check in checks if check in CHECKS])


def run_update(changes: tuple[LayerChange, ...], checks: Sequence[Check] = UPDATE_CHECKS) -> list[Result]:
    """What the checks of an update find, the worst first; other checks are left out."""
    return _sorted(changes, [check for check in checks if check in UPDATE_CHECKS])


def _sorted(subject: Subject | tuple[LayerChange, ...], checks: Sequence[Check]) -> list[Result]:
    found = [Result(check, finding) for check in checks for finding in check.run(subject)]
    return sorted(found, key=lambda result: -result.severity)
