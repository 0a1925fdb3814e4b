"""Databases that claim too much: within 256 MiB and ten seconds they are read, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from faults import bombs, source_bombs, system_bombs
from rechunk_podman.packages.budget import text_size, texts_size
from support.bounded import MEGABYTES, SECONDS, measured

REFUSED = {
    "ndb_slots_share_a_blob",
    "ndb_damaged_slots",
    "bdb_values_share_a_chain",
    "bdb_chain_of_single_bytes",
    "header_long_directory",
    "header_files_without_end",
    "header_numbers_without_end",
    "sqlite_computed_column",
    "sqlite_pages_name_one_leaf",
    "sqlite_huge_schema",
    "dpkg_tiny_stanzas",
    "dpkg_many_packages",
    "dpkg_huge_status",
    "dpkg_long_lines",
    "dpkg_wide_list",
    "dpkg_repeated_package",
    "dpkg_many_info_files",
}
"""Of the others, records are left out, with a warning that names the database."""


@pytest.mark.parametrize("bomb", [*bombs.RPM, *bombs.DEB], ids=lambda bomb: bomb.__name__)
def test_a_database_is_bounded(bomb: Callable[[Path], None], tmp_path: Path) -> None:
    bomb(tmp_path)
    found = measured("rpm" if bomb in bombs.RPM else "dpkg", tmp_path)
    assert found["megabytes"] < MEGABYTES
    assert found["seconds"] < SECONDS
    said = found.get("error", "") if bomb.__name__ in REFUSED else found["log"]
    assert any(name in said for name in ("rpmdb.sqlite", "Packages", "dpkg", "changelog")), found


SYSTEM_BOMBS = [(name, bomb) for name, those in system_bombs.BOMBS.items() for bomb in those]


@pytest.mark.parametrize(("name", "bomb"), SYSTEM_BOMBS, ids=[bomb.__name__ for _, bomb in SYSTEM_BOMBS])
def test_a_database_of_a_system_is_bounded(name: str, bomb: Callable[[Path], None], tmp_path: Path) -> None:
    bomb(tmp_path)
    found = measured(name, tmp_path)
    assert found["megabytes"] < MEGABYTES
    assert found["seconds"] < SECONDS
    refused = found.get("error", "") or found["log"]
    assert "line_of" in bomb.__name__ or any(word in refused for word in ("/lib/", "/var/", "/nix/")), found


def test_a_schema_is_bounded_without_limits_of_a_connection(tmp_path: Path) -> None:
    """As in Python 3.10: by the memory of SQLite."""
    bombs.sqlite_huge_schema(tmp_path)
    found = measured("rpm-3.10", tmp_path)
    assert found["megabytes"] < MEGABYTES
    assert "needs more than" in found["error"]


@pytest.mark.parametrize("bomb", bombs.SCATTERED, ids=lambda bomb: bomb.__name__)
def test_scattered_records_are_bounded(bomb: Callable[[Path], None], tmp_path: Path) -> None:
    bomb(tmp_path)
    found = measured(bombs.SCATTERED[bomb], tmp_path)
    assert found["megabytes"] < MEGABYTES
    assert found["seconds"] < SECONDS
    assert "the package database of " in found.get("error", "") or found["found"] > 0


@pytest.mark.parametrize("bomb", source_bombs.BOMBS, ids=lambda bomb: bomb.__name__)
def test_the_owners_of_a_root_filesystem_are_bounded(bomb: Callable[[Path], None], tmp_path: Path) -> None:
    bomb(tmp_path)
    found = measured("sources", tmp_path)
    assert found["megabytes"] < MEGABYTES
    assert found["seconds"] < SECONDS
    assert found["found"] > 0
    assert source_bombs.BOMBS[bomb] in found["log"]


@pytest.mark.parametrize("bomb", source_bombs.GROUPS, ids=lambda bomb: bomb.__name__)
def test_a_groups_file_is_bounded(bomb: Callable[[], str], tmp_path: Path) -> None:
    path = tmp_path / "groups.yml"
    path.write_text(bomb())
    found = measured("groups", path)
    assert found["megabytes"] < MEGABYTES
    assert found["seconds"] < SECONDS
    assert source_bombs.GROUPS[bomb] in found.get("error", "")


@pytest.mark.parametrize("bomb", bombs.HISTORIES, ids=lambda bomb: bomb.__name__)
def test_a_history_is_bounded(bomb: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(bomb())
    found = measured("history", path)
    assert found["megabytes"] < MEGABYTES
    assert found["seconds"] < SECONDS
    assert found["error"].startswith("HistoryError")


@pytest.mark.parametrize("part", ["a:", "://a:", "mount", 'level=x msg="', "\\", "500 (", "x509: "])
def test_an_answer_of_a_registry_is_bounded(part: str, tmp_path: Path) -> None:
    path = tmp_path / "answer"
    path.write_text('time="" level=fatal msg="https://' + part * (60_000 // len(part)))
    found = measured("redact", path)
    assert found["seconds"] < SECONDS / 10


def test_texts_are_as_large_as_all_of_them() -> None:
    for texts in ([], ["a", "bcd"], ["a", "é\udcff", "bcd"], {"x": "ä"}.values()):
        assert texts_size(texts) == sum(text_size(text) for text in texts)
