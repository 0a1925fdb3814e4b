"""Every parser of untrusted bytes on random damage: the only failure is a RechunkError, in time and memory.

`make fuzz` gives each a minute; support/fuzzing.py has the variables.
"""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from faults.inputs import INPUTS
from parsers import PARSERS, databases, images, sources
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Source, plan_only
from rechunk_podman.errors import RechunkError
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.rpm import bdb, ndb
from support.fuzzing import VALUES, Parser, bundle, fuzz, in_directory, places, replaced, tried
from support.rpm_headers import SOUND

ODD_TEXTS = (b"[" * 2000, b'{"a":' * 400 + b"1" + b"}" * 400, b"1e999", b"NaN", b'{"a":1e999}')
ODD = ("config", "manifest", "index", "tar", "tar headers")
"""Parsers with inputs that they refuse: documents of another kind, odd tars."""
ROOTS = {**databases.ROOTS, **sources.ROOTS}


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep no record: there would be a million."""
    caplog.set_level(logging.CRITICAL, "rechunk_podman")


@pytest.mark.parametrize("name", PARSERS)
def test_the_corpus_is_sound(name: str) -> None:
    read, corpus, _ = PARSERS[name]
    for data in corpus:
        with nullcontext() if name not in ODD else suppress(RechunkError):
            read(data)


def test_every_package_manager_is_fuzzed() -> None:
    loaded = {
        name.removeprefix("files of ").partition(" ")[0] for name in PARSERS if name.startswith("files of ")
    }
    assert {ecosystem.name for ecosystem in ECOSYSTEMS} - loaded == {"go"}, (
        "it reads large files: `go build info`"
    )


def test_the_databases_hold_the_header() -> None:
    assert list(bdb.parse(databases.berkeley())) == [SOUND]
    assert list(ndb.parse(databases.native())) == [SOUND]


@pytest.mark.parametrize("shown", INPUTS)
def test_inputs_that_were_read_wrongly(shown: str) -> None:
    name, data = INPUTS[shown]
    tried(PARSERS[name].read, data)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", PARSERS)
def test_random_damage(name: str) -> None:
    fuzz(name, PARSERS[name])


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("config", images.CONFIG_DOCUMENT),
        ("manifest", images.MANIFEST_DOCUMENT),
        ("index", images.INDEX_DOCUMENT),
    ],
)
def test_every_field_of_every_wrong_kind(name: str, document: object) -> None:
    read = PARSERS[name].read
    for path in places(document):
        for value in VALUES:
            tried(read, json.dumps(replaced(document, path, value)).encode())
    for text in ODD_TEXTS:
        with pytest.raises(RechunkError):
            read(text)


ORDINARY = {"usr/bin/a": b"a", "a/x": b"x", "b/y": b"y"}


def _plan(top: Path) -> None:
    """Plan an image of it: every path has its place, whatever the databases hold."""
    for path, content in ORDINARY.items():
        target = top / path
        if not target.exists() and not any(parent.is_file() for parent in target.parents):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    prepared = plan_only(Source(str(top)), BuildOptions(threads=1))
    held = sum(len(component.positions) for component in prepared.assignment.components)
    assert held == len(prepared.tree) + 1 - _inner(top)


def _inner(top: Path) -> int:
    """Return the number of directories that are not empty: they belong to no component."""
    return sum(any(path.iterdir()) for path in top.rglob("*") if path.is_dir())


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", ROOTS)
def test_an_image_with_damaged_files(name: str) -> None:
    fuzz(f"image with {name}", Parser(in_directory(_plan), [bundle(ROOTS[name])]), least=20)


@pytest.mark.parametrize("name", ["rpm sqlite", "dpkg"])
def test_strict_refuses_a_damaged_database(name: str, tmp_path: Path) -> None:
    for path in ROOTS[name]:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"\xff" * 600)
    with pytest.raises(RechunkError):
        plan_only(Source(str(tmp_path)), BuildOptions(threads=1, strict=True))
