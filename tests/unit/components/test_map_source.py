"""Component maps: their three forms, which record wins, and what broken ones cost."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rechunk_podman.components import globs, map_file
from rechunk_podman.components.board import Rules
from rechunk_podman.components.map_file import LONGEST, Broken, Item, Record, parse
from rechunk_podman.components.sources import component_map
from rechunk_podman.errors import UsageError
from support.assigning import Result, assigned, make

FILES = {
    "opt/app/bin/app": "1",
    "opt/app/share/large": "22",
    "opt/app/share/other": "3",
    "usr/lib/libone.so": "4",
    "usr/lib/deep/libtwo.so": "5",
    "etc/two\twords\n": "6",
}


def mapped(tmp_path: Path, *maps: str, name: str = "map.tsv", inside: str | None = None) -> Result:
    top = make(tmp_path / "root", FILES)
    if inside is not None:
        make(top, {"usr/share/rechunk/map.tsv": inside})
    files = []
    for number, text in enumerate(maps):
        files.append(tmp_path / f"{number}-{name}")
        files[-1].write_text(text)
    return assigned(top, rules=Rules(tuple(map(str, files))))


def read(text: str, form: str) -> list[Item]:
    return list(parse(io.StringIO(text, newline=""), form))


def test_the_nearest_record_decides(tmp_path: Path) -> None:
    found = mapped(
        tmp_path,
        "*.so\tlibraries\n/opt/app\tapp\tweekly\n/opt/app/share/large\tdata\t30\n/opt/*/other\tglob\n"
        "/opt/app/share\tapp\n/opt/app/share/large\tlater\n",
    )
    assert found.owner["opt/app/bin/app"] == "map/app"
    assert found.owner["opt/app/share/large"] == "map/data"
    assert found.owner["opt/app/share/other"] == "map/glob"
    assert found.owner["usr/lib/libone.so"] == found.owner["usr/lib/deep/libtwo.so"] == "map/libraries"
    assert found.owner["etc/two\twords\n"] == "unclaimed/etc"
    assert (found["map/app"].interval, found["map/data"].interval) == (7.0, 30.0)


@pytest.mark.parametrize("form", ["csv", "json", "list.json"])
def test_the_other_forms_hold_every_name(tmp_path: Path, form: str) -> None:
    rows = [("/etc/two\twords\n", "odd, name", "daily"), ("/opt/app", 'a "b"', "")]
    text = io.StringIO()
    if form == "csv":
        csv.writer(text).writerows([("path", "component", "interval"), *rows])
    elif form == "json":
        json.dump({rows[0][0]: {"component": rows[0][1], "interval": 1}, rows[1][0]: rows[1][1]}, text)
    else:
        json.dump([dict(zip(("path", "component", "interval"), row, strict=True)) for row in rows], text)
    found = mapped(tmp_path, text.getvalue(), name=f"map.{form}")
    assert found.owner["etc/two\twords\n"] == "map/odd, name"
    assert found.owner["opt/app/bin/app"] == 'map/a "b"'
    assert found["map/odd, name"].interval == 1.0


def test_an_earlier_map_wins_and_the_one_in_the_image_is_last(tmp_path: Path) -> None:
    inside = "/opt/app/bin\tinside\n/usr/lib/deep\tinside\n"
    found = mapped(tmp_path, "/opt/app\tfirst\n", "/opt/app/bin\tsecond\n/etc\tsecond\n", inside=inside)
    assert found.owner["opt/app/bin/app"] == "map/first"
    assert found.owner["etc/two\twords\n"] == "map/second"
    assert found.owner["usr/lib/deep/libtwo.so"] == "map/inside"


def test_a_path_leads_through_the_symlinks_of_the_root(tmp_path: Path) -> None:
    top = make(tmp_path / "root", FILES)
    (top / "lib").symlink_to("/usr/lib")
    (tmp_path / "map").write_text("/lib/libone.so\tone\n")
    found = assigned(top, rules=Rules((str(tmp_path / "map"),)))
    assert found.owner["usr/lib/libone.so"] == "map/one"


def test_a_broken_record_costs_itself_and_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "no fields\n/opt\t\n/opt\ta\tsometimes\n\tx\n/a\0b\tx\n/opt\tbell\x07\n/opt/app\tapp\n"
    found = mapped(tmp_path, text)
    assert found.owner["opt/app/bin/app"] == "map/app"
    assert len(caplog.records) == 6
    assert all("0-map.tsv: record" in record.message for record in caplog.records)


def test_two_intervals_for_a_component_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = mapped(tmp_path, "/opt/app/bin\tapp\tdaily\n/opt/app\tapp\tweekly\n")
    assert found["map/app"].interval == 1.0
    assert "record 2" in caplog.text


@pytest.mark.parametrize("kind", ["fifo", "symlink", "directory"])
def test_a_map_in_the_image_that_is_no_file_is_left_out(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    top = make(tmp_path / "root", FILES)
    place = top / "usr/share/rechunk/map.tsv"
    place.parent.mkdir(parents=True)
    (tmp_path / "outside").write_text("/opt/app\tstolen\n")
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "symlink":
        place.symlink_to(tmp_path / "outside")
    else:
        place.mkdir()
    assert assigned(top).owner["opt/app/bin/app"] == "unclaimed/opt/app"
    assert "the map is left out" in caplog.text


def test_a_map_of_the_user_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the map"):
        assigned(make(tmp_path / "root", FILES), rules=Rules((str(tmp_path / "none"),)))


def test_too_many_components_and_comparisons_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(component_map, "MOST_COMPONENTS", 2)
    monkeypatch.setattr(globs, "MOST_COMPARISONS", 30)
    found = mapped(tmp_path, "/opt/app/bin\ta\n/usr/lib\tb\n/etc\tc\n" + "*x\ta\n" * 5)
    assert found.owner["etc/two\twords\n"] == "unclaimed/etc"
    assert "more than 2 components" in caplog.text
    assert "more than 30 comparisons" in caplog.text


@pytest.mark.parametrize(
    ("form", "text"), [("tsv", "/a\tb\n"), ("csv", "/a,b\n"), ("json", '[{"path": "/a"}]')]
)
def test_a_large_map_is_not_read_to_its_end(form: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_file, "MOST_READ", 200)
    found = list(parse(io.StringIO(text * 100), form))
    assert isinstance(found[-1], Broken)
    assert "the rest is not read" in found[-1].reason
    assert len(found) < 50


def test_a_long_record_is_passed_over() -> None:
    long = "/" + "x" * (3 * LONGEST)
    items = read(f"{long}\ta\n/b\tb\n", "tsv")
    assert [type(item) for item in items] == [Broken, Record]
    assert isinstance(read(json.dumps({long: "a"}), "json")[0], Broken)


def test_a_glob_does_not_backtrack(tmp_path: Path) -> None:
    top = make(tmp_path / "root", {"a" * 200: "1"})
    (tmp_path / "map").write_text("a*" * 40 + "b\tx\n")
    start = time.process_time()
    assigned(top, rules=Rules((str(tmp_path / "map"),)))
    assert time.process_time() - start < 5


def lines(count: int) -> Iterator[str]:
    for number in range(count):
        yield f"/opt/app/share/file-{number}\tcomponent-{number % 500}\n"


def test_700000_lines_are_read_in_little_memory(tmp_path: Path) -> None:
    """No line is kept: the memory that is added does not grow with the map."""
    with open(tmp_path / "map.tsv", "w") as stream:
        stream.writelines(lines(700_000))
        stream.write("/opt/app\tapp\n")
    top = make(tmp_path / "root", FILES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = assigned(top, rules=Rules((str(tmp_path / "map.tsv"),)))
    assert found.owner["opt/app/bin/app"] == "map/app"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@settings(max_examples=100, deadline=None)
@given(st.text(), st.sampled_from(("tsv", "csv", "json")))
def test_any_text_yields_records_or_reasons(text: str, form: str) -> None:
    for item in read(text, form):
        assert isinstance(item, (Record, Broken))


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.integers(1, 9)
    )
)
def test_a_json_map_reads_back(names: dict[str, int]) -> None:
    wanted = {f"/x{name}": f"c{number}" for name, number in names.items()}
    items = read(json.dumps(wanted, indent=1), "json")
    assert {item.path: item.component for item in items if isinstance(item, Record)} == wanted
