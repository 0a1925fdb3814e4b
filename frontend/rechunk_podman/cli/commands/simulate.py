"""`rechunk-podman simulate`: what would the layers of these releases have cost the clients?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rechunk_podman.cli.console import print_json
from rechunk_podman.errors import RechunkError, UsageError
from rechunk_podman.planning.simulate import SPANS, Replay, parse_history, replay
from rechunk_podman.units import human_size

MAX_FILE = 64 << 20


def simulate(
    histories: Annotated[
        list[Path], typer.Argument(metavar="HISTORY.json[.xz]…", help="Release histories to replay.")
    ],
    max_layers: Annotated[int, typer.Option("--max-layers", min=1, help="Layers at most.")] = 64,
    stateless: Annotated[
        bool, typer.Option("--stateless", help="Plan every release as if none had been before.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array, one object a history.")
    ] = False,
) -> None:
    """Replay release histories through the planner: what do clients download per update?"""
    results = []
    talk = Console(stderr=True)
    for path in histories:
        history = parse_history(_read(path))
        with talk.status(f"{history.series}: planning {len(history.releases)} releases"):
            results.append(replay(history, max_layers=max_layers, stateless=stateless))
    if as_json:
        print_json([result.to_json() for result in results])
    else:
        Console().print(_table(results))


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE:
            raise UsageError(f"{path} is too large for a release history")
        return path.read_bytes()
    except OSError as error:
        raise RechunkError(
            f"cannot read {path}: {error.strerror}",
            hint="name a release history (.json or .json.xz)",
            exit_code=2,
        ) from error


def _table(results: Sequence[Replay]) -> Table:
    table = Table(title="Download per update (mean), by releases skipped")
    table.add_column("history")
    for name in ("releases", "components", "layers"):
        table.add_column(name, justify="right")
    for span in SPANS:
        table.add_column(f"k={span}", justify="right")
        table.add_column("bound", justify="right")
    for name in ("waste", "unpacked", "ledger", "s/plan"):
        table.add_column(name, justify="right")
    for result in results:
        spans = [human_size(mean[span]) for span in SPANS for mean in (result.bytes, result.bound)]
        table.add_row(
            result.series,
            str(result.releases),
            str(result.components),
            str(result.max_layers),
            *spans,
            human_size(result.waste),
            human_size(result.reextracted),
            human_size(result.ledger_bytes),
            f"{result.seconds_per_plan:.3f}",
        )
    return table
