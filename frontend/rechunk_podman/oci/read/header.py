"""Tar headers as Go's archive/tar, hence every client, reads them. Headers that it refuses are errors.

Definitions: an *entry* begins with a header block; *meta entries* before it (pax records `x`, long names `L`
and `K` of GNU tar) complete its header. Of several meta entries of one type the last counts. A global header
(`g`) is an entry of its own that clients ignore, and it ends the effect of meta entries before it.

Sources: POSIX pax interchange format; GNU tar manual, "Basic Tar Format" and "Storing Sparse Files" (formats
0.0, 0.1 and 1.0); the behaviour of archive/tar, tested by tests/tools/test_tar_clients.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from rechunk_podman.errors import ImageError
from rechunk_podman.model import Kind
from rechunk_podman.native import plain_entries
from rechunk_podman.oci.read.ahead import ReadAhead
from rechunk_podman.patterns import compile_later

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)
CHUNK = 1 << 18

FILE, OLD_FILE, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = (
    b"0",
    b"\0",
    *(b"%d" % n for n in range(1, 7)),
)
GLOBAL = b"g"
_PAX, _LONG_NAME, _LONG_LINK = b"x", b"L", b"K"
_KINDS = tuple(Kind)
_SIZE = 6
"""The index of the size among the fields of a Member."""
_WITHOUT_DATA = (LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO)

_MAX_META = 1 << 20
"""The largest meta entry, and sparse map, that archive/tar reads, in bytes."""
_MAX_NUMBER = (1 << 63) - 1
_DECIMAL = compile_later(rb"[+-]?[0-9]{1,30}")
_OCTAL = compile_later(rb"[0-7]+")
_TIME = compile_later(rb"([+-]?[0-9]{1,30})(?:\.([0-9]*))?")
_SPARSE = b"GNU.sparse."

Extent = tuple[int, int]
"""Offset and length, in bytes, of a piece of a sparse file that the tar holds."""


@dataclass(slots=True)
class Header:
    """One entry. Texts are raw bytes.

    size: bytes of the content, with the holes of a sparse file.
    mtime: epoch seconds, floored.
    records: its pax records.
    sparse: the pieces of a sparse file in order; None for all other entries.
    stored: bytes of content in the tar.
    """

    name: bytes
    kind: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    device: tuple[int, int]
    records: Mapping[bytes, bytes] = field(default_factory=dict)
    sparse: tuple[Extent, ...] | None = None
    stored: int = 0


class Entries:
    """The entries of a tar, one after the other. Skipped content of a seekable stream is not read.

    Args:
        stream: it is read ahead, so that its own position says nothing.
        room: bytes that are read at once.
    """

    def __init__(self, stream: BinaryIO, room: int = CHUNK) -> None:
        self._data = ReadAhead(stream, room)
        self._left = 0
        self._padding = 0

    @property
    def position(self) -> int:
        """The offset of what is read next."""
        return self._data.position

    def plain(self) -> Iterator[tuple[tuple[Any, ...], memoryview]]:
        """Yield the entries that follow, up to the first one that next() has to read; skip the current one.

        Each is the fields of a Member and the content, which is only valid until the next entry is read.

        Raises:
            ImageError: the stream ends within the current entry.
        """
        self._finish()
        data = self._data
        if data.end - data.at < BLOCK:
            data.refill()
        rows, offsets, end = plain_entries(data.buffer, data.at, data.end, _KINDS)
        data.forward(end)
        for row, offset in zip(rows, offsets, strict=True):
            yield row, data.view[offset : offset + row[_SIZE]]

    def next(self) -> Header | None:
        """Return the next entry; None at the end of the archive.

        Raises:
            ImageError: a header is broken, or the stream ends within an entry.
        """
        records: dict[bytes, bytes] = {}
        long_name = long_link = b""
        while (block := self._next_block()) is not None:
            header = _parse_block(block)
            self._begin(0 if header.kind in _WITHOUT_DATA else header.size)
            if header.kind in (_PAX, GLOBAL):
                records = parse_records(self._meta())
                if header.kind == GLOBAL:
                    header.name = records.get(b"path") or header.name
                    return header
            elif header.kind == _LONG_NAME:
                long_name = _text(self._meta())
            elif header.kind == _LONG_LINK:
                long_link = _text(self._meta())
            else:
                _merge(header, records)
                header.name = long_name or header.name
                header.link = long_link or header.link
                if header.kind == OLD_FILE:
                    header.kind = DIRECTORY if header.name.endswith(b"/") else FILE
                self._begin(0 if header.kind in _WITHOUT_DATA else header.size)
                self._find_pieces(header)
                header.stored = self._left
                return header
        return None

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes of the entry's stored content; b"" at its end.

        Raises:
            ImageError: the stream ends within the content.
        """
        size = min(size, self._left)
        data = self._exactly(size) if size > 0 else b""
        self._left -= size
        return data

    def _begin(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    def drain(self) -> None:
        """Read the stream to its end."""
        self._data.drain()

    def _finish(self) -> None:
        """Skip the rest of an entry."""
        self._skip(self._left)
        if self._padding:
            # The last padding may be missing: umoci does not write it.
            self._data.take(self._padding)
        self._begin(0)

    def _next_block(self) -> bytes | None:
        """Skip the rest of an entry; return the next header block, None at the end of the archive."""
        self._finish()
        block = self._block()
        if block == ZERO_BLOCK:
            block = self._block()
            if block is not None and block != ZERO_BLOCK:
                raise ImageError("a tar header is broken", context=["a single block of zeros before it"])
            return None
        return block

    def _block(self) -> bytes | None:
        data = self._data.take(BLOCK)
        if data and len(data) < BLOCK:
            raise ImageError("the tar is cut off", context=["it ends within a header"])
        return data or None

    def _exactly(self, size: int) -> bytes:
        data = self._data.take(size)
        if len(data) < size:
            raise _cut_off()
        return data

    def _skip(self, size: int) -> None:
        if self._data.skip(size):
            raise _cut_off()

    def _meta(self) -> bytes:
        if self._left > _MAX_META:
            raise ImageError(f"a tar header claims {self._left} bytes", hint="no client would read it")
        return self.read(self._left)

    def _find_pieces(self, header: Header) -> None:
        """Complete the header of a sparse file in one of the pax formats."""
        records = header.records
        if not records:
            return
        version = (records.get(_SPARSE + b"major", b""), records.get(_SPARSE + b"minor", b""))
        if version not in ((b"0", b"0"), (b"0", b"1"), (b"1", b"0")) and (
            version != (b"", b"") or not records.get(_SPARSE + b"map")
        ):
            return
        header.name = records.get(_SPARSE + b"name") or header.name
        size = records.get(_SPARSE + b"size") or records.get(_SPARSE + b"realsize")
        if size:
            header.size = _decimal(size, "size")
        numbers = self._numbers() if version == (b"1", b"0") else _numbers_of(records)
        pieces = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        end = 0
        for offset, length in pieces:
            if offset < end or length < 0 or offset + length > header.size:
                raise ImageError(f"{_shown(header.name)} is a sparse file whose pieces are out of order")
            end = offset + length
        if header.kind in _WITHOUT_DATA or sum(numbers[1::2]) != self._left:
            raise ImageError(f"{_shown(header.name)} is a sparse file whose pieces are not in the tar")
        header.sparse = pieces

    def _numbers(self) -> list[int]:
        """Read the map of format 1.0 from the content: the number of pieces, their offsets and lengths."""
        data = b""
        wanted = 1
        while True:
            lines = data.split(b"\n")[:-1]
            if lines:
                wanted = 1 + 2 * _decimal(lines[0], "number of pieces")
                if not 0 < wanted <= _MAX_META:
                    raise ImageError(f"a sparse file claims {lines[0]!r} pieces")
            if len(lines) >= wanted:
                return [_decimal(line, "piece") for line in lines[1:wanted]]
            missing = min(CHUNK, max(1, (wanted - len(lines)) * 2 // BLOCK) * BLOCK)
            more = self.read(missing)
            data += more
            if not more or len(data) > _MAX_META:
                raise ImageError("the map of a sparse file is broken")


def _cut_off() -> ImageError:
    return ImageError("the tar is cut off", context=["unexpected end of data"])


def _numbers_of(records: Mapping[bytes, bytes]) -> list[int]:
    text = records.get(_SPARSE + b"map", b"")
    numbers = [_decimal(word, "piece") for word in text.split(b",")] if text else []
    if len(numbers) != 2 * _decimal(records.get(_SPARSE + b"numblocks", b""), "number of pieces"):
        raise ImageError("the map of a sparse file is broken")
    return numbers


def _parse_block(block: bytes) -> Header:
    total = sum(block) - sum(block[148:156]) + 8 * 32
    claimed = _octal(block[148:156])
    if claimed != total:
        high = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in block[148:156])
        if claimed != total - 256 * high:
            raise ImageError("a tar header is broken", context=["its checksum is wrong"])
    header = Header(
        name=_text(block[:100]),
        kind=block[156:157],
        link=_text(block[157:257]),
        mode=_number(block[100:108]),
        uid=_number(block[108:116]),
        gid=_number(block[116:124]),
        size=_number(block[124:136]),
        mtime=_number(block[136:148]),
        device=(0, 0),
    )
    if header.size < 0:
        raise ImageError("a tar header is broken", context=[f"it claims {header.size} bytes"])
    prefix = b""
    magic = block[257:265]
    if magic[:6] == b"ustar\0":
        header.device = (_number(block[329:337]), _number(block[337:345]))
        is_star = block[508:] == b"tar\0"
        prefix = _text(block[345:476] if is_star else block[345:500])
        if is_star:
            for start in (476, 488):
                _number(block[start : start + 12])
    elif magic == b"ustar  \0":
        header.device = (_number(block[329:337]), _number(block[337:345]))
        prefix = _gnu_prefix(block)
    if prefix:
        header.name = prefix + b"/" + header.name
    return header


def _gnu_prefix(block: bytes) -> bytes:
    """Return the prefix that old writers in Go wrote in place of the times of GNU's format, else b""."""
    try:
        for start in (345, 357):
            if block[start]:
                _number(block[start : start + 12])
    except ImageError:
        prefix = _text(block[345:500])
        return prefix if prefix.isascii() else b""
    return b""


def _text(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _octal(data: bytes) -> int:
    text = _text(data.strip(b" \0"))
    if not text:
        return 0
    if not _OCTAL.fullmatch(text) or (value := int(text, 8)) > 2 * _MAX_NUMBER + 1:
        raise ImageError("a tar header is broken", context=[f"not a number: {text!r}"])
    # archive/tar reads 64 unsigned bits and converts them to a signed number.
    return value if value <= _MAX_NUMBER else value - (1 << 64)


def _number(data: bytes) -> int:
    if not data[0] & 0x80:
        return _octal(data)
    value = int.from_bytes(data, "big", signed=False) & ((1 << (8 * len(data) - 1)) - 1)
    if data[0] & 0x40:
        value -= 1 << (8 * len(data) - 1)
    if not -_MAX_NUMBER - 1 <= value <= _MAX_NUMBER:
        raise ImageError("a tar header is broken", context=["a number of more than 64 bits"])
    return value


def _decimal(text: bytes, field_name: str) -> int:
    if _DECIMAL.fullmatch(text) and -_MAX_NUMBER - 1 <= (value := int(text)) <= _MAX_NUMBER:
        return value
    raise ImageError(f"a tar header has the {field_name} {text[:40]!r}")


def _time(text: bytes) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ImageError(f"a tar header has the mtime {text[:40]!r}")
    seconds = _decimal(match[1], "mtime")
    # Clients keep nanoseconds and drop further digits.
    has_rest = bool(match[2] and match[2][:9].strip(b"0"))
    return seconds - (match[1].startswith(b"-") and has_rest)


def parse_records(data: bytes) -> dict[bytes, bytes]:
    """Return the records of a pax header; the last record of a key counts.

    The repeated records of a map of sparse format 0.0 are converted to the record of format 0.1.

    Raises:
        ImageError: a record is broken.
    """
    records: dict[bytes, bytes] = {}
    sparse: list[bytes] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 24)
        length = _decimal(data[at:space], "record length") if space > 0 else 0
        end = at + length
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        is_text = key in (b"path", b"linkpath", b"uname", b"gname")
        if (
            length < 5
            or end <= space + 1
            or end > len(data)
            or data[end - 1 : end] != b"\n"
            or not key
            or not equals
            or b"\0" in (value if is_text else key)
        ):
            raise ImageError("a pax header is broken", context=[f"at byte {at}: {data[at : at + 40]!r}"])
        at = end
        if key in (_SPARSE + b"offset", _SPARSE + b"numbytes"):
            if (key == _SPARSE + b"numbytes") != len(sparse) % 2 or b"," in value:
                raise ImageError("the map of a sparse file is broken")
            sparse.append(value)
        else:
            records[key] = value
    if sparse:
        records[_SPARSE + b"map"] = b",".join(sparse)
    return records


def _merge(header: Header, records: Mapping[bytes, bytes]) -> None:
    """Apply pax records to a header; a record without a value changes nothing."""
    header.records = records
    if not records:
        return
    header.name = records.get(b"path") or header.name
    header.link = records.get(b"linkpath") or header.link
    if text := records.get(b"uid"):
        header.uid = _decimal(text, "uid")
    if text := records.get(b"gid"):
        header.gid = _decimal(text, "gid")
    if text := records.get(b"size"):
        header.size = _decimal(text, "size")
        if header.size < 0:
            raise ImageError(f"a tar header has the size {header.size}")
    if text := records.get(b"mtime"):
        header.mtime = _time(text)
    for name in (b"atime", b"ctime"):
        if text := records.get(name):
            _time(text)


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "surrogateescape"))
