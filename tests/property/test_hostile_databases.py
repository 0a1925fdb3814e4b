"""Package databases, Ledgers and histories on random damage: every failure is a RechunkError, and in time."""

from __future__ import annotations

import gzip
import json
import logging
import plistlib
import random
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from faults import bombs
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.pipeline import Source, plan_only
from rechunk_podman.errors import RechunkError
from rechunk_podman.model import Component, ComponentId
from rechunk_podman.packages.alpm import reader as alpm
from rechunk_podman.packages.alpm import text as alpm_text
from rechunk_podman.packages.apk import reader as apk
from rechunk_podman.packages.budget import Budget
from rechunk_podman.packages.conda import reader as conda
from rechunk_podman.packages.dpkg import text as dpkg
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.go import buildinfo
from rechunk_podman.packages.jvm import reader as jvm
from rechunk_podman.packages.php import reader as php
from rechunk_podman.packages.portage import reader as portage
from rechunk_podman.packages.python import text as python
from rechunk_podman.packages.rpm import bdb, ndb
from rechunk_podman.packages.rpm.header import Header
from rechunk_podman.packages.rpm.reader import _package as package_of
from rechunk_podman.packages.ruby import reader as ruby
from rechunk_podman.packages.xbps import reader as xbps
from rechunk_podman.planning.codec import seal, unseal
from rechunk_podman.planning.history import parse_history
from rechunk_podman.planning.ledger import FORMAT, Ledger, decode, encode
from rechunk_podman.planning.plan import plan
from rechunk_podman.planning.simulate import replay
from rechunk_podman.rootfs.root import Root
from support.assigning import make
from support.embedded import jar, program
from support.fuzzing import SECONDS, SEED, damaged, tried
from support.rpm_headers import package, sqlite_database

HEADER = package(
    "name",
    built=5,
    changes=[3, 2, 1],
    DIRNAMES=["/a/", "/b/"],
    DIRINDEXES=[0, 1, 1],
    BASENAMES=["x", "y", "z"],
    FILESIZES=[1, 2, 3],
    FILEMODES=[0o100644, 0o100755, 0o40755],
    FILEDIGESTS=["00" * 32, "11" * 32, ""],
    FILEDIGESTALGO=8,
)
STANZA = (
    "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2-3\nSource: b (4)\n"
    f"Conffiles:\n /etc/a {'0' * 32}\n /etc/b {'1' * 32} obsolete\n\n"
).encode()
LIST = b"/.\n/usr\n/usr/bin\n/usr/bin/a\n"
SUMS = b"0123456789abcdef0123456789abcdef  usr/bin/a\n" * 2
LOG = b"a (1-1) x\n\n  * x\n\n -- A B <a@b>  Thu, 01 Jan 2015 00:00:00 +0000\n" * 3


def berkeley() -> bytes:
    chain = bytearray(bombs.overflow_page(0, len(HEADER)))
    chain[26 : 26 + len(HEADER)] = HEADER
    return bombs.bdb(bombs.hash_page([(2, len(HEADER))]), bytes(chain))


def native() -> bytes:
    blob = b"BlbS" + struct.pack("<III", 1, 1, len(HEADER)) + HEADER
    slot = struct.pack("<4sIII", b"Slot", 1, bombs.PAGE // 16, -(-len(blob) // 16))
    empty = b"Slot" + bytes(12)
    return bombs.ndb(slot + empty * 253, blob + bytes(16))


def ledger() -> str:
    components = [
        Component(ComponentId(source, name), size, bytes([size] * 8), version=f"1.{size}")
        for size, (source, name) in enumerate([("rpm", "a"), ("rpm", "b"), ("dpkg", "c")], 1)
    ]
    planned = plan(components, None, max_layers=3, now=5)
    diff_ids = [f"sha256:{number:064x}" for number in range(len(planned.layers))]
    return encode(Ledger.advance(None, components, planned, diff_ids, date=5))


HISTORY = {
    "series": "small",
    "components": {
        "a": {"source": "a", "size": 100, "changelog": [5, 300]},
        "b": {"source": "b", "size": None},
    },
    "releases": [
        {"id": "1", "date": 100, "packages": {"a": "1", "b": "1"}},
        {"id": "2", "date": 200, "set": {"a": "2"}, "del": []},
        {"id": "3", "date": 300, "del": ["b"]},
    ],
}


def read_header(data: bytes) -> None:
    package_of(Header(data), Budget("database"), True)


def read_headers(records: Iterator[bytes | RechunkError]) -> None:
    for record in records:
        if isinstance(record, bytes):
            try:
                read_header(record)
            except RechunkError:
                continue


def read_dpkg(data: bytes) -> None:
    """Read it as each of dpkg's files: a ValueError costs a record."""
    for read in (dpkg.paths, dpkg.md5sums, dpkg.diversions, dpkg.changelog, dpkg.changelog_times):
        try:
            read(data)
        except ValueError:
            continue
    for fields in dpkg.stanzas(data):
        try:
            dpkg.package(fields)
        except ValueError:
            continue


APK = (
    b"P:a\nV:1-r0\nA:x86_64\no:b\nt:5\nf:S\n"
    b"F:usr\nM:0:0:755\nR:a\na:0:0:644\nZ:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=\n\n"
)
DESC = b"%NAME%\na\n\n%VERSION%\n1-1\n\n%BASE%\nb\n\n%BUILDDATE%\n5\n\n%FILES%\nusr/\nusr/a\n\n"
MTREE = (
    b"#mtree\n/set type=file uid=0 gid=0 mode=644\n"
    b"./usr/a\\040b time=5.0 size=3 sha256digest=00\n/unset mode\n"
)
CONTENTS = b"dir /usr\nobj /usr/a 0123456789abcdef0123456789abcdef 5\nsym /usr/b -> a 5\nfif /run/x\n"
PLIST = plistlib.dumps({"a": {"pkgver": "a-1_1"}, "files": [{"file": "/usr/a", "sha256": "00", "size": 3}]})


def read_apk(data: bytes) -> None:
    for lines in apk.split(data, Budget("database")):
        try:
            apk.parse(lines)
        except ValueError:
            continue


def read_alpm(data: bytes) -> None:
    """Read it as each of pacman's files: a ValueError costs a record."""
    readers: tuple[Callable[[bytes], object], ...] = (
        alpm.parse,
        alpm_text.database_path,
        lambda data: alpm_text.unpack(data, 1 << 20),
        alpm_text.mtree,
        lambda data: alpm._files(data, {}, Budget("database")),
    )
    for read in readers:
        try:
            read(data)
        except ValueError:
            continue


def read_portage(data: bytes) -> None:
    try:
        portage.parse(data, Budget("database"))
    except ValueError:
        return


def read_xbps(data: bytes) -> None:
    try:
        for label, record in xbps.plist(data, Budget("database")).items():
            if isinstance(record, dict):
                xbps.parse(label, record)
        xbps._files(data, Budget("database"))
    except ValueError:
        return


def read_ledger(data: bytes) -> None:
    """Decode a damaged text, and one whose checksum is right: the damaged columns of a sound Ledger."""
    _, raw, columns = unseal([FORMAT], ledger())
    chance = random.Random(zlib.crc32(data))
    chosen = chance.randrange(len(columns))
    columns[chosen] = damaged(columns[chosen], chance)
    if chance.randrange(4) == 0:
        raw = damaged(raw, chance)
    for text in (data.decode("latin-1"), seal(FORMAT, raw, columns)):
        try:
            decode(text)
        except RechunkError:
            continue


def read_history(data: bytes) -> None:
    replay(parse_history(data), max_layers=2)


RECORD = b"foo/__init__.py,sha256=" + b"A" * 43 + b',12\n../../bin/foo,,\n"a,\nb",md5=x,x\n'
CONDA = {"name": "a", "version": "1", "files": ["x", "y"], "timestamp": 1_700_000_000_000}
CONDA |= {"paths_data": {"paths": [{"_path": "x", "sha256": "00" * 32, "size_in_bytes": 5}]}}
COMPOSER = [{"name": "a/b", "version": "1", "install-path": "../a/b", "bin": ["bin/x"]}]
GEM = b'# stub: a 1.0 ruby lib\n\nGem::Specification.new do |s|\n  s.executables = ["a".freeze]\nend\n'
POM = {"META-INF/maven/g/a/pom.properties": "version=1\n", "META-INF/MANIFEST.MF": "Bundle-Version: 1\n"}
VERSIONS = b"1.0.0-rc.1+x_y~z^a!2 v1:2-3"


def read_record(data: bytes) -> None:
    """Read it as each of Python's records: a ValueError costs a record."""
    for read in (lambda: python.record(data, "usr/lib"), lambda: python.lines(data)):
        try:
            read()
        except ValueError:
            continue
    python.field(data, "Version")
    python.name_and_version(data.decode("utf-8", "surrogateescape"))


def read_json(data: bytes) -> None:
    with suppress(ValueError):
        conda.parse(data, "opt/conda-meta/a.json", Budget("conda"))
    with suppress(ValueError):
        for record in php.records_of(data, Budget("composer")):
            php.parse(record, "srv/vendor/composer")


def read_gem(data: bytes) -> None:
    with suppress(ValueError):
        ruby.parse(data, "srv/specifications/a-1.gemspec")


def read_jar(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, Root(folder) as root:
        Path(folder, "a-1.jar").write_bytes(data)
        database = jvm.load(root, ["a-1.jar"])
        assert database is not None


def read_program(data: bytes) -> None:
    buildinfo.module(data[:64], lambda length, offset: data[offset : offset + length])


def compare_versions(data: bytes) -> None:
    """Each ecosystem orders two damaged versions the same way from both sides."""
    one, _, two = data.decode("latin-1").partition(" ")
    for ecosystem in ECOSYSTEMS:
        assert ecosystem.compare(one, two) == -ecosystem.compare(two, one)
        assert ecosystem.compare(one, one) == 0


READERS: dict[str, tuple[Callable[[bytes], object], Sequence[bytes]]] = {
    "rpm header": (read_header, [HEADER]),
    "bdb": (lambda data: read_headers(bdb.parse(data)), [berkeley()]),
    "ndb": (lambda data: read_headers(ndb.parse(data)), [native()]),
    "dpkg": (read_dpkg, [STANZA * 2, LIST, SUMS, LOG, gzip.compress(LOG)]),
    "python": (read_record, [RECORD * 3, b"Metadata-Version: 2.1\nVersion: 1.0\n"]),
    "json": (read_json, [json.dumps(CONDA).encode(), json.dumps(COMPOSER).encode()]),
    "ruby": (read_gem, [GEM]),
    "jvm": (read_jar, [jar(POM), jar(POM, b"comment")]),
    "go": (read_program, [program(size=8192), program(size=8192, pointers=True, section=False)]),
    "versions": (compare_versions, [VERSIONS]),
    "apk": (read_apk, [APK * 2]),
    "alpm": (read_alpm, [DESC, MTREE, gzip.compress(MTREE, mtime=0)]),
    "portage": (read_portage, [CONTENTS]),
    "xbps": (read_xbps, [PLIST]),
    "ledger": (read_ledger, [ledger().encode()]),
    "history": (read_history, [json.dumps(HISTORY).encode()]),
}


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """No record is kept: there would be a million."""
    caplog.set_level(logging.CRITICAL, "rechunk_podman")


def attempts(name: str, least: int) -> Iterator[random.Random]:
    chance = random.Random(f"{SEED} {name}")
    end = time.monotonic() + SECONDS
    count = 0
    while count < least or time.monotonic() < end:
        yield chance
        count += 1


@pytest.mark.parametrize("name", READERS)
def test_the_corpus_is_sound(name: str) -> None:
    reader, corpus = READERS[name]
    for data in corpus:
        reader(data)


def test_the_databases_hold_the_header() -> None:
    assert list(bdb.parse(berkeley())) == [HEADER]
    assert list(ndb.parse(native())) == [HEADER]


@pytest.mark.parametrize("name", READERS)
def test_random_damage(name: str) -> None:
    reader, corpus = READERS[name]
    for chance in attempts(name, 100):
        tried(reader, damaged(chance.choice(corpus), chance))


def rpm_root(top: Path) -> str:
    sqlite_database(top / bombs.SQLITE, [HEADER, package("other", BASENAMES=["a"], DIRNAMES=["/usr/bin/"])])
    return bombs.SQLITE


def bdb_root(top: Path) -> str:
    make(top, {bombs.BDB: berkeley()})
    return bombs.BDB


def ndb_root(top: Path) -> str:
    make(top, {bombs.NDB: native()})
    return bombs.NDB


def dpkg_root(top: Path) -> str:
    make(top, {f"{bombs.DPKG}/status": STANZA, "usr/share/doc/a/changelog.gz": gzip.compress(LOG)})
    make(top, {f"{bombs.DPKG}/info/a.list": LIST, f"{bombs.DPKG}/info/a.md5sums": SUMS})
    return f"{bombs.DPKG}/status"


def list_root(top: Path) -> str:
    dpkg_root(top)
    return f"{bombs.DPKG}/info/a.list"


@pytest.mark.parametrize("root", [rpm_root, bdb_root, ndb_root, dpkg_root, list_root])
@pytest.mark.parametrize("strict", [False, True])
def test_an_image_with_a_damaged_database(root: Callable[[Path], str], strict: bool, tmp_path: Path) -> None:
    """Its files are placed whatever the database holds; with --strict it may be refused."""
    make(tmp_path, {"usr/bin/a": "a", "a/x": "x", "b/y": "y"})
    path = tmp_path / root(tmp_path)
    sound = path.read_bytes()

    def build(data: bytes) -> None:
        path.write_bytes(data)
        try:
            prepared = plan_only(Source(str(tmp_path)), BuildOptions(threads=1, strict=strict))
        except RechunkError:
            assert strict
            return
        assert sum(len(component.positions) for component in prepared.assignment.components) >= 4

    build(sound)
    for chance in attempts(root.__name__, 20):
        tried(build, damaged(sound, chance))
