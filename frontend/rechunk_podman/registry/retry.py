"""Attempts that are repeated, with a warning, while their failures may pass."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from rechunk_podman.errors import RechunkError
from rechunk_podman.registry.answers import reason_of

log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 4

FIRST_WAIT = 1.0
"""Seconds before the second attempt; doubled for each further one."""


def retry(
    attempt: Callable[[], T], doing: str, may_pass: Callable[[RechunkError], bool], *, note: str = ""
) -> T:
    """Return the result of `attempt`, which is repeated, at most ATTEMPTS times, while its failures may pass.

    Before each repetition a warning is logged, and the process sleeps.

    Args:
        doing: the attempt, for the warning: `push …`.
        may_pass: returns True for an error that may not occur in another attempt.
        note: more text for the warning.

    Raises:
        RechunkError: the error of the last attempt.
    """
    for number in itertools.count(1):
        try:
            return attempt()
        except RechunkError as error:
            if number >= ATTEMPTS or not may_pass(error):
                raise
            wait_before_retry(number, doing, reason_of(error), note)
    raise AssertionError("unreachable")


def wait_before_retry(number: int, doing: str, reason: str, note: str = "") -> None:
    """Log the failure of an attempt (counted from 1) and sleep before the next one."""
    wait = FIRST_WAIT * 2 ** (number - 1)
    log.warning("attempt %d of %d to %s failed: %s", number, ATTEMPTS, doing, reason)
    log.warning("trying again in %.0f s%s", wait, note)
    time.sleep(wait)
