"""Package databases that would cost memory or time without end, made here; each docstring says what it shows.

A generator writes the database below an empty directory, the root filesystem.
"""

from __future__ import annotations

import lzma
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from support.rpm_headers import package, sqlite_database

SQLITE = "usr/lib/sysimage/rpm/rpmdb.sqlite"
NDB = "usr/lib/sysimage/rpm/Packages.db"
BDB = "var/lib/rpm/Packages"
DPKG = "var/lib/dpkg"
PAGE = 4096


def write(root: Path, path: str, data: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data)


# Berkeley DB


def bdb(*pages: bytes) -> bytes:
    head = bytearray(PAGE)
    struct.pack_into("<I", head, 12, 0x061561)
    struct.pack_into("<I", head, 20, PAGE)
    head[25] = 8
    return bytes(head) + b"".join(pages)


def hash_page(values: list[tuple[int, int]]) -> bytes:
    """Return a page of items that name overflow chains: (first page, length)."""
    page = bytearray(PAGE)
    end, offsets = PAGE, []
    for number, (first, length) in enumerate(values, 1):
        end -= 5
        page[end : end + 5] = b"\1" + struct.pack("<I", number)
        offsets.append(end)
        end -= 12
        struct.pack_into("<BxxxII", page, end, 3, first, length)
        offsets.append(end)
    struct.pack_into("<H", page, 20, len(offsets))
    page[25] = 13
    struct.pack_into(f"<{len(offsets)}H", page, 26, *offsets)
    return bytes(page)


def overflow_page(following: int, used: int = PAGE - 26) -> bytes:
    page = bytearray(PAGE)
    struct.pack_into("<I", page, 16, following)
    struct.pack_into("<H", page, 22, used)
    page[25] = 7
    return bytes(page)


def bdb_value_of_4_gigabytes(root: Path) -> None:
    """A value claims 4 GB, and its chain of pages is a circle."""
    write(root, BDB, bdb(hash_page([(2, 0xFFFFFFFF)]), *[overflow_page(2)] * 50))


def bdb_values_share_a_chain(root: Path) -> None:
    """10,000 values are the same 10 MB."""
    chain = [overflow_page(number) for number in range(52, 52 + 2500)]
    write(root, BDB, bdb(*[hash_page([(51, 10_000_000)] * 190)] * 50, *chain))


def bdb_chain_of_single_bytes(root: Path) -> None:
    """10,000 values are chains in which each page adds a byte."""
    write(root, BDB, bdb(*[hash_page([(51, 200_000)] * 190)] * 50, *[overflow_page(51, 1)] * 50))


# ndb


def ndb(slots: bytes, rest: bytes) -> bytes:
    pages = -(-(len(slots) + 32) // PAGE)
    head = b"RpmP" + struct.pack("<III", 0, 1, pages) + bytes(16)
    return (head + slots).ljust(pages * PAGE, b"\0") + rest


def ndb_slots_share_a_blob(root: Path) -> None:
    """6,000 slots name the same package of 60 kB."""
    blob = package("one", DIRNAMES=["/"], DIRINDEXES=[0] * 2500, BASENAMES=["a" * 20] * 2500)
    start = -(-(6000 * 16 + 32) // PAGE) * PAGE
    slot = struct.pack("<4sIII", b"Slot", 1, start // 16, -(-(len(blob) + 16) // 16))
    write(root, NDB, ndb(slot * 6000, b"BlbS" + struct.pack("<III", 1, 1, len(blob)) + blob + bytes(16)))


def ndb_damaged_slots(root: Path) -> None:
    """A million slots are damaged: a warning each would take minutes."""
    write(root, NDB, ndb(bytes(16) * 1_000_000, b""))


# rpm headers, sqlite


def header_long_directory(root: Path) -> None:
    """100,000 files lie in one directory whose name has 100,000 characters."""
    count = 100_000
    blob = package("one", DIRNAMES=["/" + "d" * count], DIRINDEXES=[0] * count, BASENAMES=["f"] * count)
    sqlite_database(root / SQLITE, [blob])


def header_tags_share_bytes(root: Path) -> None:
    """All texts of a header are the same 10 MB, one letter of which is four bytes wide."""
    text = "\0".join(["n", "\U0001f4a3" + "f" * 10_000_000, ""]).encode()
    tags = (1000, 1001, 1002, 1022, 1027, 1044, 1035, 1117, 1118)
    index = b"".join(struct.pack(">IIiI", tag, 8, 0, 2) for tag in tags)
    sqlite_database(root / SQLITE, [struct.pack(">II", len(tags), len(text)) + index + text])


def header_files_without_end(root: Path) -> None:
    """Packages of 190,000 files each, all of them sound: together they fill the memory."""
    count = 190_000
    blob = package(
        "one",
        DIRNAMES=["/usr/share/a/directory/of/usual/length/"],
        DIRINDEXES=[0] * count,
        BASENAMES=[f"{number:020}" for number in range(count)],
        FILEDIGESTS=["0" * 64] * count,
        FILEMODES=[0o100644] * count,
    )
    sqlite_database(root / SQLITE, [blob] * 20)


def header_numbers_without_end(root: Path) -> None:
    """Each of 100 packages has 190,000 entries in its changelog."""
    blob = package("one", CHANGELOGTIME=list(range(1, 190_000)))
    sqlite_database(root / SQLITE, [blob] * 100)


def sqlite_computed_column(root: Path) -> None:
    """The headers are computed: a gigabyte each, in a file of 12 kB."""
    (root / SQLITE).parent.mkdir(parents=True)
    with closing(sqlite3.connect(root / SQLITE)) as connection, connection:
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob AS (zeroblob(900000000)))")
        connection.executemany("INSERT INTO Packages (hnum) VALUES (?)", [(number,) for number in range(9)])


def sqlite_huge_rows(root: Path) -> None:
    """A row holds 300 MB of zeros."""
    sqlite_database(root / SQLITE, [])
    with closing(sqlite3.connect(root / SQLITE)) as connection, connection:
        connection.execute("INSERT INTO Packages (blob) VALUES (zeroblob(300000000))")


def sqlite_pages_name_one_leaf(root: Path) -> None:
    """The tree of the table has 7,000 branches, and all end in the same page of 7,000 rows."""
    page = 65536
    (root / SQLITE).parent.mkdir(parents=True)
    with closing(sqlite3.connect(root / SQLITE)) as connection:
        connection.execute(f"PRAGMA page_size = {page}")
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        with connection:
            rows = [(number, b"") for number in range(20_000)]
            connection.executemany("INSERT INTO Packages VALUES (?, ?)", rows)
        (top,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'Packages'").fetchone()
    data = bytearray((root / SQLITE).read_bytes())
    start = (top - 1) * page
    assert data[start] == 5, "the root of the table is no interior page"
    leaf = data[start + 8 : start + 12]
    cells = 7000
    content = page - 7 * cells
    for cell in range(cells):
        at = start + content + 7 * cell
        data[at : at + 7] = leaf + b"\x81\x80\x01"
        struct.pack_into(">H", data, start + 12 + 2 * cell, content + 7 * cell)
    struct.pack_into(">BHHHB", data, start, 5, 0, cells, content, 0)
    (root / SQLITE).write_bytes(data)


def sqlite_huge_schema(root: Path) -> None:
    """A view of 10 MB, whose parsed form takes forty times as much."""
    sqlite_database(root / SQLITE, [package("one")])
    with closing(sqlite3.connect(root / SQLITE)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        text = "CREATE VIEW v AS SELECT 1 WHERE 1 IN (" + "1," * 5_000_000 + "1)"
        connection.execute("INSERT INTO sqlite_master VALUES ('view', 'v', 'v', 0, ?)", (text,))


# dpkg


def status(root: Path, data: bytes) -> None:
    write(root, f"{DPKG}/status", data)


def dpkg_tiny_stanzas(root: Path) -> None:
    """1.2 million stanzas without a name: a warning each would take minutes."""
    status(root, b"a:\n\n" * 1_200_000)


def dpkg_many_packages(root: Path) -> None:
    """A million packages without a file."""
    status(root, b"Package: a\nVersion: 1\n\n" * 1_000_000)


def dpkg_huge_status(root: Path) -> None:
    """315 MB of a status file."""
    status(root, b"Package: a\nStatus: install ok installed\nVersion: 1\n\n")
    os.truncate(root / DPKG / "status", 315_000_000)


def dpkg_continued_field(root: Path) -> None:
    """A field of 1.9 million lines: to append to a text again and again is quadratic."""
    status(root, b"Package: a\nVersion: 1\nConffiles:\n" + b" /etc/some\n" * 1_900_000)


def dpkg_long_lines(root: Path) -> None:
    """A line of 30 MB, with a character that is four bytes wide."""
    status(root, "Package: a\nVersion: \U0001f4a3".encode() + b"1 " * 15_000_000 + b"\n")


def installed(root: Path, count: int = 1, name: str = "a") -> None:
    stanza = f"Package: {name}\nStatus: install ok installed\nVersion: 1\n\n"
    status(root, stanza.encode() * count)


def dpkg_empty_lines(root: Path) -> None:
    """A list of files, and MD5 sums, of 16 MB of empty lines."""
    installed(root)
    for suffix in ("list", "md5sums"):
        write(root, f"{DPKG}/info/a.{suffix}", b"\n" * 16_000_000)


def dpkg_wide_list(root: Path) -> None:
    """Lists of 15 MB in 190,000 lines, one letter of which is four bytes wide."""
    installed(root, 20)
    data = "/\U0001f4a3\n".encode() + b"/" + b"f" * 77 + b"\n"
    write(root, f"{DPKG}/info/a.list", data + (b"/" + b"f" * 77 + b"\n") * 190_000)


def dpkg_repeated_package(root: Path) -> None:
    """The same package, with a list of 10 MB, stands in the status 50,000 times."""
    installed(root, 50_000)
    write(root, f"{DPKG}/info/a.list", b"/usr\n" * 100)
    write(root, f"{DPKG}/info/a.md5sums", b"x" * 10_000_000)


def dpkg_many_info_files(root: Path) -> None:
    """A package has 20,000 files in info/, and stands in the status 50,000 times."""
    installed(root, 50_000)
    (root / DPKG / "info").mkdir()
    for number in range(20_000):
        (root / DPKG / "info" / f"a.{number}").touch()


def dpkg_changelogs(root: Path) -> None:
    """500 changelogs of 8 kB are 8 MB each when they are decompressed."""
    plain = b" -- A <a@b>  Thu, 01 Jan 2026 00:00:00 +0000\n" + b"x" * (8 << 20)
    compressor = zlib.compressobj(wbits=-15)
    packed = compressor.compress(plain) + compressor.flush(zlib.Z_FULL_FLUSH)
    check = zlib.crc32(plain)
    names = [f"p{number}" for number in range(500)]
    status(root, b"".join(f"Package: {name}\nVersion: 1\n\n".encode() for name in names))
    for name in names:
        end = zlib.compressobj(wbits=-15)
        last = end.compress(name.encode()) + end.flush()
        tail = struct.pack("<II", zlib.crc32(name.encode(), check), len(plain) + len(name))
        path = f"usr/share/doc/{name}/changelog.gz"
        write(root, path, b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + packed + last + tail)


def dpkg_changelog_entries(root: Path) -> None:
    """A changelog of 40 kB has a million entries."""
    installed(root)
    compressor = zlib.compressobj(wbits=31)
    packed = compressor.compress(b"\n -- a" * 1_400_000) + compressor.flush()
    write(root, "usr/share/doc/a/changelog.Debian.gz", packed)


RPM: tuple[Callable[[Path], None], ...] = (
    bdb_value_of_4_gigabytes,
    bdb_values_share_a_chain,
    bdb_chain_of_single_bytes,
    ndb_slots_share_a_blob,
    ndb_damaged_slots,
    header_long_directory,
    header_tags_share_bytes,
    header_files_without_end,
    header_numbers_without_end,
    sqlite_computed_column,
    sqlite_huge_rows,
    sqlite_pages_name_one_leaf,
    sqlite_huge_schema,
)
DEB: tuple[Callable[[Path], None], ...] = (
    dpkg_tiny_stanzas,
    dpkg_many_packages,
    dpkg_huge_status,
    dpkg_continued_field,
    dpkg_long_lines,
    dpkg_empty_lines,
    dpkg_wide_list,
    dpkg_repeated_package,
    dpkg_many_info_files,
    dpkg_changelogs,
    dpkg_changelog_entries,
)


# Records beside what they describe


def python_records_of_commas(root: Path) -> None:
    """Each of 40 RECORDs is a line of 8 million empty fields."""
    for number in range(40):
        write(root, f"opt/a{number}-1.dist-info/RECORD", b"," * 8_000_000)


def python_records_of_empty_lines(root: Path) -> None:
    """Each of 40 RECORDs has 190,000 lines of five empty fields."""
    for number in range(40):
        write(root, f"opt/a{number}-1.dist-info/RECORD", (b"," * 4 + b"\n") * 190_000 + b"x" * 7_000_000)


def python_records_without_end(root: Path) -> None:
    """RECORDs of 90,000 files each, all of them sound: together they fill the memory."""
    data = b"".join(b"%020d.py,sha256=%s,1\n" % (n, b"A" * 43) for n in range(90_000))
    for number in range(40):
        write(root, f"opt/a{number}-1.dist-info/RECORD", data)


def conda_nested_lists(root: Path) -> None:
    """1.4 MB of JSON are 490,000 empty lists, in each of 30 records."""
    data = b'{"name":"a","files":[' + b"[]," * 490_000 + b"[]]}"
    for number in range(30):
        write(root, f"opt/conda-meta/{number}-1-0.json", data)


def node_large_manifests(root: Path) -> None:
    """600 package.json of almost a megabyte are empty lists."""
    data = b'{"x":[' + b"[]," * 340_000 + b"[]]}"
    for number in range(600):
        write(root, f"srv/node_modules/a{number}/package.json", data)


def node_deep_manifests(root: Path) -> None:
    """2,000 package.json are nested 500,000 deep: a warning each."""
    for number in range(2000):
        write(root, f"srv/node_modules/a{number}/package.json", b"[" * 500_000)


def ruby_large_specifications(root: Path) -> None:
    """1,400 specifications of 240 kB, with a program in every third byte."""
    data = b"# stub: a 1 ruby lib\n s.executables = [" + b'"a"' * 80_000 + b"]\n"
    for number in range(1400):
        write(root, f"srv/specifications/a-{number}.gemspec", data)


def php_many_packages(root: Path) -> None:
    """300,000 packages in 1.5 MB, in each of five files."""
    for number in range(5):
        write(root, f"srv/{number}/composer/installed.json", b"[" + b"{},9," * 300_000 + b"9]")


def jvm_large_directories(root: Path) -> None:
    """Central directories of 4 MB that list nothing but manifests, of which none is where it claims."""
    entry = b"PK\1\2" + bytes(6) + struct.pack("<H10xIIH", 8, 200_000, 200_000, 20) + bytes(12)
    entry += struct.pack("<I", 0) + b"META-INF/MANIFEST.MF"
    central = entry * 60_000
    data = central + b"PK\5\6" + bytes(8) + struct.pack("<IIH", len(central), 0, 0)
    for number in range(150):
        write(root, f"srv/{number}.jar", data)


def jvm_manifest_of_zeros(root: Path) -> None:
    """A manifest of 200 kB is 200 MB when it is unpacked, in each of 200 archives."""
    compressor = zlib.compressobj(wbits=-15)
    packed = compressor.compress(bytes(200_000_000)) + compressor.flush()
    name = b"META-INF/MANIFEST.MF"
    local = b"PK\3\4" + bytes(22) + struct.pack("<HH", len(name), 0) + name
    central = b"PK\1\2" + bytes(6) + struct.pack("<H10xIIH", 8, len(packed), 1, len(name)) + bytes(12)
    central += struct.pack("<I", 0) + name
    start = len(local) + len(packed)
    data = local + packed + central + b"PK\5\6" + bytes(8) + struct.pack("<IIH", len(central), start, 0)
    for number in range(200):
        write(root, f"srv/{number}.jar", data)


def go_tables_without_end(root: Path) -> None:
    """3,000 programs claim tables of the largest sizes."""
    data = (
        b"\x7fELF\2\1\1"
        + bytes(9)
        + struct.pack("<HHIQQQI6H", 2, 62, 1, 0, 0, 0, 0, 64, 56, 65535, 64, 65535, 1)
    )
    data += struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, 1 << 62, 1 << 62, 1) * 9000
    for number in range(3000):
        write(root, f"srv/{number}", data)


SCATTERED: dict[Callable[[Path], None], str] = {
    python_records_of_commas: "python",
    python_records_of_empty_lines: "python",
    python_records_without_end: "python",
    conda_nested_lists: "conda",
    node_large_manifests: "node",
    node_deep_manifests: "node",
    ruby_large_specifications: "ruby",
    php_many_packages: "php",
    jvm_large_directories: "jvm",
    jvm_manifest_of_zeros: "jvm",
    go_tables_without_end: "go",
}
"""Bomb -> the ecosystem that reads it."""


# Release histories: bytes that `simulate` reads


def history_of_zeros() -> bytes:
    """An xz file of 30 kB holds 200 MB."""
    return lzma.compress(b" " * 200_000_000, preset=0)


def history_of_lists() -> bytes:
    """An xz file of a few kB holds ten million empty lists."""
    return lzma.compress(b"[" + b"[]," * 10_000_000 + b"[]]", preset=0)


def history_of_releases() -> bytes:
    """5,000 releases of a few bytes keep the 5,000 packages of the first."""
    names = [f'"{number}"' for number in range(5000)]
    components = ",".join(f'{name}:{{"source":{name}}}' for name in names)
    first = ",".join(f"{name}:{name}" for name in names)
    releases = [f'{{"id":1,"date":1,"packages":{{{first}}}}}']
    releases += [f'{{"id":1,"date":{date},"set":{{"1":"{date}"}}}}' for date in range(2, 5000)]
    text = f'{{"series":"s","components":{{{components}}},"releases":[{",".join(releases)}]}}'
    return text.encode()


def history_of_changes() -> bytes:
    """A package has 500,000 changes, and another one comes to be known with each of 400 releases."""
    times = ",".join(map(str, range(500_000)))
    releases = [f'{{"id":1,"date":{499_000 + n},"packages":{{"a":"{n}"}}}}' for n in range(400)]
    text = f'{{"series":"s","components":{{"a":{{"source":"a","changelog":[{times}]}}}},"releases":'
    return f"{text}[{','.join(releases)}]}}".encode()


HISTORIES: tuple[Callable[[], bytes], ...] = (
    history_of_zeros,
    history_of_lists,
    history_of_releases,
    history_of_changes,
)
