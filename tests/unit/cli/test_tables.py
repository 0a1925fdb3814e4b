"""Lines and tables for people: escapes, lists that end in a count, sizes and days that nobody knows."""

from __future__ import annotations

import pytest

from rechunk_podman.cli.tables import day, first_of, print_lines, print_table, printable, shortened, size_of


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
