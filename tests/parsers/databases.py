"""The parsers of package databases, and root filesystems that hold each of them."""

from __future__ import annotations

import gzip
import json
import plistlib
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from faults import bombs
from rechunk_podman.errors import DatabaseError, RechunkError
from rechunk_podman.packages import scattered
from rechunk_podman.packages.alpm import reader as alpm
from rechunk_podman.packages.alpm import text as alpm_text
from rechunk_podman.packages.apk import reader as apk
from rechunk_podman.packages.budget import Budget
from rechunk_podman.packages.conda import reader as conda
from rechunk_podman.packages.dpkg import text as dpkg
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.go import buildinfo
from rechunk_podman.packages.jvm import reader as jvm
from rechunk_podman.packages.nix import reader as nix
from rechunk_podman.packages.node.layout import own_directories, place
from rechunk_podman.packages.php import reader as php
from rechunk_podman.packages.portage import reader as portage
from rechunk_podman.packages.python import text as python
from rechunk_podman.packages.rpm import bdb, ndb
from rechunk_podman.packages.rpm.header import Header
from rechunk_podman.packages.rpm.reader import _package as package_of
from rechunk_podman.packages.ruby import reader as ruby
from rechunk_podman.packages.versions import join_versions
from rechunk_podman.packages.xbps import reader as xbps
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from support.embedded import TEXT, jar, program
from support.fuzzing import Parser, bundle, in_directory
from support.rpm_headers import SOUND, package, sqlite_database

STANZA = (
    "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2-3\nSource: b (4)\n"
    f"Conffiles:\n /etc/a {'0' * 32}\n /etc/b {'1' * 32} obsolete\n\n"
).encode()
LIST = b"/.\n/usr\n/usr/bin\n/usr/bin/a\n"
SUMS = b"0123456789abcdef0123456789abcdef  usr/bin/a\n" * 2
LOG = b"a (1-1) x\n\n  * x\n\n -- A B <a@b>  Thu, 01 Jan 2015 00:00:00 +0000\n" * 3
DIVERSIONS = b"/usr/bin/a\n/usr/bin/a.real\na\n"
ALTERNATIVE = b"auto\n/usr/bin/x\nx.1\n/usr/share/man/x.1\n\n/usr/bin/a\n50\n/usr/share/man/a.1\n\n"
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
FILES_OF_XBPS = {"files": [{"file": "/usr/a", "sha256": "00", "size": 3}]}
PLIST = plistlib.dumps({"a": {"pkgver": "a-1_1"}, **FILES_OF_XBPS})
STORE = "0123456789abcdfghijklmnpqrsvwxyz-glibc-2.39-52"
METADATA = b"Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n"
RECORD = b"foo/__init__.py,sha256=" + b"A" * 43 + b',12\n../../bin/foo,,\n"a,\nb",md5=x,x\n'
CONDA = {"name": "a", "version": "1", "files": ["x", "y"], "timestamp": 1_700_000_000_000}
CONDA |= {"paths_data": {"paths": [{"_path": "x", "sha256": "00" * 32, "size_in_bytes": 5}]}}
COMPOSER = [{"name": "a/b", "version": "1", "install-path": "../a/b", "bin": ["bin/x"]}]
MANIFEST = {"name": "a", "version": "1.2.3", "bundleDependencies": ["b"], "dependencies": {"b": "^1"}}
GEM = b'# stub: a 1.0 ruby lib\n\nGem::Specification.new do |s|\n  s.executables = ["a".freeze]\nend\n'
POM = {"META-INF/maven/g/a/pom.properties": "version=1\n", "META-INF/MANIFEST.MF": "Bundle-Version: 1\n"}
VERSIONS = b"1.0.0-rc.1+x_y~z^a!2 v1:2-3"
PATHS_OF_NODE = (
    b"srv/node_modules/@a/b/node_modules/c/package.json\n"
    b"srv/.yarn/cache/lodash-npm-4.17.21-6382451519-c08619c038.zip\n"
    b"srv/node_modules/.store/react-virtual-0123456789/package/package.json\n"
)


def berkeley() -> bytes:
    """Return a Berkeley DB of one package."""
    chain = bytearray(bombs.overflow_page(0, len(SOUND)))
    chain[26 : 26 + len(SOUND)] = SOUND
    return bombs.bdb(bombs.hash_page([(2, len(SOUND))]), bytes(chain))


def native() -> bytes:
    """Return an ndb of one package."""
    blob = b"BlbS" + struct.pack("<III", 1, 1, len(SOUND)) + SOUND
    slot = struct.pack("<4sIII", b"Slot", 1, bombs.PAGE // 16, -(-len(blob) // 16))
    empty = b"Slot" + bytes(12)
    return bombs.ndb(slot + empty * 253, blob + bytes(16))


def _of_sqlite() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rpmdb.sqlite")
        other = package("other", BASENAMES=["a"], DIRNAMES=["/usr/bin/"], DIRINDEXES=[0])
        sqlite_database(path, [SOUND, other])
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA page_size = 512")
            connection.execute("VACUUM")
        return path.read_bytes()


def _read_header(data: bytes) -> None:
    package_of(Header(data), Budget("database"), True)


def _read_headers(records: Iterator[bytes | RechunkError]) -> None:
    for record in records:
        if isinstance(record, bytes):
            with suppress(RechunkError):
                _read_header(record)


def each(*readers: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """Return a reader that tries several: a ValueError costs a record."""

    def read(data: bytes) -> None:
        for reader in readers:
            with suppress(ValueError):
                reader(data)

    return read


def _stanzas(data: bytes) -> None:
    for fields in dpkg.stanzas(data):
        with suppress(ValueError):
            dpkg.package(fields)


def _apk(data: bytes) -> None:
    for lines in apk.split(data, Budget("database")):
        with suppress(ValueError):
            apk.parse(lines)


def _xbps(data: bytes) -> None:
    for label, record in xbps.plist(data, Budget("database")).items():
        if isinstance(record, dict):
            with suppress(ValueError):
                xbps.parse(label, record)


def _python(data: bytes) -> None:
    python.field(data, "Version")
    python.name_and_version(data.decode("utf-8", "surrogateescape"))


def _php(data: bytes) -> None:
    for record in php.records_of(data, Budget("composer")):
        with suppress(ValueError):
            php.parse(record, "srv/vendor/composer")


def _node(data: bytes) -> None:
    found = scattered.json_object(data, Budget("of Node.js"))
    scattered.plain(found.get("version"))


def _paths_of_node(data: bytes) -> None:
    for path in data.decode("utf-8", "surrogateescape").split("\n"):
        place(path)
        own_directories(path)


def _jar(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, Root(folder) as root:
        Path(folder, "a-1.jar").write_bytes(data)
        assert jvm.load(root, ["a-1.jar"]) is not None


def _compare_versions(data: bytes) -> None:
    """Each ecosystem orders two damaged versions the same way from both sides."""
    one, _, two = data.decode("latin-1").partition(" ")
    for ecosystem in ECOSYSTEMS:
        assert ecosystem.compare(one, two) == -ecosystem.compare(two, one)
        assert ecosystem.compare(one, one) == 0
        join_versions([two, one, "1"], ecosystem.compare)


ROOTS: dict[str, dict[str, bytes]] = {
    "rpm sqlite": {bombs.SQLITE: _of_sqlite()},
    "rpm bdb": {bombs.BDB: berkeley()},
    "rpm ndb": {bombs.NDB: native()},
    "dpkg": {
        f"{bombs.DPKG}/status": STANZA,
        f"{bombs.DPKG}/info/a.list": LIST,
        f"{bombs.DPKG}/info/a.md5sums": SUMS,
        f"{bombs.DPKG}/diversions": DIVERSIONS,
        f"{bombs.DPKG}/alternatives/x": ALTERNATIVE,
        "usr/share/doc/a/changelog.gz": gzip.compress(LOG, mtime=0),
    },
    "apk": {"lib/apk/db/installed": APK * 2},
    "alpm": {
        "etc/pacman.conf": b"[options]\nDBPath = /var/lib/pacman/\n",
        "var/lib/pacman/local/a-1-1/desc": DESC,
        "var/lib/pacman/local/a-1-1/files": DESC,
        "var/lib/pacman/local/a-1-1/mtree": gzip.compress(MTREE, mtime=0),
    },
    "portage": {"var/db/pkg/app/a-1/CONTENTS": CONTENTS, "var/db/pkg/app/a-1/BUILD_TIME": b"5\n"},
    "xbps": {
        "var/db/xbps/pkgdb-0.38.plist": plistlib.dumps({"a": {"pkgver": "a-1_1", "source-revisions": "a:1"}}),
        "var/db/xbps/.a-files.plist": plistlib.dumps(FILES_OF_XBPS),
    },
    "nix": {
        f"nix/store/{STORE}/lib/libc.so": b"x",
        f"nix/store/{STORE}.drv": b"x",
        "nix/var/nix/db/db.sqlite": b"x",
        "nix/var/nix/db/reserved": b"x",
    },
    "conda": {"opt/conda/conda-meta/a.json": json.dumps(CONDA).encode(), "opt/conda/conda-meta/history": b""},
    "python": {
        "srv/lib/python3.11/site-packages/foo-1.0.dist-info/METADATA": METADATA,
        "srv/lib/python3.11/site-packages/foo-1.0.dist-info/RECORD": RECORD,
        "srv/lib/python3.11/site-packages/foo-1.0.dist-info/INSTALLER": b"pip\n",
        "srv/lib/python3.11/site-packages/bar-1.egg-info/PKG-INFO": METADATA,
        "srv/lib/python3.11/site-packages/bar-1.egg-info/installed-files.txt": b"../bar.py\n",
        "srv/pyvenv.cfg": b"home = /usr/bin\nversion = 3.11.2\n",
    },
    "node": {
        "srv/node_modules/a/package.json": json.dumps(MANIFEST).encode(),
        "srv/node_modules/a/node_modules/b/package.json": json.dumps(MANIFEST).encode(),
        "srv/node_modules/.bin/a": b"x",
        "srv/.yarn/cache/lodash-npm-4.17.21-6382451519-c08619c038.zip": b"x",
    },
    "ruby": {"srv/specifications/a-1.0.gemspec": GEM, "srv/gems/a-1.0/lib/a.rb": b"x"},
    "php": {"srv/vendor/composer/installed.json": json.dumps(COMPOSER).encode(), "srv/vendor/a/b/x": b"x"},
    "jvm": {"srv/a-1.jar": jar(POM)},
}
"""Name -> the files of a root filesystem with the database of one package manager."""


def _load(name: str) -> Callable[[Path], None]:
    """Return a function that loads the databases of one package manager."""
    (ecosystem,) = (known for known in ECOSYSTEMS if known.name == name.partition(" ")[0])

    def load(top: Path) -> None:
        locations = ecosystem.locations
        with Root(top) as root:
            records = locations.scattered_in(scan(root).paths) if locations.scattered else []
            for files in (True, False):
                try:
                    ecosystem.load(root, records, files=files)
                except DatabaseError:
                    continue

    return load


PARSERS: dict[str, Parser] = {
    "rpm header": Parser(_read_header, [SOUND]),
    "bdb": Parser(lambda data: _read_headers(bdb.parse(data)), [berkeley()]),
    "ndb": Parser(lambda data: _read_headers(ndb.parse(data)), [native()]),
    "dpkg stanzas": Parser(each(_stanzas), [STANZA * 2]),
    "dpkg texts": Parser(
        each(dpkg.paths, dpkg.md5sums, dpkg.diversions, dpkg.changelog, dpkg.changelog_times),
        [LIST, SUMS, LOG, DIVERSIONS, gzip.compress(LOG, mtime=0)],
    ),
    "apk database": Parser(each(_apk), [APK * 2]),
    "alpm texts": Parser(
        each(
            alpm.parse,
            alpm_text.database_path,
            lambda data: alpm_text.unpack(data, 1 << 20),
            alpm_text.mtree,
            lambda data: alpm._files(data, {}, Budget("database")),
        ),
        [DESC, MTREE, gzip.compress(MTREE, mtime=0), ROOTS["alpm"]["etc/pacman.conf"]],
    ),
    "portage contents": Parser(each(lambda data: portage.parse(data, Budget("database"))), [CONTENTS]),
    "xbps plists": Parser(each(_xbps, lambda data: xbps._files(data, Budget("database"))), [PLIST]),
    "nix names": Parser(lambda data: nix.parse(data.decode("utf-8", "surrogateescape")), [STORE.encode()]),
    "conda record": Parser(
        each(lambda data: conda.parse(data, "opt/conda-meta/a.json", Budget("conda"))),
        [json.dumps(CONDA).encode()],
    ),
    "composer record": Parser(each(_php), [json.dumps(COMPOSER).encode()]),
    "python texts": Parser(
        each(lambda data: python.record(data, "usr/lib"), python.lines, _python), [RECORD * 3, METADATA]
    ),
    "node manifest": Parser(each(_node), [json.dumps(MANIFEST).encode()]),
    "node paths": Parser(_paths_of_node, [PATHS_OF_NODE]),
    "ruby gemspec": Parser(each(lambda data: ruby.parse(data, "srv/specifications/a-1.gemspec")), [GEM]),
    "jar": Parser(_jar, [jar(POM), jar(POM, b"comment")]),
    "go build info": Parser(
        lambda data: buildinfo.module(data[:64], lambda length, offset: data[offset : offset + length]),
        [program(size=8192), program(size=8192, pointers=True, section=False)],
    ),
    "go build info text": Parser(buildinfo.parse, [TEXT.encode(), b"path\texample.com/a/b\n"]),
    "versions": Parser(_compare_versions, [VERSIONS]),
    **{
        f"files of {name}": Parser(in_directory(_load(name)), [bundle(files)])
        for name, files in ROOTS.items()
    },
}
