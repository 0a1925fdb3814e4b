"""The bytes of a Ledger: counted columns in a text with a checksum, which is safe to read from any source.

The text is `RL<format>:` and base64 of a header (checksum and lengths), raw bytes, columns in bz2.
The text is part of an image config, and equal input must produce equal digests on any machine. bz2 has one
encoder, with the same output for two decades. The output of zlib differs from that of zlib-ng (in Fedora's
Python), and the output of zstd differs between versions. bz2 also gives the smallest text here.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import struct
import zlib
from collections.abc import Collection, Iterable, Sequence

PREFIX = "RL"
HEADER = struct.Struct(">II")
LENGTHS = struct.Struct(">II")
MAX_TEXT = 1 << 20
MAX_COLUMNS = 16
MAX_BYTES = 8 << 20


class BrokenTextError(ValueError):
    """The text was not made by seal(). args: (reason, message); for reasons see LedgerError."""


def seal(number: int, raw: bytes, columns: Sequence[bytes]) -> str:
    """Return the text of format `number` with `raw`, uncompressed, and `columns`, each compressed."""
    packed = [bz2.compress(column, 9) for column in columns]
    lengths = b"".join(LENGTHS.pack(len(p), len(c)) for p, c in zip(packed, columns, strict=True))
    body = LENGTHS.pack(len(raw), len(columns)) + lengths + raw + b"".join(packed)
    return f"{PREFIX}{number}:" + base64.b64encode(HEADER.pack(zlib.crc32(body), len(body)) + body).decode(
        "ascii"
    )


def unseal(numbers: Collection[int], text: str) -> tuple[int, bytes, list[bytes]]:
    """Return (number, raw, columns) of a text made by seal(number, …). Decompress at most 8 MiB.

    Args:
        numbers: the formats that are read.

    Raises:
        BrokenTextError: the text is missing, truncated, of another format, or nonsense.
    """
    number, body = _body(numbers, text)
    reader = Reader(body)
    try:
        raw_length, count = LENGTHS.unpack(reader.bytes(LENGTHS.size))
        if count > MAX_COLUMNS:
            raise ValueError("too many columns")
        lengths = [LENGTHS.unpack(reader.bytes(LENGTHS.size)) for _ in range(count)]
        if sum(length for _, length in lengths) > MAX_BYTES:
            raise ValueError("longer than any Ledger")
        raw = reader.bytes(raw_length)
        columns = [_decompressed(reader.bytes(packed), length) for packed, length in lengths]
        reader.end()
    except (OSError, ValueError) as error:
        raise BrokenTextError("nonsense", str(error)) from error
    return number, raw, columns


def _decompressed(packed: bytes, length: int) -> bytes:
    decompressor = bz2.BZ2Decompressor()
    column = decompressor.decompress(packed, length + 1)
    if len(column) != length or not decompressor.eof or decompressor.unused_data:
        raise ValueError("a column has another length")
    return column


def _body(numbers: Collection[int], text: str) -> tuple[int, bytes]:
    """Return the number and the bytes of a text, whose checksum is right."""
    text = text.strip()
    if not text:
        raise BrokenTextError("missing", "")
    if len(text) > MAX_TEXT:
        raise BrokenTextError("nonsense", "longer than any Ledger")
    prefix, colon, encoded = text.partition(":")
    if not (colon and prefix.startswith(PREFIX) and prefix[len(PREFIX) :].isdecimal() and prefix.isascii()):
        raise BrokenTextError("nonsense", "not the text of a Ledger")
    number = int(prefix[len(PREFIX) : len(PREFIX) + 9])
    if prefix != f"{PREFIX}{number}" or number not in numbers:
        raise BrokenTextError("other format", f"{prefix} where {PREFIX}{max(numbers)} is read")
    usable = len(encoded) - len(encoded) % 4
    try:
        data = base64.b64decode(encoded[:usable], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BrokenTextError("nonsense", "not base64") from error
    if len(data) < HEADER.size:
        raise BrokenTextError("truncated", "the header is cut off")
    checksum, length = HEADER.unpack_from(data)
    body = data[HEADER.size :]
    if len(body) < length or usable != len(encoded):
        raise BrokenTextError("truncated", f"{len(body)} of {length} bytes")
    if len(body) != length or zlib.crc32(body) != checksum:
        raise BrokenTextError("nonsense", "the checksum does not match")
    return number, body


class Writer:
    """Append unsigned numbers (LEB128) and strings to bytes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def number(self, value: int) -> None:
        while value > 0x7F:
            self.data.append(value & 0x7F | 0x80)
            value >>= 7
        self.data.append(value)

    def numbers(self, values: Iterable[int]) -> None:
        for value in values:
            self.number(value)

    def text(self, value: str) -> None:
        encoded = value.encode("utf-8", "surrogateescape")
        self.number(len(encoded))
        self.data += encoded


class Reader:
    """The reverse of Writer. Every method raises ValueError if the bytes end early."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, limit: int) -> int:
        """Read the next number.

        Raises:
            ValueError: it is above `limit`.
        """
        value = shift = 0
        while True:
            if self.at >= len(self.data) or shift > 63:
                raise ValueError("a number is cut off")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if value > limit:
            raise ValueError(f"{value} is above {limit}")
        return value

    def bytes(self, length: int) -> bytes:
        if self.at + length > len(self.data):
            raise ValueError("bytes are cut off")
        self.at += length
        return self.data[self.at - length : self.at]

    def text(self, limit: int) -> str:
        return self.bytes(self.number(limit)).decode("utf-8", "surrogateescape")

    def end(self) -> None:
        if self.at != len(self.data):
            raise ValueError("bytes are left over")
