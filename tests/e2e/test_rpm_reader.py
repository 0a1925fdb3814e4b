"""The reader and rpm itself report the same packages of a whole image."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess

import pytest

from images import rpm as rpm_image
from images.cache import MissingTool, unpack
from rechunk_podman.components.assign import assign
from rechunk_podman.model import ComponentId
from rechunk_podman.packages.rpm import database as rpm_db
from rechunk_podman.packages.rpm import header as rpm_header
from rechunk_podman.packages.rpm.header import Header
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from support.rpm_headers import files

pytestmark = pytest.mark.e2e

PACKAGE = "%{NAME}\\t%{VERSION}-%{RELEASE}\\t%{SOURCERPM}\\t%{BUILDTIME}\\t%{FILEDIGESTALGO}\\n"
FILE = (
    "[%{=NAME}\\t%{FILENAMES}\\t%{FILESIZES}\\t%{FILEMODES}\\t%{FILEMTIMES}\\t%{FILESTATES}\\t"
    "%{FILEFLAGS}\\t%{FILEDIGESTS}\\n]"
)
CHANGE = "[%{=NAME}\\t%{CHANGELOGTIME}\\n]"


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    """A root filesystem whose packages rpmbuild built and `rpm --root` installed."""
    folder = tmp_path_factory.mktemp("rpm") / "root"
    try:
        archive = rpm_image.tar("base")
    except MissingTool as error:
        pytest.skip(f"{error} is not installed")
    unpack(archive, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def headers(top):
    with Root(top) as root:
        return [Header(record) for _, record in rpm_db.records(root, rpm_db.databases(root))]


@pytest.fixture(scope="module")
def image(top):
    with Root(top) as root:
        tree = scan(root)
        return tree, assign(root, tree)


def query(top, form):
    """Return the lines of `rpm -qa --queryformat`, each as a list of columns."""
    said = subprocess.run(
        ["rpm", f"--root={top}", f"--define=_dbpath {rpm_image.DBPATH}", "-qa", "--queryformat", form],
        check=True,
        capture_output=True,
    ).stdout
    return sorted(line.split("\t") for line in said.decode("utf-8", "surrogateescape").splitlines())


def test_packages(top, headers):
    ours = [
        [
            header.string(rpm_header.NAME),
            f"{header.string(rpm_header.VERSION)}-{header.string(rpm_header.RELEASE)}",
            header.string(rpm_header.SOURCERPM),
            str(header.number(rpm_header.BUILDTIME)),
            str(header.number(rpm_header.FILEDIGESTALGO) or "(none)"),
        ]
        for header in headers
    ]
    assert len(ours) > 50
    assert sorted(ours) == query(top, PACKAGE)


def test_files(top, headers):
    ours = [[header.string(rpm_header.NAME), *map(str, file)] for header in headers for file in files(header)]
    assert len(ours) > 5000
    assert sorted(ours) == query(top, FILE)


def test_changelogs(top, headers):
    ours = [
        [header.string(rpm_header.NAME), str(time)]
        for header in headers
        for time in header.numbers(rpm_header.CHANGELOGTIME)
    ]
    assert len(ours) > 1000
    assert sorted(ours) == query(top, CHANGE)


def test_every_packaged_file_is_in_the_component_of_its_source(top, headers, image):
    tree, assignment = image
    owner = {
        path: component.id
        for component in assignment.components
        for path in tree.paths_at(component.positions)
    }
    sources = {header.string(rpm_header.NAME): header.source()[0] for header in headers}
    expected = {}
    for name, path, _, mode, _, _, flags, _ in query(top, FILE):
        if stat.S_ISREG(int(mode) & 0xFFFF) and not int(flags) & rpm_header.FLAG_GHOST:
            expected.setdefault(path.lstrip("/"), set()).add(ComponentId("rpm", sources[name]))
    found = {path: ids for path, ids in expected.items() if path in tree}
    assert len(found) > 4000
    wrong = {path: owner[path] for path, ids in found.items() if owner[path] not in ids}
    assert not {path: ident for path, ident in wrong.items() if ident.source != "database"}


def test_a_whole_image_is_assigned_once_and_little_of_it_belongs_to_nobody(image):
    tree, assignment = image
    paths = [path for component in assignment.components for path in tree.paths_at(component.positions)]
    inner = {path.rpartition("/")[0] for path in tree}
    assert sorted(paths) == sorted(["", *(path for path in tree if path not in inner)])
    nobody = sum(component.size for component in assignment.components if component.id.source == "unclaimed")
    assert nobody < 0.01 * sum(component.size for component in assignment.components)


def test_the_digests_of_the_database_are_those_of_the_files(top, headers):
    compared = 0
    for header in headers:
        for file in files(header)[:3]:
            path = top / file.path.lstrip("/")
            if file.digest and path.is_file() and path.stat().st_mtime == file.mtime:
                assert hashlib.new("sha256", path.read_bytes()).hexdigest() == file.digest
                compared += 1
    assert compared > 50
