"""Each JSON document of the command line has a format number and is as its schema says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from support.documents import SCHEMAS, check_document

HISTORY = Path(__file__).parents[2] / "data" / "histories" / "swag-alpine.json.xz"
PAGE = (SCHEMAS.parent / "json.md").read_text()


def rechunk(*arguments: str | Path, codes: tuple[int, ...] = (0,)) -> str:
    """Return what a command prints."""
    command = [sys.executable, "-m", "rechunk_podman", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two releases of an image with memory, as layouts; the second has one file more and one changed."""
    folder = tmp_path_factory.mktemp("images")
    top = folder / "root"
    (top / "etc").mkdir(parents=True)
    (top / "opt/app").mkdir(parents=True)
    (top / "etc/one").write_text("1")
    (top / "opt/app/large").write_bytes(b"x" * 100_000)
    (folder / "config.json").write_text('{"config": {"Labels": {"org.opencontainers.image.version": "1"}}}')
    old, new = f"oci:{folder}/old", f"oci:{folder}/new"
    build = (
        "build",
        "--rootfs",
        top,
        "--config",
        folder / "config.json",
        "--compression",
        "gzip",
        "--output",
    )
    rechunk(*build, old, "--source-date-epoch", "1700000000")
    (top / "etc/two").write_text("2")
    (top / "opt/app/large").write_bytes(b"y" * 100_000)
    rechunk(*build, new, "--source-date-epoch", "1700100000", "--previous", old, "--no-reuse")
    return old, new


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ("inspect", ("inspect", "NEW")),
        ("components", ("components", "ROOT")),
        ("components", ("components", "ROOT", "--why", "/opt/app/large")),
        ("diff", ("diff", "OLD", "NEW")),
        ("diff", ("diff", "--files", "OLD", "NEW")),
        ("diff", ("diff", "NEW", "NEW")),
        ("verify", ("verify", "OLD", "NEW")),
        ("validate", ("validate", "NEW", "--strict")),
        ("lint", ("lint", "NEW")),
        ("lint", ("lint", "OLD", "NEW")),
        ("lint-list", ("lint", "--list")),
        ("simulate", ("simulate", HISTORY)),
        ("changelog", ("changelog", "OLD", "NEW")),
        ("plan", ("build", "--plan-only", "--rootfs", "ROOT", "--previous", "NEW")),
    ],
)
def test_a_document_is_as_its_schema_says(
    images: tuple[str, str], schema: str, arguments: tuple[str | Path, ...]
) -> None:
    named = {"OLD": images[0], "NEW": images[1], "ROOT": str(Path(images[0][4:]).parent / "root")}
    words = [named.get(str(word), word) for word in arguments]
    document = check_document(schema, rechunk(*words, "--json", codes=(0, 1)))
    assert next(iter(document.items())) == ("format", 1)


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_a_schema_is_one_and_the_page_names_it(path: Path) -> None:
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["format"]["const"] == 1
    assert f"(schemas/{path.name})" in PAGE


def test_the_page_names_no_other() -> None:
    assert {*re.findall(r"\(schemas/([a-z-]+\.json)\)", PAGE)} == {path.name for path in SCHEMAS.iterdir()}


def test_a_key_without_a_schema_is_seen(images: tuple[str, str]) -> None:
    document = json.loads(rechunk("inspect", images[1], "--json"))
    document["layers"][0]["colour"] = "blue"
    with pytest.raises(AssertionError, match="colour"):
        check_document("inspect", json.dumps(document))
