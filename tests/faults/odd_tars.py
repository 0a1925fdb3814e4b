"""Odd tars, block by block: header types, pax keywords, sparse forms, forms of names and numbers.

Each case shows one thing, in the name of the case. A case is the layers of an image, from the bottom.
"""

from __future__ import annotations

from collections.abc import Mapping

BLOCK = 512
END = bytes(1024)


def octal(number: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, number)


def base256(number: int, width: int) -> bytes:
    data = bytearray((number & ((1 << 8 * width) - 1)).to_bytes(width, "big"))
    data[0] |= 0x80
    return bytes(data)


def header(name: bytes, kind: bytes = b"0", length: int = 0, **fields: bytes) -> bytes:
    """A header block; fields as archive/tar names them, tail: STAR's mark at the end."""
    values = {
        0: name.ljust(100, b"\0")[:100],
        100: fields.get("mode", octal(0o755 if kind == b"5" else 0o644, 8)),
        108: fields.get("uid", octal(0, 8)),
        116: fields.get("gid", octal(0, 8)),
        124: fields.get("size", octal(length, 12)),
        136: fields.get("mtime", octal(1_600_000_000, 12)),
        148: b" " * 8,
        156: kind,
        157: fields.get("link", b""),
        257: fields.get("magic", b"ustar\x0000"),
        329: fields.get("major", b""),
        337: fields.get("minor", b""),
        345: fields.get("prefix", b""),
        508: fields.get("tail", b""),
    }
    block = bytearray(BLOCK)
    for start, value in values.items():
        block[start : start + len(value)] = value
    block[148:156] = fields.get("checksum", b"%06o\0 " % sum(block))
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def entry(name: bytes, data: bytes = b"", kind: bytes = b"0", **fields: bytes) -> bytes:
    return header(name, kind, len(data), **fields) + padded(data)


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length = len(b"%d" % length) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def pax(records: Mapping[str, bytes] | bytes, kind: bytes = b"x", name: bytes = b"pax") -> bytes:
    if not isinstance(records, bytes):
        records = b"".join(record(key.encode(), value) for key, value in records.items())
    return entry(name, records, kind)


def folder(name: bytes, **fields: bytes) -> bytes:
    return entry(name, kind=b"5", **fields)


def link(name: bytes, target: bytes, kind: bytes = b"1", **fields: bytes) -> bytes:
    return entry(name, kind=kind, link=target, **fields)


def symlink(name: bytes, target: bytes) -> bytes:
    return link(name, target, b"2")


DATA = b"content\n"
GNU = b"ustar  \0"
V7 = bytes(8)
A, B = entry(b"a", b"A"), entry(b"b", b"B")


def sparse(records: Mapping[str, bytes], stored: bytes) -> bytes:
    return pax(records) + entry(b"sparse", stored)


def old_sparse() -> bytes:
    """GNU's type S: four pieces, an extension flag and the real size in the header."""
    block = bytearray(header(b"sparse", b"S", 4, magic=GNU))
    block[386:398], block[398:410] = octal(1000, 12), octal(4, 12)
    block[483:495] = octal(1004, 12)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + padded(b"data")


_MAP = {"GNU.sparse.major": b"0", "GNU.sparse.minor": b"1", "GNU.sparse.size": b"2000"}
_V1 = {"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.realsize": b"2000"}

HEADERS: dict[str, bytes] = {
    "plain": A + folder(b"d/") + entry(b"d/x", DATA) + symlink(b"s", b"a") + link(b"h", b"a"),
    "type-nul": entry(b"a", DATA, b"\0"),
    "type-nul-slash-is-a-directory": entry(b"a/", b"", b"\0"),
    "type-0-slash-is-a-file": entry(b"a/", DATA),
    "type-fifo": entry(b"p", kind=b"6"),
    "type-char": entry(b"c", kind=b"3", major=octal(1, 8), minor=octal(3, 8)),
    "type-block-large-minor": entry(b"c", kind=b"4", major=octal(259, 8), minor=octal(70000, 8)),
    "type-char-0-0": entry(b"c", kind=b"3", major=octal(0, 8), minor=octal(0, 8)) + A,
    "type-contiguous": entry(b"a", DATA, b"7"),
    "type-vendor": entry(b"a", DATA, b"Z"),
    "type-solaris-pax": entry(b"pax", record(b"path", b"other"), b"X") + A,
    "type-volume": entry(b"label", b"", b"V", magic=GNU) + A,
    "type-multi-volume": entry(b"a", b"", b"M", magic=GNU) + A,
    "link-with-a-size": A + header(b"h", b"1", 512, link=b"a") + B,
    "directory-with-a-size": header(b"d", b"5", 512) + B,
    "fifo-with-a-size": header(b"d", b"6", 512) + B,
    "magic-v7": entry(b"a", DATA, magic=V7),
    "magic-v7-prefix-is-nothing": entry(b"a", DATA, magic=V7, prefix=b"p"),
    "magic-v7-symlink": entry(b"s", kind=b"2", link=b"a", magic=V7),
    "magic-gnu": entry(b"a", DATA, magic=GNU),
    "magic-gnu-times": entry(b"a", DATA, magic=GNU, prefix=octal(1, 12) + octal(2, 12)),
    "magic-gnu-prefix": entry(b"a", DATA, magic=GNU, prefix=b"prefix"),
    "magic-gnu-prefix-not-ascii": entry(b"a", DATA, magic=GNU, prefix=b"pr\xc3\xa4fix"),
    "magic-star": entry(b"a", DATA, prefix=b"prefix", tail=b"tar\0"),
    "magic-ustar-other-version": entry(b"a", DATA, magic=b"ustar\0xx", prefix=b"p"),
    "magic-ustar-space-no-nul": entry(b"a", DATA, magic=b"ustar 00", prefix=b"p"),
    "prefix": entry(b"a", DATA, prefix=b"p/q"),
    "prefix-and-absolute-name": entry(b"/a", DATA, prefix=b"p"),
    "checksum-signed": b"",
    "checksum-wrong": entry(b"a", DATA, checksum=b"000001\0 "),
    "checksum-empty": entry(b"a", DATA, checksum=bytes(8)),
    "number-spaces": entry(b"a", DATA, mode=b"   644 \0", uid=b"     5 \0", gid=b" \0    7\0"),
    "number-empty": entry(b"a", DATA, mode=bytes(8), uid=b" " * 8, gid=bytes(8), mtime=bytes(12)),
    "number-not-octal": entry(b"a", DATA, uid=b"0000009\0"),
    "number-minus": entry(b"a", DATA, uid=b"-000001\0"),
    "number-after-nul": entry(b"a", DATA, uid=b"5\x009\0\0\0\0\0"),
    "number-base256": entry(b"a", DATA, uid=base256(3_000_000, 8), gid=base256(70_000, 8)),
    "number-base256-size": entry(b"a", DATA, size=base256(len(DATA), 12)),
    "number-base256-huge": entry(b"a", DATA, size=base256(1 << 70, 12)),
    "number-base256-negative-size": entry(b"a", DATA, size=b"\xff" * 12),
    "number-full-width": entry(b"a", DATA, mode=b"00000644", size=b"000000000010"),
    "time-base256-negative": entry(b"a", DATA, mtime=base256(-1000, 12)),
    "time-far": entry(b"a", DATA, mtime=base256(1 << 33, 12)),
    "mode-with-file-type": entry(b"a", DATA, mode=octal(0o100755, 8)),
    "mode-of-a-directory-type": entry(b"a", DATA, mode=octal(0o40755, 8)),
    "mode-setuid-sticky": entry(b"a", DATA, mode=octal(0o7755, 8)) + folder(b"d", mode=octal(0o3777, 8)),
    "end-one-zero-block": A + bytes(512) + B + END,
    "end-two-zero-blocks-then-more": A + END + B,
    "end-none": A,
    "end-half-a-header": A + B[:300],
    "end-within-content": header(b"a", b"0", 2000) + bytes(1000),
    "end-without-padding": header(b"a", b"0", 5) + b"12345",
    "empty": b"",
    "zeros": bytes(2048),
    "one-zero-block": bytes(512),
}

_SIGNED = bytearray(entry(b"a-\xe9\xff", DATA))
_SIGNED[148:156] = b"%06o\0 " % (sum(_SIGNED[:512]) - sum(_SIGNED[148:156]) + 256 - 2 * 256)
HEADERS["checksum-signed"] = bytes(_SIGNED)

PAX: dict[str, bytes] = {
    "pax-path": pax({"path": b"other"}) + A,
    "pax-path-empty": pax({"path": b""}) + A,
    "pax-path-twice": pax(record(b"path", b"one") + record(b"path", b"two")) + A,
    "pax-path-then-empty": pax(record(b"path", b"one") + record(b"path", b"")) + A,
    "pax-path-with-nul": pax({"path": b"a\0b"}) + A,
    "pax-path-not-utf8": pax({"path": b"\xff\xfe"}) + A,
    "pax-hdrcharset": pax({"hdrcharset": b"BINARY", "path": b"\xff"}) + A,
    "pax-key-with-nul": pax({"a\0b": b"1"}) + A,
    "pax-value-with-nul": pax({"SCHILY.xattr.user.x": b"1\0002"}) + A,
    "pax-key-empty": pax(b"5 =1\n") + A,
    "pax-no-equals": pax(b"6 path\n") + A,
    "pax-no-newline": pax(b"10 path=xxx"[:10]) + A,
    "pax-length-too-long": pax(b"99 path=x\n") + A,
    "pax-length-with-plus": pax(b"+11 path=x\n") + A,
    "pax-length-zeros": pax(b"011 path=x\n") + A,
    "pax-length-spaces": pax(b" 11 path=x\n") + A,
    "pax-length-minus": pax(b"-9 path=x\n") + A,
    "pax-trailing-zeros": pax(record(b"path", b"other") + bytes(20)) + A,
    "pax-linkpath": A + pax({"linkpath": b"a"}) + symlink(b"s", b"wrong"),
    "pax-linkpath-hard": A + pax({"linkpath": b"a"}) + link(b"h", b"wrong"),
    "pax-size": pax({"size": b"8"}) + header(b"a", b"0", 0) + padded(DATA) + B,
    "pax-size-of-a-directory": pax({"size": b"8"}) + folder(b"d") + B,
    "pax-size-negative": pax({"size": b"-8"}) + A,
    "pax-size-float": pax({"size": b"1.0"}) + A,
    "pax-size-does-not-change-a-long-name": pax({"size": b"1"})
    + entry(b"././@LongLink", b"long\0", b"L", magic=GNU)
    + A,
    "pax-uid": pax({"uid": b"3000000", "gid": b"4000000"}) + A,
    "pax-uid-plus": pax({"uid": b"+5"}) + A,
    "pax-uid-spaces": pax({"uid": b" 5"}) + A,
    "pax-uid-underscore": pax({"uid": b"1_0"}) + A,
    "pax-uid-empty": pax({"uid": b""}) + entry(b"a", DATA, uid=octal(7, 8)),
    "pax-uid-text": pax({"uid": b"root"}) + A,
    "pax-uid-arabic-digits": pax({"uid": "٣".encode()}) + A,
    "pax-uname-counts-for-nothing": pax({"uname": b"daemon", "gname": b"daemon"}) + A,
    "pax-mtime-fraction": pax({"mtime": b"1500000000.999999999999"}) + A,
    "pax-mtime-dot": pax({"mtime": b"1500000000."}) + A,
    "pax-mtime-exponent": pax({"mtime": b"1e9"}) + A,
    "pax-mtime-spaces": pax({"mtime": b" 15"}) + A,
    "pax-mtime-inf": pax({"mtime": b"Infinity"}) + A,
    "pax-mtime-text": pax({"mtime": b"soon"}) + A,
    "pax-mtime-plus": pax({"mtime": b"+1500000000.5"}) + A,
    "pax-mtime-two-dots": pax({"mtime": b"1.2.3"}) + A,
    "pax-atime-text": pax({"atime": b"soon"}) + A,
    "pax-xattr": pax({"SCHILY.xattr.user.x": b"\xff\n=1"}) + A,
    "pax-xattr-empty": pax({"SCHILY.xattr.user.x": b""}) + A,
    "pax-xattr-of-libarchive": pax({"LIBARCHIVE.xattr.user.x": b"MQ=="}) + A,
    "pax-xattr-of-rht": pax({"RHT.security.selinux": b"x"}) + A,
    "pax-chained-last-counts": pax({"path": b"one", "uid": b"5"}) + pax({"path": b"two"}) + A,
    "pax-900-chained": b"".join(pax({"path": b"n%d" % number}) for number in range(900)) + A,
    "pax-does-not-last": pax({"path": b"one", "mtime": b"5"}) + A + B,
    "pax-at-the-end": A + pax({"path": b"one"}),
    "pax-then-end": A + pax({"path": b"one"}) + END,
    "pax-unknown-key": pax({"comment": b"hello", "foo.bar": b"1"}) + A,
    "pax-slash-makes-no-directory": pax({"path": b"other/"}) + A,
    "pax-slash-and-type-nul": pax({"path": b"other/"}) + entry(b"a", b"", b"\0"),
    "pax-1-mib-and-more": pax({"comment": b"x" * (1 << 20)}) + A,
    "pax-global-path": pax({"path": b"other"}, b"g") + A + B,
    "pax-global-uid": pax({"uid": b"5", "mtime": b"7"}, b"g") + A + B,
    "pax-global-xattr": pax({"SCHILY.xattr.user.x": b"1"}, b"g") + A,
    "pax-global-size": pax({"size": b"8"}, b"g") + A + B,
    "pax-global-bad-uid": pax({"uid": b"text"}, b"g") + A,
    "pax-global-broken": pax(b"99 path=x\n", b"g") + A,
    "pax-global-after-local": pax({"path": b"other"}) + pax({"comment": b"x"}, b"g") + A,
    "pax-global-twice": pax({"comment": b"x"}, b"g") + A + pax({"comment": b"y"}, b"g") + B,
    "pax-global-alone": pax({"comment": b"x"}, b"g"),
    "gnu-long-name": entry(b"././@LongLink", b"l" * 150 + b"\0", b"L", magic=GNU) + A,
    "gnu-long-name-cut-at-nul": entry(b"././@LongLink", b"long\0er\0", b"L", magic=GNU) + A,
    "gnu-long-name-empty": entry(b"././@LongLink", b"", b"L", magic=GNU) + A,
    "gnu-long-name-over-pax-path": pax({"path": b"pax"}) + entry(b"L", b"gnu\0", b"L", magic=GNU) + A,
    "gnu-long-name-before-pax-path": entry(b"L", b"gnu\0", b"L", magic=GNU) + pax({"path": b"pax"}) + A,
    "gnu-long-name-of-a-ustar-header-with-prefix": entry(b"L", b"gnu\0", b"L", magic=GNU)
    + entry(b"a", DATA, prefix=b"p"),
    "gnu-long-name-twice": entry(b"L", b"one\0", b"L", magic=GNU)
    + entry(b"L", b"two\0", b"L", magic=GNU)
    + A,
    "gnu-long-name-slash-and-type-nul": entry(b"L", b"d/\0", b"L", magic=GNU) + entry(b"a", b"", b"\0"),
    "gnu-long-link": A + entry(b"L", b"a\0", b"K", magic=GNU) + symlink(b"s", b"wrong"),
    "gnu-long-link-of-a-file": entry(b"L", b"a\0", b"K", magic=GNU) + A,
    "sparse-type-s": old_sparse(),
    "sparse-0-0": pax(
        record(b"GNU.sparse.size", b"2000")
        + record(b"GNU.sparse.numblocks", b"2")
        + record(b"GNU.sparse.offset", b"10")
        + record(b"GNU.sparse.numbytes", b"4")
        + record(b"GNU.sparse.offset", b"100")
        + record(b"GNU.sparse.numbytes", b"4")
    )
    + entry(b"sparse", b"onetwo!!"),
    "sparse-0-1": sparse({**_MAP, "GNU.sparse.numblocks": b"1", "GNU.sparse.map": b"1000,4"}, b"data"),
    "sparse-0-1-name": sparse(
        {**_MAP, "GNU.sparse.name": b"real", "GNU.sparse.numblocks": b"1", "GNU.sparse.map": b"0,4"}, b"data"
    ),
    "sparse-0-1-all-hole": sparse({**_MAP, "GNU.sparse.numblocks": b"0", "GNU.sparse.map": b""}, b""),
    "sparse-0-1-wrong-count": sparse(
        {**_MAP, "GNU.sparse.numblocks": b"2", "GNU.sparse.map": b"0,4"}, b"data"
    ),
    "sparse-0-1-out-of-order": sparse(
        {**_MAP, "GNU.sparse.numblocks": b"2", "GNU.sparse.map": b"100,2,0,2"}, b"data"
    ),
    "sparse-0-1-beyond-its-size": sparse(
        {**_MAP, "GNU.sparse.numblocks": b"1", "GNU.sparse.map": b"1999,4"}, b"data"
    ),
    "sparse-0-1-too-little-data": sparse(
        {**_MAP, "GNU.sparse.numblocks": b"1", "GNU.sparse.map": b"0,9"}, b"data"
    ),
    "sparse-0-1-too-much-data": sparse(
        {**_MAP, "GNU.sparse.numblocks": b"1", "GNU.sparse.map": b"0,2"}, b"data"
    ),
    "sparse-0-1-without-version": sparse(
        {"GNU.sparse.size": b"9", "GNU.sparse.numblocks": b"1", "GNU.sparse.map": b"5,4"}, b"data"
    ),
    "sparse-1-0": sparse(_V1, padded(b"1\n1000\n4\n") + b"data"),
    "sparse-1-0-empty-map": sparse(_V1, padded(b"0\n")),
    "sparse-1-0-no-map": sparse(_V1, b""),
    "sparse-1-0-map-without-newline": sparse(_V1, b"1" * 512),
    "sparse-1-0-huge-count": sparse(_V1, padded(b"99999999999\n")),
    "sparse-1-0-of-a-symlink": pax(_V1) + symlink(b"s", b"a"),
    "sparse-2-0-is-none": sparse({"GNU.sparse.major": b"2", "GNU.sparse.minor": b"0"}, DATA),
}

_LONG = b"/".join([b"x" * 200] * 15)

NAMES: dict[str, bytes] = {
    "name-absolute": entry(b"/etc/x", DATA),
    "name-absolute-twice-slash": entry(b"//etc//x", DATA),
    "name-absolute-link": entry(b"/a", DATA) + link(b"/h", b"/a"),
    "name-dots": entry(b"./a/./b", DATA),
    "name-dot-dot-inside": folder(b"d") + entry(b"d/../a", DATA),
    "name-dot-dot-out": entry(b"../a", DATA),
    "name-dot-dot-far-out": entry(b"d/../../../a", DATA),
    "name-dot-dot-absolute": entry(b"/../a", DATA),
    "name-only-dot-dot": folder(b".."),
    "name-root": folder(b"./", mode=octal(0o700, 8)) + A,
    "name-empty-directory": folder(b"") + A,
    "name-empty-file": entry(b"", DATA),
    "name-root-file": entry(b".", DATA) + A,
    "name-spaces-and-newline": entry(b" a\n\tb ", DATA),
    "name-not-utf8": entry(b"\xff\xfe", DATA),
    "name-backslash": entry(b"a\\b", DATA),
    "name-100-bytes": entry(b"n" * 100, DATA),
    "name-255": pax({"path": b"n" * 255}) + A,
    "name-256": pax({"path": b"n" * 256}) + A,
    "name-deep": pax({"path": _LONG}) + A,
    "name-4095": pax({"path": b"/".join([b"y" * 100] * 40)}) + A,
    "name-5000": pax({"path": b"/".join([b"y" * 100] * 50)}) + A,
    "name-60000-components": pax({"path": b"a/" * 60000 + b"b"}) + A,
    "name-parent-missing": entry(b"d/e/f", DATA),
    "name-parent-later": entry(b"d/x", DATA) + folder(b"d", mode=octal(0o700, 8)),
    "name-twice": A + entry(b"a", b"second"),
    "name-twice-directory": folder(b"d") + folder(b"d/", mode=octal(0o700, 8)),
    "name-twice-root": folder(b"./") + folder(b"./"),
    "name-twice-in-two-forms": A + entry(b"./a", b"second"),
    "name-twice-absolute": A + entry(b"/a", b"second"),
    "name-file-then-directory": A + folder(b"a"),
    "name-directory-then-file": folder(b"a") + entry(b"a/x", DATA) + entry(b"a", DATA),
    "link-hard": A + link(b"h", b"a"),
    "link-hard-dot": A + link(b"h", b"./a"),
    "link-hard-before": link(b"h", b"a") + A,
    "link-hard-to-nothing": link(b"h", b"absent"),
    "link-hard-empty": link(b"h", b""),
    "link-hard-to-directory": folder(b"d") + link(b"h", b"d"),
    "link-hard-to-itself": A + link(b"a", b"a"),
    "link-hard-to-symlink": symlink(b"s", b"a") + link(b"h", b"s"),
    "link-hard-dot-dot-out": A + link(b"h", b"../a"),
    "link-hard-dot-dot-inside": folder(b"d") + A + link(b"h", b"d/../a"),
    "link-hard-other-mode": A + link(b"h", b"a", mode=octal(0o600, 8)),
    "link-hard-through-symlink": folder(b"d")
    + entry(b"d/x", DATA)
    + symlink(b"s", b"d")
    + link(b"h", b"s/x"),
    "link-symlink-empty": symlink(b"s", b""),
    "link-symlink-dot-dot": symlink(b"s", b"../../../../etc/passwd"),
    "link-symlink-long": pax({"linkpath": b"t" * 4000}) + symlink(b"s", b""),
    "link-symlink-too-long": pax({"linkpath": b"t" * 5000}) + symlink(b"s", b""),
    "below-symlink": folder(b"d") + symlink(b"s", b"d") + entry(b"s/x", DATA),
    "below-symlink-absolute": folder(b"d") + symlink(b"s", b"/d") + entry(b"s/x", DATA),
    "below-symlink-out": folder(b"d") + symlink(b"s", b"../../d") + entry(b"s/x", DATA),
    "below-symlink-chain": folder(b"d") + symlink(b"s", b"d") + symlink(b"t", b"s") + entry(b"t/x", DATA),
    "below-symlink-deeper": folder(b"d") + folder(b"d/e") + symlink(b"s", b"d") + entry(b"s/e/x", DATA),
    "below-symlink-new-directory": folder(b"d") + symlink(b"s", b"d") + entry(b"s/new/x", DATA),
    "below-symlink-dangling": symlink(b"s", b"absent") + entry(b"s/x", DATA),
    "below-symlink-to-file": A + symlink(b"s", b"a") + entry(b"s/x", DATA),
    "below-symlink-loop": symlink(b"s", b"s") + entry(b"s/x", DATA),
    "below-symlink-replaced": folder(b"d") + symlink(b"s", b"d") + folder(b"s") + entry(b"s/x", DATA),
    "below-file": A + entry(b"a/x", DATA),
    "below-fifo": entry(b"p", kind=b"6") + entry(b"p/x", DATA),
    "whiteout-of-nothing": entry(b".wh.absent") + A,
    "whiteout-of-the-same-layer-before": A + entry(b".wh.a"),
    "whiteout-of-the-same-layer-after": entry(b".wh.a") + A,
    "whiteout-empty": entry(b"d/.wh.") + A,
    "whiteout-as-directory": folder(b".wh.a") + B,
    "whiteout-with-content": entry(b".wh.a", DATA) + B,
    "whiteout-of-aufs": entry(b".wh..wh.aufs") + folder(b".wh..wh.plnk") + A,
    "whiteout-opaque-at-root": entry(b".wh..wh..opq") + A,
}

_BASE = (
    folder(b"d", mode=octal(0o1770, 8))
    + entry(b"d/old", b"old")
    + A
    + symlink(b"s", b"d")
    + pax({"SCHILY.xattr.user.x": b"1"})
    + folder(b"e", mode=octal(0o710, 8), uid=octal(9, 8), gid=octal(7, 8))
    + entry(b"e/f", b"f")
)

LAYERS: dict[str, bytes] = {
    "two-file-for-directory": entry(b"d", DATA),
    "two-directory-for-file": folder(b"a") + entry(b"a/x", DATA),
    "two-directory-for-symlink": folder(b"s") + entry(b"s/x", DATA),
    "two-below-lower-symlink": entry(b"s/x", DATA),
    "two-below-lower-file": entry(b"a/x", DATA),
    "two-whiteout": entry(b".wh.a"),
    "two-whiteout-of-a-tree": entry(b".wh.d"),
    "two-whiteout-and-new": entry(b".wh.d") + folder(b"d") + entry(b"d/new", DATA),
    "two-new-and-whiteout": folder(b"d") + entry(b"d/new", DATA) + entry(b".wh.d"),
    "two-opaque": folder(b"d") + entry(b"d/.wh..wh..opq") + entry(b"d/new", DATA),
    "two-opaque-last": folder(b"d") + entry(b"d/new", DATA) + entry(b"d/.wh..wh..opq"),
    "two-opaque-without-the-directory": entry(b"d/.wh..wh..opq"),
    "two-whiteout-below-lower-symlink": entry(b"s/.wh.old"),
    "two-whiteout-below-lower-file": entry(b"a/.wh.old"),
    "two-whiteout-below-nothing": entry(b"new/.wh.old"),
    "two-char-0-0": entry(b"a", kind=b"3", major=octal(0, 8), minor=octal(0, 8)),
    "two-link-to-itself": link(b"a", b"a"),
    "two-whiteout-below-own-symlink": folder(b"d") + symlink(b"t", b"d") + entry(b"t/.wh.old"),
    "two-link-to-lower-file": link(b"h", b"a"),
    "two-below-own-symlink-to-lower": symlink(b"t", b"d") + entry(b"t/x", DATA),
    "two-global-header-named-as-a-whiteout": pax({"comment": b"x"}, b"g", name=b".wh.a") + B,
    "two-global-header-below-a-file": pax({"comment": b"x"}, b"g", name=b"a/b/c") + B,
    "two-global-header-below-nothing": pax({"comment": b"x"}, b"g", name=b"new/b/c") + B,
    "two-parent-missing": entry(b"e/g", DATA),
    "two-parents-missing": entry(b"e/new/g", DATA),
    "two-parent-missing-of-a-whiteout": entry(b"e/.wh.f"),
    "two-parent-missing-and-stated": entry(b"e/g", DATA)
    + folder(b"e", mode=octal(0o2711, 8), uid=octal(9, 8)),
    "two-parent-missing-of-a-global-header": pax({"comment": b"x"}, b"g", name=b"e/x") + B,
    "two-absolute-whiteout": entry(b"/.wh.a"),
}

CASES: dict[str, tuple[bytes, ...]] = {
    **{name: (tar,) for name, tar in {**HEADERS, **PAX, **NAMES}.items()},
    **{name: (_BASE, tar) for name, tar in LAYERS.items()},
}
