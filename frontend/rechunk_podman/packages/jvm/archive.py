"""The description of a jar, read from the few places where a zip archive holds it. Pure.

Sources: PKWARE's APPNOTE.TXT, 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (its end); the JAR
File Specification (manifest); Apache Maven Archiver, "pom.properties".
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from rechunk_podman.patterns import compile_later

END_SIZE = 22
MOST_COMMENT = 0xFFFF
LOCAL_SIZE = 30
_CENTRAL_SIZE = 46
MOST_DIRECTORY = 4 << 20
"""Bytes of the largest central directory that is read."""
MOST_ENTRY = 256 << 10
"""Bytes of the largest manifest or pom.properties that is read."""
_MOST_POMS = 64

_NAMES = compile_later(rb"META-INF/(?:MANIFEST\.MF|maven/[^/\0]{1,200}/[^/\0]{1,200}/pom\.properties)")
_FILE = compile_later(r"(?P<name>.+?)(?:-(?P<version>\d.*))?\Z", re.DOTALL)


class Entry(NamedTuple):
    """A file in the archive. packed, size: bytes. offset: of its local header."""

    name: str
    method: int
    packed: int
    size: int
    offset: int


class Artifact(NamedTuple):
    """What a jar holds: the name of its component, and a version or ""."""

    name: str
    version: str


def directory(tail: bytes, size: int) -> tuple[int, int]:
    """Return the offset and the length of the central directory.

    Args:
        tail: the last bytes of the archive.
        size: bytes of the archive.

    Raises:
        ValueError: it has none, or one that is not read: of more than MOST_DIRECTORY bytes, or of zip64.
    """
    at = tail.rfind(b"PK\5\6", 0, max(0, len(tail) - END_SIZE) + 4)
    if at < 0 or at + END_SIZE > len(tail):
        raise ValueError("not a zip archive")
    length, offset = struct.unpack_from("<II", tail, at + 12)
    if length > MOST_DIRECTORY or offset + length > size:
        raise ValueError("a central directory that is too large")
    return offset, length


def described(central: bytes) -> Iterator[Entry]:
    """Yield the manifest and the pom.properties that a central directory lists."""
    found = 0
    for match in _NAMES.finditer(central):
        at = match.start() - _CENTRAL_SIZE
        if at < 0 or central[at : at + 4] != b"PK\1\2":
            continue
        method = struct.unpack_from("<H", central, at + 10)[0]
        packed, size, length = struct.unpack_from("<IIH", central, at + 20)
        (offset,) = struct.unpack_from("<I", central, at + 42)
        if length == len(match[0]) and max(packed, size) <= MOST_ENTRY:
            yield Entry(match[0].decode("latin-1"), method, packed, size, offset)
            found += 1
            if found > _MOST_POMS:
                return


def data_offset(local: bytes, offset: int) -> int:
    """Return the offset of an entry's data by its local header.

    Raises:
        ValueError: there is no local header.
    """
    if len(local) < LOCAL_SIZE or local[:4] != b"PK\3\4":
        raise ValueError("not a local header")
    name, extra = struct.unpack_from("<HH", local, 26)
    return int(offset + LOCAL_SIZE + name + extra)


def unpacked(entry: Entry, data: bytes) -> bytes:
    """Return the content of an entry, of at most MOST_ENTRY bytes.

    Raises:
        ValueError: it is broken, or packed by another method than deflate.
    """
    if entry.method == 0:
        return data
    if entry.method != 8:
        raise ValueError("packed by an unknown method")
    try:
        return zlib.decompressobj(-15).decompress(data, MOST_ENTRY)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def artifact(file: str, contents: dict[str, bytes]) -> Artifact:
    """Return what a jar holds, by pom.properties; else by its name and manifest.

    A jar with several pom.properties holds other artifacts, too; the one that has the jar's name counts.

    Args:
        file: name of the jar.
        contents: name of an entry -> its content.
    """
    match = _FILE.match(file.rpartition(".")[0])
    stem, version = (match["name"], match["version"] or "") if match else (file, "")
    poms = {name: data for name, data in contents.items() if name.endswith("pom.properties")}
    for name, data in sorted(poms.items()):
        _, _, group, own, _ = name.split("/")
        if len(poms) == 1 or own == stem:
            found = _fields(data, "=").get("version", version)
            return Artifact(f"{group}:{own}" if _is_plain(f"{group}:{own}") else stem, found)
    manifest = _fields(contents.get("META-INF/MANIFEST.MF", b""), ":")
    known = (manifest.get(key, "") for key in ("implementation-version", "bundle-version"))
    return Artifact(stem, version or next(filter(None, known), ""))


def _fields(data: bytes, separator: str) -> dict[str, str]:
    """Return the fields of the first section of a manifest, or of properties, with names in lower case."""
    fields: dict[str, str] = {}
    for line in data[:MOST_ENTRY].decode("latin-1").splitlines()[:1000]:
        key, found, value = line.partition(separator)
        value = value.strip()
        if found and _is_plain(value):
            fields.setdefault(key.strip().lower(), value)
    return fields


def _is_plain(text: str) -> bool:
    return re.fullmatch(r"[!-~]{1,200}", text) is not None
