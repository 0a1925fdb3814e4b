"""Replays: the rules, a lost Ledger, the command. The figures of real histories: test_waste.py."""

from __future__ import annotations

import json
import lzma
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rechunk_podman.cli.commands.simulate import simulate
from rechunk_podman.planning.history import History, HistoryError, parse_history
from rechunk_podman.planning.simulate import every, replay

HISTORIES = Path(__file__).parents[2] / "data" / "histories"

SMALL = {
    "series": "small",
    "components": {
        "a": {"source": "a", "size": 100, "changelog": [5, 300]},
        "a-libs": {"source": "a", "size": 0},
        "b": {"source": "b", "size": None},
        "c": {"source": "c", "size": 1000, "bumps": [1]},
    },
    "encoding": "delta",
    "releases": [
        {"id": "1", "date": 100, "packages": {"a": "1", "a-libs": "1", "b": "1", "c": "1"}},
        {"id": "2", "date": 200, "set": {"a-libs": "2"}, "del": []},
        {"id": "same", "date": 250, "set": {}},
        {"id": "3", "date": 300, "set": {"c": "2"}, "del": ["b"]},
        {"id": "4", "date": 400, "set": {"b": "1"}},
    ],
}


def test_the_rules_of_the_replay() -> None:
    small = parse_history(json.dumps(SMALL).encode())
    assert [release.name for release in small.releases] == ["1", "2", "3", "4"]
    first = {component.id.name: component for component in small.releases[0].components}
    assert {name: component.size for name, component in first.items()} == {"a": 101, "b": 50_000, "c": 1000}
    assert first["a"].changes == (5,)
    assert small.releases[2].components[0].changes == (300, 5)
    result = replay(small, max_layers=10)
    assert result.updates == 3
    assert result.bound[1] == (101 + 1000 + 50_000) / 3
    assert result.bytes == result.bound
    assert result.bound[2] == (101 + 1000 + 1000 + 0) / 2


def test_full_and_compressed_histories_are_the_same() -> None:
    plain = json.dumps(SMALL).encode()
    assert parse_history(lzma.compress(plain)) == parse_history(plain)


def changed(old: str, new: str) -> bytes:
    return json.dumps(SMALL).replace(old, new, 1).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        changed("100", "1" + "0" * 400),
        changed("100", "1e400"),
        changed("100", "Infinity"),
        changed("100", "NaN"),
        changed("100", "[]"),
        changed('"date": 100', '"date": 1e15'),
        changed('"small"', r'"\ud800"'),
        changed('"source": "b"', r'"source": "\udc80"'),
        changed('"source": "b"', '"source": ""'),
        changed('"c": "1"', '"other": "1"'),
    ],
    ids=range(11),
)
def test_odd_values_are_refused_by_name(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(data)
    app = typer.Typer()
    app.command()(simulate)
    error = CliRunner().invoke(app, [str(path)]).exception
    assert isinstance(error, HistoryError)
    assert str(path) in str(error)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xfd7zXZ\x00 cut", lzma.compress(b"{}")[:-4], b'{"components": 3}', b"\xff"],
)
def test_what_is_no_history_is_refused(data: bytes) -> None:
    with pytest.raises(HistoryError):
        parse_history(data)


def test_a_ledger_lost_half_way_costs_one_update() -> None:
    series = parse_history((HISTORIES / "swag-alpine.json.xz").read_bytes())
    half = len(series.releases) // 2
    whole = replay(series, max_layers=64)
    lost = replay(series, max_layers=64, fresh_at=[half])
    first = len(series.releases) - whole.updates
    assert lost.per_update[: half - first] == whole.per_update[: half - first]
    damage = [a.bytes - b.bytes for a, b in zip(lost.per_update, whole.per_update, strict=True)]
    assert damage[half - first] > 5_000_000
    # afterwards it is as good as a series that began there
    assert sum(damage[half - first + 1 :]) < damage[half - first]
    assert max(damage[half - first + 1 :]) < damage[half - first] / 2


@pytest.mark.parametrize("name", ["aks-azurelinux3", "swag-alpine"])
def test_a_monthly_fresh_plan_costs_and_gains_nothing(name: str) -> None:
    """Neither while it is downloaded nor afterwards: hence no template plans afresh by itself."""
    series = parse_history((HISTORIES / f"{name}.json.xz").read_bytes())
    fresh = every(series, 30)
    assert len(fresh) > 5
    assert all(
        series.releases[one].date - series.releases[other].date >= 30 * 86_400
        for other, one in pairwise(sorted(fresh))
    )
    kept, monthly = replay(series, max_layers=64), replay(series, max_layers=64, fresh_at=fresh)
    assert monthly.bytes[1] > 1.03 * kept.bytes[1]
    first = len(series.releases) - kept.updates
    between = [number for number in range(kept.updates) if number + first not in fresh]
    assert sum(monthly.per_update[n].bytes for n in between) > sum(kept.per_update[n].bytes for n in between)


def test_an_image_that_is_older_than_its_packages_is_planned_at_their_time() -> None:
    """A build does so: its time is never before that of its packages, or of the image before it."""
    weekly = parse_history((HISTORIES / "swag-alpine.json.xz").read_bytes())
    start, releases = weekly.releases[0].date, []
    for day, release in enumerate(weekly.releases[:20]):
        # the time between releases counts beside intervals
        known = [replace(one, interval=2.0 + number % 40) for number, one in enumerate(release.components)]
        releases.append(replace(release, date=start + day * 86_400, components=tuple(known)))
    last = releases[-1].date
    built = [replace(release, built=last) for release in releases]
    dated = [replace(release, date=last) for release in releases]
    downloads = [
        [update.bytes for update in replay(History("s", tuple(some)), max_layers=8).per_update]
        for some in (built, dated, releases)
    ]
    assert downloads[0] == downloads[1] != downloads[2]


def test_the_command_prints_a_table_and_json(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(simulate)
    path = tmp_path / "small.json"
    path.write_text(json.dumps(SMALL))
    shown = CliRunner().invoke(app, [str(path), "--max-layers", "2"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "small" in shown.stdout
    # it has no update over four releases
    assert "over 2" in shown.stdout
    assert "over 4" not in shown.stdout
    one = CliRunner().invoke(app, [str(path), "--max-layers", "1"])
    assert "with 1 layer," in one.stdout
    told = CliRunner().invoke(app, [str(path), str(path), "--max-layers", "2", "--stateless", "--json"])
    documents = json.loads(told.stdout)["histories"]
    assert len(documents) == 2
    assert {"series", "max_layers", "stateless", "updates", "bytes", "bound", "reextracted"} <= documents[
        0
    ].keys()
    assert {"ledger_bytes", "seconds_per_plan"} <= documents[0].keys()
    assert documents[0]["bytes"].keys() == {"1", "2", "4"}
    assert documents[0]["max_layers"] == 2
    assert documents[0]["stateless"] is True
    missing = CliRunner().invoke(app, [str(tmp_path / "none.json")])
    assert missing.exception is not None
    assert getattr(missing.exception, "exit_code", 0) == 2
