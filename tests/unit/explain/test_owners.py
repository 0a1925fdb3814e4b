"""Who owns what, by each kind of reference to a file; those to registries are in e2e/test_arch.py."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from rechunk_podman.errors import UsageError
from rechunk_podman.explain.owners import Owners, owners, why
from rechunk_podman.registry.access import DEFAULT
from support.oci_material import Layout, archive_of, directory, make_tar, member
from support.tools import RECHUNK, run
from support.updates import command

STATUS = b"Package: tool\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Two layers: a package, metadata that no ordinary user may give a file, a removed file."""
    base = make_tar(
        [
            directory("usr"),
            member("usr/tool", data=b"tool" * 100, uid=1234567, mode=0o4755),
            member("var/lib/dpkg/status", data=STATUS),
            member("var/lib/dpkg/info/tool.list", data=b"/usr/tool\n"),
            member("gone", data=b"gone"),
            member("usr/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        ]
    )
    marked = directory("opt", pax={"SCHILY.xattr.user.component": "mine"})
    upper = make_tar([marked, member("opt/file", data=b"1"), member(".wh.gone", data=b"")])
    return Layout(tmp_path / "layout").layer(base).layer(upper).finish()


def files_of(found: Owners) -> dict[str, tuple[int, int]]:
    """Component -> (files, bytes)."""
    return {component.id: (component.files, component.size) for component in found.components}


def test_layers_are_unpacked_and_their_metadata_counts(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("TMPDIR", str(work))
    archive = archive_of(layout, tmp_path / "archive.tar")
    wanted = {
        "dpkg/tool": (2, 410),
        "xattr/mine": (1, 1),
        "database/dpkg": (1, len(STATUS)),
    }
    for reference in (f"oci:{layout}", str(layout), f"oci-archive:{archive}", str(archive)):
        found = owners(reference)
        assert files_of(found) == wanted
        assert found.unclaimed == ()
        reason = why(reference, "/opt/file")
        assert (reason.component, reason.records) == ("xattr/mine", ("user.component of /opt",))
    with pytest.raises(UsageError, match="there is no /gone"):
        why(f"oci:{layout}", "/gone")
    assert list(work.iterdir()) == []


def test_the_platform_of_an_image(layout: Path) -> None:
    with pytest.raises(UsageError, match="s390x"):
        owners(f"oci:{layout}", registry=replace(DEFAULT, platform="s390x"))


def test_a_root_filesystem_is_taken_for_one_even_if_it_holds_a_layout(layout: Path) -> None:
    """A layout at the top of an image: the image is the directory, and not the image in it."""
    (layout / "usr").mkdir()
    (layout / "usr/file").write_text("1")
    shown = json.loads(command("components", "--rootfs", layout, "--json"))
    assert "unclaimed/usr" in {component["id"] for component in shown["components"]}
    shown = json.loads(command("components", layout, "--json"))
    assert "dpkg/tool" in {component["id"] for component in shown["components"]}


@pytest.mark.parametrize("words", [(), ("IMG", "--rootfs", "/"), ("--rootfs", "/", "--arch", "arm64")])
def test_calls_that_make_no_sense(words: tuple[str, ...]) -> None:
    done = run(*RECHUNK, "components", *words, check=False)
    assert (done.code, done.out) == (2, "")
    assert "hint" in done.err or "leave out" in done.err
