"""rechunk_podman.split() from Python: into storage, into a layout, and without the right to mount."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import rechunk_podman
from rechunk_podman import BuildOptions, UsageError
from rechunk_podman.explain.run import verify
from rechunk_podman.oci.validate.image import validate
from support import tools

SCRIPT = """
import sys, rechunk_podman
try:
    rechunk_podman.split(sys.argv[1])
except rechunk_podman.NamespaceRequiredError as error:
    print(error.hint)
"""


@pytest.fixture
def in_storage(storage: tools.Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process works on `storage`."""
    for name in os.environ.keys() - storage.env.keys():
        monkeypatch.delenv(name)
    for name, value in storage.env.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("in_storage")
def test_two_releases_in_storage(small: Callable[[int], str]) -> None:
    result = "localhost/from-python:release"
    first = rechunk_podman.split(small(1), BuildOptions(max_layers=6, tag=result))
    assert first.name == result
    assert verify(small(1), result).same
    first_facts = rechunk_podman.inspect(result)
    assert first_facts.ledger is not None
    assert first_facts.record.config_bytes == first.images[0].record.config_bytes
    second = rechunk_podman.split(small(2), BuildOptions(max_layers=6, tag=result))
    assert second.id != first.id
    assert verify(small(2), result).same
    assert first.id is not None
    update = rechunk_podman.diff(first.id, result)
    assert 0 < update.count("changed") < len(update.layers)
    assert len(rechunk_podman.inspect(result).releases) == 2


@pytest.mark.usefixtures("in_storage")
def test_a_layout(small: Callable[[int], str], tmp_path: Path) -> None:
    result = rechunk_podman.split(small(1), output=f"oci:{tmp_path}/layout:localhost/app:1")
    report = validate(tmp_path / "layout", strict=True)
    assert report.problems == []
    assert [image.digest for image in report.images] == [result.images[0].record.digest]
    assert verify(small(1), f"oci:{tmp_path}/layout").same
    with pytest.raises(UsageError, match="no image localhost/absent"):
        rechunk_podman.split("localhost/absent")


def test_an_ordinary_user_is_told_what_to_do(ordinary_user: tools.OrdinaryUser, tmp_path: Path) -> None:
    archive = ordinary_user.home / "small.tar"
    (tmp_path / "file").write_text("x")
    tools.run("tar", "-C", tmp_path, "-cf", archive, "file")
    archive.chmod(0o644)
    ordinary_user.run("podman", "import", "--quiet", archive, "localhost/tiny:latest")
    done = ordinary_user.run(ordinary_user.python, "-c", SCRIPT, "localhost/tiny:latest")
    assert "podman unshare" in done.out
