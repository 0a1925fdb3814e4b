"""Charts as SVG: lines over time on a logarithmic scale, and dots of changes by release. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from rechunk_podman.units import human_size

WIDTH, HEIGHT = 900, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 130, 20, 15, 45
_ROW = 26
_MOST_LINES = 7


def lines(title: str, dates: Sequence[str], series: Sequence[tuple[str, str, Sequence[int]]]) -> str:
    """Return the chart of bytes by update.

    Args:
        dates: of the updates.
        series: (name, colour of the style sheet, bytes of each update).
    """
    values = [value for _, _, column in series for value in column if value > 0]
    steps = _steps(min(values, default=1), max(values, default=10))
    low = steps[0]
    span = math.log10(steps[-1] / low)

    def x(index: int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (index + 0.5) / max(len(dates), 1)

    def y(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - math.log10(max(value, low) / low) / span)

    parts = []
    for step in steps:
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(step):.1f}" y2="{y(step):.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y(step) + 5:.1f}" text-anchor="end">{_scale(step)}</text>'
        )
    for index in sorted({0, len(dates) - 1}):
        anchor = "start" if index == 0 else "end"
        parts.append(
            f'<text x="{x(index):.1f}" y="{HEIGHT - 12}" text-anchor="{anchor}">{escape(dates[index])}</text>'
        )
    for name, color, column in series:
        points = " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in enumerate(column))
        parts.append(f'<polyline points="{points}" fill="none" stroke="var(--{color})" {_stroke(color)}/>')
        for index, value in enumerate(column):
            told = f"{escape(name)}, {escape(dates[index])}: {human_size(value)}"
            parts.append(
                f'<circle cx="{x(index):.1f}" cy="{y(value):.1f}" r="4" fill="var(--{color})">'
                f"<title>{told}</title></circle>"
            )
    return _svg(title, HEIGHT, parts)


def dots(title: str, dates: Sequence[str], rows: Sequence[tuple[str, Sequence[bool]]]) -> str:
    """Return the record of changes: a row for each component, a column for each release.

    Args:
        dates: of the releases, the oldest first.
        rows: (name, True for each release in which it changed).
    """
    left, height = 330, _TOP + _ROW * len(rows) + 30
    step = (WIDTH - left - _RIGHT) / max(len(dates), 1)
    radius = min(7.0, step / 2)
    parts = []
    for number, (name, changed) in enumerate(rows):
        y = _TOP + _ROW * (number + 0.5)
        shown = name if len(name) <= 26 else name[:25] + "…"
        parts.append(
            f'<line class="grid" x1="{left}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 10}" y="{y + 5:.1f}" text-anchor="end">{escape(shown)}</text>'
        )
        parts += [
            f'<circle class="dot" cx="{left + step * (index + 0.5):.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{escape(name)}, {escape(dates[index])}</title></circle>"
            for index, is_changed in enumerate(changed)
            if is_changed
        ]
    for index in sorted({0, len(dates) - 1}):
        anchor, at = ("start", left) if index == 0 and len(dates) > 1 else ("end", WIDTH - _RIGHT)
        parts.append(f'<text x="{at}" y="{height - 6}" text-anchor="{anchor}">{escape(dates[index])}</text>')
    return _svg(title, height, parts)


def _steps(least: float, most: float) -> list[float]:
    """Return the lines of a logarithmic scale: powers of ten and, if there is room, 2 and 5 times these.

    The first is at most `least`, the last at least `most`, and there are at least two.
    """
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    fine = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    below = [step for step in fine if step <= least][-1:] or fine[:1]
    above = [step for step in fine if step >= most and step > below[0]][:1] or [below[0] * 10]
    inner = [step for step in fine if below[0] < step < above[0]]
    if len(inner) > _MOST_LINES:
        inner = [step for step in inner if step in {10.0**power for power in powers}]
    return [*below, *inner, *above]


def _scale(step: float) -> str:
    """Return the bytes of a line of the scale as text."""
    return human_size(step).replace(".0", "")


def _stroke(color: str) -> str:
    return 'stroke-width="2.5"' + (' stroke-dasharray="7 5"' if color == "bound" else "")


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    return f"{head}{''.join(parts)}</svg>"
