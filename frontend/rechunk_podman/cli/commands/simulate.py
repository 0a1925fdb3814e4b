"""`rechunk-podman simulate`: replay release histories through the planner, and sum up the downloads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.console import print_json
from rechunk_podman.cli.options import Json, Parts
from rechunk_podman.cli.pages import Html, check_page, write_page
from rechunk_podman.errors import UsageError

if TYPE_CHECKING:
    from rechunk_podman.planning.simulate import Replay

MAX_FILE = 64 << 20
"""The largest history that is read, in bytes."""

LAYERS = "64,120"
"""The numbers of layers that are compared by default."""


def simulate(
    histories: Annotated[
        list[Path],
        typer.Argument(
            metavar="HISTORY.json[.xz]…", help="Release histories, from `rechunk-podman history`."
        ),
    ],
    max_layers: Annotated[
        str,
        typer.Option(
            metavar="N|PROFILE,…",
            help="Numbers of layers to compare, or profiles as of `split --max-layers`.",
        ),
    ] = LAYERS,
    stateless: Annotated[
        bool, typer.Option("--stateless", help="Plan every release as if none had been before.")
    ] = False,
    fresh_every: Annotated[
        int | None,
        typer.Option(metavar="DAYS", min=1, help="Plan afresh at the first release after so many days."),
    ] = None,
    parts: Parts = True,
    html: Html = None,
    as_json: Json = False,
) -> None:
    """Replay release histories through the planner: what do clients download per update?

    Beside it stands the download with the layers that the images have themselves, where the history knows
    them.
    """
    from rich.console import Console

    from rechunk_podman.build.options import parse_max_layers
    from rechunk_podman.planning.history import parse_history
    from rechunk_podman.planning.simulate import every, replay

    check_page(html)
    numbers = dict.fromkeys(parse_max_layers(text.strip()) for text in max_layers.split(","))
    results = []
    status = Console(stderr=True)
    for path in histories:
        history = parse_history(_read(path), str(path))
        fresh = () if fresh_every is None else every(history, fresh_every)
        for number in numbers:
            shown = f"{history.series}: planning {len(history.releases)} releases, {number} layers"
            with status.status(shown):
                results.append(
                    replay(history, max_layers=number, stateless=stateless, fresh_at=fresh, parts=parts)
                )
    if html is not None:
        from rechunk_podman.explain.report.replay_page import replay_page

        write_page(replay_page(results), html)
    if as_json:
        print_json({"histories": [result.to_json() for result in results]})
    else:
        _show(results)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE:
            raise UsageError(f"{path} is too large for a release history")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint="name a release history (.json or .json.xz)"
        ) from error


def _show(results: Sequence[Replay]) -> None:
    from rechunk_podman.cli.tables import print_lines, print_table
    from rechunk_podman.planning.simulate import SPANS, sentence
    from rechunk_podman.units import human_size

    counts = ("releases", "components", "layers")
    own = ("as they are",) if any(result.own is not None for result in results) else ()
    # a history of four releases has no update over four
    spans = [span for span in SPANS if any(result.releases > span for result in results)]
    names = [name for span in spans for name in (f"over {span}" if span > 1 else "planned", "at least")]
    numbers = (*counts, *own, *names, "unpacked", "Ledger", "s/plan")
    rows = []
    for result in results:
        theirs = [] if not own else ["" if result.own is None else human_size(result.own[1])]
        sizes = [
            human_size(mean[span]) if result.releases > span else ""
            for span in spans
            for mean in (result.bytes, result.bound)
        ]
        rows.append(
            [
                result.series,
                *map(str, (result.releases, result.components, result.max_layers)),
                *theirs,
                *sizes,
                *map(human_size, (result.reextracted, result.ledger_bytes)),
                f"{result.seconds_per_plan:.3f}",
            ]
        )
    print_table("Mean download of an update", ("history", *numbers), rows, numbers=numbers)
    print_lines(sentence(list(group)) for _, group in groupby(results, lambda result: result.series))
