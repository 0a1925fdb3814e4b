"""The page of replays: bytes of each update for each alternative, the bound, the gain of more layers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import groupby

from rechunk_podman.explain.report.chart import lines
from rechunk_podman.explain.report.page import Bar, Cell, Page, Row, Section, size_cell
from rechunk_podman.planning.simulate import Replay, sentence

_COLORS = ("s0", "s1", "s2", "s3")


def replay_page(replays: Sequence[Replay]) -> Page:
    """Return the page of the replays of one history or several, each with one number of layers or more."""
    groups = [list(group) for _, group in groupby(replays, lambda replay: replay.series)]
    sections = [section for number, group in enumerate(groups) for section in _sections(number, group)]
    return Page("What updates cost", ". ".join(map(sentence, groups)) + ".", (), sections)


def _sections(number: int, group: Sequence[Replay]) -> list[Section]:
    first = group[0]
    dates = [_day(update.date) for update in first.per_update]
    series = [
        (f"{replay.max_layers} layers", _COLORS[index % len(_COLORS)], [u.bytes for u in replay.per_update])
        for index, replay in enumerate(group)
    ]
    series.append(("bound", "bound", [update.bound for update in first.per_update]))
    if first.own is not None:
        series.insert(0, ("as they are", "own", [update.own or 0 for update in first.per_update]))
    means = [(name, color, sum(column) / max(len(column), 1)) for name, color, column in series]
    most = max((mean for _, _, mean in means), default=0) or 1
    rows = []
    before = None if first.own is None else first.own[1]
    for replay in sorted(group, key=lambda replay: replay.max_layers):
        mean = replay.bytes[1]
        saved = None if before is None else before - mean
        cells = (
            Cell(str(replay.max_layers), replay.max_layers),
            size_cell(mean),
            size_cell(replay.waste),
            size_cell(saved),
        )
        rows.append(Row((*cells, size_cell(replay.reextracted))))
        before = mean
    every = [
        Row(
            (
                Cell(update.name),
                Cell(date, update.date),
                *(size_cell(column[index]) for _, _, column in series),
            )
        )
        for index, (update, date) in enumerate(zip(first.per_update, dates, strict=True))
    ]
    return [
        Section(
            f"mean{number}",
            f"{first.series}: mean download of an update",
            "The bound is the download if every component had a layer of its own.",
            bars=[
                Bar(name, round(100 * mean / most, 2), size_cell(mean).text, color)
                for name, color, mean in means
            ],
        ),
        Section(
            f"updates{number}",
            "Each update",
            "The scale is logarithmic.",
            svg=lines("Bytes of each update", dates, series),
            keys=[(name, color) for name, color, _ in series],
        ),
        Section(
            f"more{number}",
            "What more layers buy",
            columns=(
                ("layers", True),
                ("per update", True),
                ("above the bound", True),
                ("less than the line before", True),
                ("unpacked by local storage", True),
            ),
            rows=rows,
        ),
        Section(
            f"every{number}",
            "The updates one by one",
            columns=(("release", False), ("date", True), *((name, True) for name, _, _ in series)),
            rows=every,
            search=True,
        ),
    ]


def _day(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"@{seconds}"
