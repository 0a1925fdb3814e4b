"""Header blobs in rpm's Berkeley DB database, Packages.

Format: Berkeley DB's src/dbinc/db_page.h, hash access method. The first page is the hash's metadata; a hash
page holds the offsets of its items, keys and values in turn; a value that does not fit a page lies in a
chain of overflow pages. rpm's keys are package numbers; number 0 holds the highest number given so far
instead of a header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rechunk_podman.errors import DatabaseError
from rechunk_podman.packages.budget import MOST_RECORD_BYTES
from rechunk_podman.packages.rpm.header import HeaderError

_MAGIC = 0x061561
_PAGE_HEADER = 26
_HASH_PAGES = (2, 13)
"""Unsorted (before Berkeley DB 4.6) and sorted."""
_OVERFLOW_PAGE = 7
_METADATA_PAGE = 8
_ON_PAGE, _OFF_PAGE = 1, 3


def is_bdb(data: bytes) -> bool:
    """Return True if `data` begins like a Berkeley DB hash."""
    return len(data) >= 512 and _order(data) != ""


def _order(data: bytes) -> str:
    for order in "<>":
        if struct.unpack_from(order + "I", data, 12)[0] == _MAGIC:
            return order
    return ""


def parse(data: bytes) -> Iterator[bytes | HeaderError]:
    """Yield the header of each package, or an error for a broken record.

    Raises:
        DatabaseError: the data is not a Berkeley DB hash, or its values are larger than itself.
    """
    if not is_bdb(data) or data[25] != _METADATA_PAGE:
        raise DatabaseError("not a Berkeley DB database of rpm")
    order = _order(data)
    (page_size,) = struct.unpack_from(order + "I", data, 20)
    if not 512 <= page_size <= 65536 or page_size & (page_size - 1):
        raise DatabaseError(f"a Berkeley DB database with pages of {page_size} bytes")
    room = _Room(2 * len(data))
    for start in range(page_size, len(data) - page_size + 1, page_size):
        if data[start + 25] in _HASH_PAGES:
            yield from _values(data, start, page_size, order, room)


class _Room:
    """The bytes that further values may claim: all values together must be smaller than the database."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> None:
        """Count the bytes of a value, before it is read.

        Raises:
            DatabaseError: the values are larger than the database.
        """
        self._left -= size
        if self._left < 0:
            raise DatabaseError("a Berkeley DB database whose values are larger than itself")


def _values(
    data: bytes, start: int, page_size: int, order: str, room: _Room
) -> Iterator[bytes | HeaderError]:
    """Yield the values of the hash page at `start`.

    Raises:
        DatabaseError: there is no room for a value.
    """
    page = data[start : start + page_size]
    (entries,) = struct.unpack_from(order + "H", page, 20)
    if _PAGE_HEADER + 2 * entries > page_size:
        yield HeaderError(f"the hash page at {start} of the Berkeley DB database is damaged")
        return
    offsets = struct.unpack_from(f"{order}{entries}H", page, _PAGE_HEADER)
    ends = (page_size, *offsets)
    for number in range(0, entries - 1, 2):
        key, value = offsets[number], offsets[number + 1]
        if not (_PAGE_HEADER < value < key <= page_size - 1):
            yield HeaderError(f"an item of the hash page at {start} of the Berkeley DB database is damaged")
            continue
        # a package number of 4 bytes
        if page[key] == _ON_PAGE and not any(page[key + 1 : min(ends[number], key + 5)]):
            continue
        if page[value] == _ON_PAGE:
            room.take(key - value)
            yield bytes(page[value + 1 : key])
        elif page[value] == _OFF_PAGE and value + 12 <= page_size:
            first, length = struct.unpack_from(order + "II", page, value + 4)
            if length > min(MOST_RECORD_BYTES, len(data)):
                yield HeaderError(f"a value of the Berkeley DB database claims {length} bytes")
                continue
            room.take(length)
            yield _chain(data, first, length, page_size, order)
        else:
            yield HeaderError(f"a value of the hash page at {start} of the Berkeley DB database is damaged")


def _chain(data: bytes, number: int, length: int, page_size: int, order: str) -> bytes | HeaderError:
    """Return `length` bytes from the chain of overflow pages that begins at page `number`."""
    parts: list[bytes] = []
    missing = length
    while missing > 0:
        start = number * page_size
        page = data[start : start + page_size]
        if number == 0 or len(page) < page_size or page[25] != _OVERFLOW_PAGE:
            return HeaderError(f"page {number} of the Berkeley DB database is no overflow page")
        (number,) = struct.unpack_from(order + "I", page, 16)
        (used,) = struct.unpack_from(order + "H", page, 22)
        part = page[_PAGE_HEADER : _PAGE_HEADER + min(used, missing)]
        # all but the last are full
        if len(part) < min(page_size - _PAGE_HEADER, missing):
            return HeaderError(f"page {number} of the Berkeley DB database is not full")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
