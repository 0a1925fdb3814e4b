"""Attempts that are repeated, with a warning, while their failures may pass."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from rechunk_podman.errors import RechunkError
from rechunk_podman.registry.answers import is_silence, reason_of

log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 4

SILENT_ATTEMPTS = 2
"""Attempts that may end in silence: each has waited for the whole time limit."""

FIRST_WAIT = 1.0
"""Seconds before the second attempt; doubled for each further one."""


def retry(
    attempt: Callable[[], T], doing: str, may_pass: Callable[[RechunkError], bool], *, note: str = ""
) -> T:
    """Return the result of `attempt`, which is repeated while its failures may pass.

    There are at most ATTEMPTS, and at most SILENT_ATTEMPTS that end in silence (answers.is_silence()).

    Before each repetition a warning is logged, and the process sleeps.

    Args:
        doing: the attempt, for the warning: `push …`.
        may_pass: returns True for an error that may not occur in another attempt.
        note: more text for the warning.

    Raises:
        RechunkError: the error of the last attempt.
    """
    silent = 0
    for number in itertools.count(1):
        try:
            return attempt()
        except RechunkError as error:
            silent += is_silence(error)
            if number >= ATTEMPTS or silent >= SILENT_ATTEMPTS or not may_pass(error):
                raise
            wait_before_retry(number, doing, reason_of(error), note)
    raise AssertionError("unreachable")


def wait_before_retry(number: int, doing: str, reason: str, note: str = "") -> None:
    """Log the failure of an attempt (counted from 1) and sleep before the next one."""
    wait = FIRST_WAIT * 2 ** (number - 1)
    log.warning("attempt %d of %d to %s failed: %s", number, ATTEMPTS, doing, reason)
    log.warning("trying again in %.0f s%s", wait, note)
    time.sleep(wait)
