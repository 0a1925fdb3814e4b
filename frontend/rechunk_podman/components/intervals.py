"""Update intervals as users write them: a number of days, or a word."""

from __future__ import annotations

import math

INTERVALS = {
    "daily": 1.0,
    "weekly": 7.0,
    "biweekly": 14.0,
    "monthly": 30.0,
    "quarterly": 91.0,
    "yearly": 365.0,
}
"""Days."""

INTERVAL_HINT = f"a number of days, or one of {', '.join(INTERVALS)}"


def days_of(text: str) -> float | None:
    """Return the days that a text means; None if it is neither a positive number nor a known word."""
    text = text.strip().lower()
    days = INTERVALS.get(text)
    if days is None:
        try:
            days = float(text)
        except ValueError:
            return None
    return days if 0 < days < math.inf else None
