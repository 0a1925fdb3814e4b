"""Execute the steps of the workflows that need no registry: ci.yml, and the files of a release.

Stand-ins: the runner (support.workflow), cibuildwheel (containers of other distributions), gh, the index of
packages. All else is real: make, pip, build, uv.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rechunk_podman import __version__
from support import tools
from support.machines import Machine
from support.needs import require


@pytest.fixture
def machine(repository: Path, tmp_path: Path) -> Machine:
    require("git", "make")
    return Machine(tmp_path / "machines", repository, {"HOME": str(tmp_path)})


class Index(BaseHTTPRequestHandler):
    """An index of packages that keeps what is uploaded (PyPI's upload interface: a form with the file)."""

    received: list[bytes]

    def do_POST(self) -> None:
        self.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def index() -> Iterator[tuple[str, list[bytes]]]:
    """The address of an index, and what was uploaded to it."""
    received: list[bytes] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Index,), {"received": received}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()
    thread.join()
    server.server_close()


def test_release(machine: Machine, index: tuple[str, list[bytes]]) -> None:
    """A tag makes wheels, sdist, checksums and notes; gh gets them, and the index those of the package."""
    override = {"CIBUILDWHEEL": "pip", "BUILD": "build", "UV": "pip"}
    machine.run("release.yml", "check", override)
    assert machine.outputs["check"] == {"version": __version__}
    machine.run("release.yml", "wheels", override, arch="amd64")
    built = {path.name for path in (machine.artifacts / "dist-amd64").iterdir()}
    assert f"rechunk_podman-{__version__}.tar.gz" in built
    assert {name.partition("-")[0] for name in built if name.endswith(".whl")} == {
        "pyxattr",
        "rechunk_podman",
    }

    for name, file in (("image-amd64", "digest-amd64"), ("pinned", "Containerfile.splitter")):
        (machine.artifacts / name).mkdir()
        (machine.artifacts / name / file).write_text("made by another job\n")
    machine.run("release.yml", "publish", override)
    assert (machine.bin / "asked").read_text().startswith(f"release create v{__version__} --verify-tag ")
    notes = (machine.bin / "notes").read_text()
    assert notes.strip()
    assert notes.strip() in (machine.clone / "CHANGELOG.md").read_text()
    assert "\n## " not in notes
    assets = machine.bin / "assets"
    tools.run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=assets)
    sums = (assets / "SHA256SUMS").read_text().splitlines()
    named = {line.split(None, 1)[1] for line in sums}
    assert named == {path.name for path in assets.iterdir()} - {"SHA256SUMS"}
    assert named == {"Containerfile.splitter", *built}

    address, received = index
    uv = {"UV_PUBLISH_URL": address, "UV_PUBLISH_TOKEN": "token", "UV_TRUSTED_PUBLISHING": "never"}
    machine.run("release.yml", "pypi", {**override, **uv})
    assert len(received) == 2
    assert all(b'name="sha256_digest"' in form and b"rechunk" in form for form in received)


def test_checks(machine: Machine) -> None:
    """Each job of ci.yml, with set-up and make; pytest prints its version, and linters are named only."""
    no_tests = {"ARGS": "--version", "PYTHON": sys.executable}
    ran = machine.run("ci.yml", "unit", no_tests, runner="ubuntu-24.04", python="3.13").ran
    assert "-m pytest " in ran["Test"]
    assert "tests/unit tests/property --version\npytest " in ran["Test"]
    ran = machine.run("ci.yml", "system", no_tests, runner="ubuntu-24.04").ran
    assert "tests/tools --version\npytest " in ran["Test with real tools"]
    assert "tests/e2e --version\npytest " in ran["Test whole commands"]
    ran = machine.run("ci.yml", "lint", {**no_tests, "MAKEFLAGS": "n"}).ran
    assert "ruff check" in ran["Lint"]
    assert "mkdocs build" in ran["Pages"]


def test_scripts_of_the_release_refuse(repository: Path) -> None:
    """A tag of another version, a version without notes, and an image without a digest are errors."""
    script = repository / "tools/release"
    for arguments, said in (
        (("version", "v0.0.1"), "the tag is v0.0.1"),
        (("notes", "0.0.1"), "no section 0.0.1"),
        (("containerfile", "quay.io/example/image:1"), "not NAME@DIGEST"),
    ):
        done = tools.run(script, *arguments, check=False)
        assert done.code == 1
        assert said in done.err
