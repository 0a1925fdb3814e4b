"""Lines and tables for people: escapes, lists that end in a count, sizes and days that nobody knows."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rechunk_podman.cli.tables import day, first_of, print_lines, print_table, shortened, size_of
from rechunk_podman.units import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain → text", "plain → text"),
        ("line\nbreak\x1b[31m", "line\\nbreak\\x1b[31m"),
        ("byte \udcff", "byte \\xff"),
    ],
)
def test_text_of_images_cannot_steer_a_terminal(text, shown, capsys):
    assert printable(text) == shown
    print_lines([text])
    print_table(text, ("name", "size"), [(text, "1")], numbers=("size",))
    out = capsys.readouterr().out
    assert out.startswith(shown + "\n")
    assert out.count(shown) == 3


def test_lists_end_in_a_count():
    assert first_of(["a", "b"]) == "a, b"
    assert first_of(["a", "b"], more=3) == "a, b and 3 more"
    assert first_of(list("abcdef"), more=1) == "a, b, c, d and 3 more"
    assert shortened(["a", "b", "c"], 3, "-v shows them") == ["  a", "  b", "  c"]
    assert shortened(["a", "b", "c"], 1, "-v shows them") == ["  a", "  and 2 more (-v shows them)"]


def test_unknown_sizes_and_days():
    assert (size_of(14_200_000_000), size_of(None), size_of(None, "")) == ("14.2 GB", "unknown", "")
    assert (day(1_700_000_000), day(1 << 60)) == ("2023-11-14", f"@{1 << 60}")


LONG = "unclaimed/usr/share/applications/" + "a-very-long-name" * 12
PROGRAM = """
import sys
from rechunk_podman.cli.console import set_up_streams
from rechunk_podman.cli.tables import print_lines, print_table
set_up_streams()
print_table(sys.argv[1], ("layer", "components"), [("1", sys.argv[1])], numbers=("layer",))
print_lines(["old → new", "Käse", "├─ layer", " │ └─ file"])
"""


def printed(columns: str = "", **environment: str) -> str:
    """Return what a program of its own prints into a pipe; `columns` runs it on a terminal of that width."""
    command = [sys.executable, "-c", PROGRAM, LONG]
    if columns:
        command = ["script", "--quiet", "--return", "--command", '$PYTHON -c "$PROGRAM" $LONG', "/dev/null"]
        environment |= {"PYTHON": sys.executable, "PROGRAM": PROGRAM, "LONG": LONG, "COLUMNS": columns}
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=True)
    return done.stdout.decode("latin-1" if "PYTHONIOENCODING" in environment else "utf-8")


@pytest.mark.parametrize(
    "environment", [{}, {"COLUMNS": "40"}, {"FORCE_COLOR": "1", "GITHUB_ACTIONS": "true", "COLUMNS": "40"}]
)
def test_a_pipe_and_the_log_of_ci_get_whole_names(environment):
    lines = printed(**environment).splitlines()
    assert lines[0] == LONG
    assert sum(LONG in line for line in lines[1:]) == 1


def test_a_terminal_gets_names_in_several_lines_and_nothing_cut():
    text = printed(columns="60")
    rows = [line.split("│")[2].strip() for line in text.splitlines() if line.startswith("│")]
    assert "".join(rows) == LONG
    assert len(rows) > 2


@pytest.mark.parametrize(("encoding", "cheese"), [("ascii", "K\\xe4se"), ("latin-1", "Käse")])
def test_an_encoding_that_lacks_a_character(encoding, cheese):
    """The arrow of `diff` ended it with UnicodeEncodeError; `inspect --tree` stays a tree."""
    lines = printed(PYTHONIOENCODING=encoding).splitlines()
    assert lines[-4:] == ["old -> new", cheese, "|- layer", " | `- file"]
