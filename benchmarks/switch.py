"""Replay switches from another tool on release histories, beside series that began with rechunk-podman.

    python benchmarks/switch.py [HISTORY.json.xz …] [--max-layers 64] [--write]

The other tool gives the largest components a layer each, in three quarters of the layers, and puts the rest
into one. A client has its image of one release and takes the next eleven, in which layers of that tool stay
while nothing in them changes. The table has means of about eight switches, at releases that are evenly spread
over each history: MB that a client downloads at the first update, at each of the ten after it, and at each of
the last five of these; and the same of a series that began with that release.

Without a HISTORY: those of benchmarks/packing.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from figures import write_figures
from packing import HISTORIES
from rechunk_podman.planning.history import parse_history
from support.switching import stay, switch

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- switch figures: begin -->\n", "<!-- switch figures: end -->\n"
UPDATES = 11
SWITCHES = 8
LAST = 5
HEAD = (
    "| history | switches | first update | ours | each of the next ten | ours "
    "| each of the last five | ours | more |\n|---|---|---|---|---|---|---|---|---|\n"
)


def row(path: Path, max_layers: int) -> str:
    """Return the row of a history."""
    history = parse_history(path.read_bytes(), path.name)
    room = len(history.releases) - UPDATES
    spans = [history.releases[at : at + UPDATES + 1] for at in range(0, room, max(room // SWITCHES, 1))]
    means = []
    for series in (switch, stay):
        found = [series(span, max_layers) for span in spans]
        sums = (
            sum(sum(one[span]) for one in found) for span in (slice(1), slice(1, None), slice(-LAST, None))
        )
        counts = (1, UPDATES - 1, LAST)
        means.append([total / count / len(found) for total, count in zip(sums, counts, strict=True)])
    cells = [f"{mean / 1e6:,.1f} MB" for pair in zip(*means, strict=True) for mean in pair]
    more = means[0][2] / means[1][2] - 1.0
    return f"| {history.series} | {len(spans)} | {' | '.join(cells)} | {more:+.1%} |"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("history", nargs="*", type=Path)
    parser.add_argument("--max-layers", type=int, default=64)
    parser.add_argument("--write", action="store_true", help="write the figures into docs/performance.md")
    given = parser.parse_args()
    folder = next(folder for folder in HISTORIES if folder.is_dir())
    paths = given.history or sorted(folder.glob("*.json.xz"))
    text = HEAD + "".join(f"{row(path, given.max_layers)}\n" for path in paths)
    print(text)
    if given.write:
        write_figures(DOCUMENT, BEGIN, END, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
