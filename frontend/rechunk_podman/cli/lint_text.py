"""The findings of lint as lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rechunk_podman.cli.tables import shortened, size_of
from rechunk_podman.lint.checks import Check, Result
from rechunk_podman.lint.layers import ADDED, CONTENT_CHANGES, KEPT, MOVED, REMOVED, Change, LayerChange
from rechunk_podman.lint.report import Report
from rechunk_podman.units import human_size, plural, time_text

PATHS, CHANGES = 5, 12
"""The largest number of paths shown for a finding, and of changes shown for a layer."""

_ALL = 1 << 62
_HINT = "-v shows them"


def report_lines(report: Report, *, all_paths: bool) -> list[str]:
    """Return lines with the findings, the reason of each check once, the layers of an update, and totals."""
    counts = [plural(number, name) for name, number in reversed(report.counts.items()) if number]
    verdict = ", ".join(counts) or "nothing found"
    layers = _layer_lines(report.changes, all_paths) if "new" in report.subject else []
    return [*_result_lines(report.results, all_paths), *layers, verdict]


def check_lines(checks: Sequence[Check]) -> list[str]:
    """Return one line for each check."""
    width = max((len(check.name) for check in checks), default=0)
    return [f"{check.name:{width}}  {check.severity!s:7}  {check.summary}" for check in checks]


def _result_lines(results: Sequence[Result], all_paths: bool) -> list[str]:
    lines = []
    for position, result in enumerate(results):
        finding, check = result.finding, result.check
        lines.append(f"{result.severity}: {check.name}: {finding.message}")
        lines += shortened([f"/{path}" for path in finding.paths], _ALL if all_paths else PATHS, _HINT)
        if all(later.check is not check for later in results[position + 1 :]):
            lines += [f"  why: {check.why}", f"  fix: {result.fix}"]
    return lines


def _layer_lines(layers: Iterable[LayerChange], all_paths: bool) -> list[str]:
    lines = []
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for layer in layers:
        counts[layer.verdict] += 1
        sizes[layer.verdict] += layer.size or 0
        if layer.changes:
            lines.append(f"layer {layer.number}: {layer.verdict}, {size_of(layer.size)}")
        changes = sorted(layer.changes, key=lambda change: change.what not in CONTENT_CHANGES)
        lines += shortened(list(map(path_text, changes)), _ALL if all_paths else CHANGES, _HINT)
    summary = ", ".join(f"{name} {count} ({human_size(sizes[name])})" for name, count in counts.items())
    download = sum(size for verdict, size in sizes.items() if verdict != KEPT)
    total = f"download: {human_size(download)} of {human_size(sum(sizes.values()))}"
    return [*lines, f"layers: {summary}", total] if summary else [*lines, "no layers"]


def path_text(change: Change) -> str:
    """Return a path and its difference as one line."""
    text = f"/{change.path}: {change.what}"
    if change.what == MOVED:
        return f"{text} from layer {change.old}"
    if change.old is None and change.new is None:
        return text
    if change.what in (ADDED, REMOVED):
        return f"{text}: {change.new or change.old}"
    return f"{text}: {change_text(change.what, change.old, change.new)}"


def change_text(what: str, old: str | None, new: str | None) -> str:
    """Return the old and the new value of an attribute, with mtimes as dates; None becomes `-`."""
    values = ("-" if value is None else value for value in (old, new))
    return " -> ".join(map(time_text, values) if what == "mtime" else values)
