"""Header blobs in rpm's "ndb" database, Packages.db.

Format: rpm's lib/backend/ndb/rpmpkg.c. All little endian. The file begins with pages of 4,096 bytes full of
slots of 16 bytes; the first two slots of the first page are the file header. A slot names a package's blob
by its first block and its length in blocks of 16 bytes; the blob has a head of 16 bytes before its data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rechunk_podman.errors import DatabaseError
from rechunk_podman.packages.budget import MOST_RECORD_BYTES
from rechunk_podman.packages.rpm.header import HeaderError

_PAGE = 4096
_BLOCK = 16
_FILE_MAGIC = b"RpmP"
_SLOT_MAGIC = b"Slot"
_BLOB_MAGIC = b"BlbS"


def is_ndb(data: bytes) -> bool:
    """Return True if `data` begins like an ndb database."""
    return data[:4] == _FILE_MAGIC


def parse(data: bytes) -> Iterator[bytes | HeaderError]:
    """Yield the header of each package, or an error for a broken record.

    Raises:
        DatabaseError: the data is not an ndb database of a known version, or its blobs are larger than it.
    """
    if not is_ndb(data) or len(data) < _PAGE:
        raise DatabaseError("not an ndb database of rpm")
    version, _generation, pages = struct.unpack_from("<III", data, 4)
    if version != 0:
        raise DatabaseError(f"an ndb database of version {version}")
    if not 0 < pages * _PAGE <= len(data):
        raise DatabaseError("an ndb database that ends within its slots")
    left = len(data)
    slots = data[2 * _BLOCK : pages * _PAGE]
    for magic, index, block, count in struct.iter_unpack("<4sIII", slots):
        if magic != _SLOT_MAGIC:
            yield HeaderError("a slot of the ndb database is damaged")
        elif block:
            blob = _blob(data, index, block * _BLOCK, count * _BLOCK)
            left -= 0 if isinstance(blob, HeaderError) else len(blob)
            if left < 0:
                raise DatabaseError("an ndb database whose blobs are larger than itself")
            yield blob


def _blob(data: bytes, index: int, start: int, length: int) -> bytes | HeaderError:
    """Return the data of package `index`, whose blob takes `length` bytes at `start`."""
    head = data[start : start + _BLOCK]
    if len(head) == _BLOCK and head[:4] == _BLOB_MAGIC:
        package, _generation, size = struct.unpack_from("<III", head, 4)
        begin = start + _BLOCK
        if size > MOST_RECORD_BYTES:
            return HeaderError(f"the blob of package {index} in the ndb database has {size} bytes")
        if package == index and size <= length - _BLOCK and begin + size <= len(data):
            return bytes(data[begin : begin + size])
    return HeaderError(f"the blob of package {index} in the ndb database is damaged")
