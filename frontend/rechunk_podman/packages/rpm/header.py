"""RPM package headers, as the rpm database stores them: index, then store.

Format: rpm's docs/manual/format_header.md ("Header format") and tags.md. A database record is a header
without its 8 bytes of magic: the number of index entries and the bytes of the store (32 bits each, big
endian), the entries (tag, type, offset, count), the store. Version 4 wraps what was signed in a region
(HEADERIMMUTABLE); the entries behind the region ("dribbles", written at installation) replace those of the
same tag within it. Version 3 has no region, and full paths (OLDFILENAMES) where version 4 has directories
and base names.
"""

from __future__ import annotations

import itertools
import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rechunk_podman.errors import DatabaseError
from rechunk_podman.packages.budget import MOST_NAMES, MOST_RECORD_BYTES, text_size

NAME = 1000
VERSION = 1001
RELEASE = 1002
EPOCH = 1003
BUILDTIME = 1006
ARCH = 1022
OLDFILENAMES = 1027
FILESIZES = 1028
FILESTATES = 1029
FILEMODES = 1030
FILEMTIMES = 1034
FILEDIGESTS = 1035
FILEFLAGS = 1037
SOURCERPM = 1044
CHANGELOGTIME = 1080
DIRINDEXES = 1116
BASENAMES = 1117
DIRNAMES = 1118
LONGFILESIZES = 5008
FILEDIGESTALGO = 5011

STATE_NORMAL = 0
"""FILESTATES: installed and not replaced, excluded, of the wrong colour, on a network share or missing."""
FLAG_GHOST = 1 << 6
"""FILEFLAGS: owned by the package, not part of it."""

_MAX_ENTRIES = 0xFFFF
_MOST_LETTERS = 1024
"""The longest name, version or architecture, in characters; no file name is longer than 255 bytes."""
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}
"""Type of a tag of numbers -> bytes of each number."""
_STRING, _STRING_ARRAY, _I18NSTRING = 6, 8, 9


Numbers = npt.NDArray[np.integer[Any]]
_NONE: Numbers = np.empty(0, np.int64)


class HeaderError(DatabaseError):
    """A record is not an rpm header. Only its package is lost, not the database."""


class RpmFiles(NamedTuple):
    """All paths of a package, in columns.

    directories: absolute, each ending in a slash.
    indexes: for each path, the index of its directory.
    names: base names.
    sizes: bytes.
    modes: with their file types.
    mtimes: epoch seconds.
    states, flags: see STATE_NORMAL and FLAG_GHOST.
    digests: lower-case hexadecimal digits, or "".
    """

    directories: list[str]
    indexes: Numbers
    names: list[str]
    sizes: Numbers
    modes: Numbers
    mtimes: Numbers
    states: Numbers
    flags: Numbers
    digests: list[str]


class Header:
    """The tags of one package. Each is decoded on request.

    Tags may share bytes of the store: at most MOST_RECORD_BYTES are decoded in all.

    Args:
        blob: a record of the rpm database.

    Raises:
        HeaderError: the index does not fit the blob, or it is larger than MOST_RECORD_BYTES.
    """

    __slots__ = ("_end", "_index", "_left", "_store")

    def __init__(self, blob: bytes) -> None:
        if len(blob) < 8:
            raise HeaderError("an rpm header of less than 8 bytes")
        count, length = struct.unpack_from(">II", blob)
        store = 8 + 16 * count
        if not 0 < count <= _MAX_ENTRIES or store + length > len(blob) or len(blob) > MOST_RECORD_BYTES:
            raise HeaderError(f"an rpm header of {count} entries and {length} bytes in {len(blob)} bytes")
        self._index: dict[int, tuple[int, int, int]] = {}
        for tag, kind, offset, number in struct.iter_unpack(">IIiI", blob[8:store]):
            if tag >= NAME:
                self._index[tag] = (kind, offset, number)
        self._store = memoryview(blob)[store : store + length]
        self._left = MOST_RECORD_BYTES
        starts = [*sorted({offset for _, offset, _ in self._index.values()}), length]
        self._end = dict(itertools.pairwise(starts))

    def __contains__(self, tag: int) -> bool:
        return tag in self._index

    def array(self, tag: int) -> Numbers:
        """Return the unsigned integers of a tag, none if it is absent.

        Raises:
            HeaderError: the tag holds no integers, more than MOST_NAMES of them, or leaves the store.
        """
        if tag not in self._index:
            return _NONE
        kind, offset, count = self._index[tag]
        width = _WIDTHS.get(kind)
        if width is None:
            raise HeaderError(f"tag {tag} of an rpm header is no number")
        if offset < 0 or offset + width * count > len(self._store):
            raise HeaderError(f"tag {tag} of an rpm header leaves the store")
        if count > MOST_NAMES:
            raise HeaderError(f"tag {tag} of an rpm header has {count} values")
        return np.frombuffer(self._store, f">u{width}", count, offset) if count else _NONE

    def numbers(self, tag: int) -> list[int]:
        """Return the numbers of array() as a list."""
        found: list[int] = self.array(tag).tolist()
        return found

    def number(self, tag: int) -> int | None:
        """Return the first integer of a tag, None if it is absent; raise HeaderError like array()."""
        numbers = self.array(tag)
        return int(numbers[0]) if len(numbers) else None

    def strings(self, tag: int) -> list[str]:
        """Return the strings of a tag, none if it is absent.

        Raises:
            HeaderError: the tag holds no strings, more than MOST_NAMES of them, or leaves the store.
        """
        if tag not in self._index:
            return []
        kind, offset, count = self._index[tag]
        if kind not in (_STRING, _STRING_ARRAY, _I18NSTRING):
            raise HeaderError(f"tag {tag} of an rpm header is no string")
        if not 0 <= offset <= len(self._store):
            raise HeaderError(f"tag {tag} of an rpm header leaves the store")
        count = 1 if kind == _STRING else count
        if count > MOST_NAMES:
            raise HeaderError(f"tag {tag} of an rpm header has {count} values")
        data = self._store[offset : self._end.get(offset, len(self._store))]
        if kind == _STRING:
            data = data[: 4 * _MOST_LETTERS]
        self._left -= len(data)
        if self._left < 0:
            raise HeaderError("the tags of an rpm header are larger than itself")
        text = str(data, "utf-8", "surrogateescape")
        self._left -= text_size(text) - len(data)
        parts = text.split("\0", count)
        if len(parts) <= count:
            raise HeaderError(f"tag {tag} of an rpm header ends within a string")
        del parts[count:]
        return parts

    def string(self, tag: int) -> str:
        """Return the first string of a tag, "" if it is absent.

        Raises:
            HeaderError: as strings(), or it has more than 1,024 characters.
        """
        strings = self.strings(tag)
        if strings and len(strings[0]) > _MOST_LETTERS:
            raise HeaderError(f"tag {tag} of an rpm header has {len(strings[0])} characters")
        return strings[0] if strings else ""

    def source(self) -> tuple[str, str]:
        """Return (name, version-release) of the source package, or of the package if it names no source.

        Raises:
            HeaderError: the package has no name.
        """
        stem = self.string(SOURCERPM).rpartition("/")[2]
        for suffix in (".nosrc.rpm", ".src.rpm"):
            if stem.endswith(suffix):
                name, _, rest = stem.removesuffix(suffix).rpartition("-")
                name, _, version = name.rpartition("-")
                if name:
                    return name, f"{version}-{rest}"
        name = self.string(NAME)
        if not name:
            raise HeaderError("an rpm header without a name")
        return name, f"{self.string(VERSION)}-{self.string(RELEASE)}"

    def columns(self) -> RpmFiles:
        """Return the package's paths, directories among them.

        Raises:
            HeaderError: the file tags do not agree in their number.
        """
        if BASENAMES in self:
            names = self.strings(BASENAMES)
            directories = self.strings(DIRNAMES)
            indexes = self.array(DIRINDEXES)
            if len(indexes) != len(names) or (names and int(indexes.max()) >= len(directories)):
                raise HeaderError("an rpm header whose directories and base names do not match")
        else:
            split = [path.rpartition("/") for path in self.strings(OLDFILENAMES)]
            directories = [head + slash for head, slash, _ in split]
            names = [name for _, _, name in split]
            indexes = np.arange(len(names))
        count = len(names)
        sizes = self.array(LONGFILESIZES if LONGFILESIZES in self else FILESIZES)
        digests = self.strings(FILEDIGESTS) or [""] * count
        if len(digests) != count:
            raise HeaderError("an rpm header whose digests do not match its files")
        return RpmFiles(
            directories,
            indexes,
            names,
            _column(sizes, count, 0).astype(np.uint64),
            _column(self.array(FILEMODES), count, 0),
            _column(self.array(FILEMTIMES), count, 0),
            _column(self.array(FILESTATES), count, STATE_NORMAL),
            _column(self.array(FILEFLAGS), count, 0),
            digests,
        )


def _column(numbers: Numbers, count: int, default: int) -> Numbers:
    if not len(numbers):
        return np.full(count, default)
    if len(numbers) != count:
        raise HeaderError("an rpm header whose file tags do not match in number")
    # in a broken header the numbers may be narrower than those that they are compared with
    return numbers if numbers.dtype.itemsize == 8 else numbers.astype(np.int64)
