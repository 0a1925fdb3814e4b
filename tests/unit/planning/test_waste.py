"""The planner's quality: what an update of real images downloads above the bound.

The figures were measured with the planner as it was committed; 1 % is allowed on top. Lower them where the
planner gets better.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rechunk_podman.planning.history import parse_history
from rechunk_podman.planning.simulate import replay

HISTORIES = Path(__file__).parents[2] / "data" / "histories"

SLACK = 1.01

DEBIAN, AZURE, ALPINE = "webtop-debian-xfce", "aks-azurelinux3", "swag-alpine"


@pytest.mark.parametrize(
    ("name", "max_layers", "waste", "reextracted"),
    [
        (ALPINE, 32, 2_166_934, 105_250_907),
        (ALPINE, 64, 423_089, 119_102_774),
        (AZURE, 32, 43_513_461, 658_316_925),
        (AZURE, 64, 11_105_077, 757_251_884),
        (AZURE, 128, 1_480_782, 842_311_645),
        (DEBIAN, 64, 21_132_347, 1_582_261_267),
        (DEBIAN, 128, 4_703_894, 1_628_553_877),
    ],
)
def test_waste_with_memory(name: str, max_layers: int, waste: int, reextracted: int) -> None:
    """Bytes per update above the bound, and bytes that local storage extracts anew."""
    result = replay(parse_history((HISTORIES / f"{name}.json.xz").read_bytes()), max_layers=max_layers)
    assert result.waste <= waste * SLACK
    assert result.reextracted <= reextracted * SLACK
    assert result.ledger_bytes < 16_000


@pytest.mark.parametrize(
    ("name", "max_layers", "waste"),
    [
        (ALPINE, 32, 3_541_432),
        (ALPINE, 64, 589_468),
        (AZURE, 32, 77_619_483),
        (AZURE, 64, 18_807_698),
        (AZURE, 128, 2_488_141),
        (DEBIAN, 32, 126_323_696),
        (DEBIAN, 64, 39_419_652),
        (DEBIAN, 128, 9_946_666),
    ],
)
def test_waste_without_memory(name: str, max_layers: int, waste: int) -> None:
    history = parse_history((HISTORIES / f"{name}.json.xz").read_bytes())
    assert replay(history, max_layers=max_layers, stateless=True).waste <= waste * SLACK


@pytest.mark.parametrize(
    ("name", "packages", "releases", "bound"),
    [(ALPINE, 217, 150, 18_475_716), (AZURE, 386, 58, 178_770_043), (DEBIAN, 687, 150, 582_829_099)],
)
def test_the_histories_are_those_of_the_figures(name: str, packages: int, releases: int, bound: int) -> None:
    """Every component a layer of its own is the bound: it depends on the history alone."""
    history = parse_history((HISTORIES / f"{name}.json.xz").read_bytes())
    result = replay(history, max_layers=2000, stateless=True)
    assert len(history.releases) == releases
    assert result.components <= packages
    assert result.bytes[1] == result.bound[1] == pytest.approx(bound, abs=1)
