"""Parsers of the files of pacman's local database. Pure.

Formats: alpm-db-desc(5), alpm-db-files(5) and alpm-mtree(5) of Arch Linux's ALPM project; mtree(5), "mtree
files"; pacman.conf(5), DBPath.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from rechunk_podman.packages.budget import MOST_NAMES
from rechunk_podman.patterns import compile_later

_ESCAPE = compile_later(rb"\\([0-3][0-7]{2})")


class Listed(NamedTuple):
    """What an mtree file records of a path; None: nothing is recorded.

    mode: permission bits.
    size: bytes. mtime: epoch seconds.
    digest: the SHA-256 (hex) of a regular file; "" if there is none.
    """

    is_file: bool
    mode: int | None
    size: int | None
    mtime: int | None
    digest: str


def database_path(config: bytes) -> str | None:
    """Return DBPath of a pacman.conf, without slashes around it; None if it names none."""
    for line in config.decode("utf-8", "surrogateescape").split("\n"):
        key, _, value = line.partition("#")[0].partition("=")
        if key.strip(" \t") == "DBPath" and value.strip(" \t").startswith("/"):
            return value.strip(" \t").strip("/")
    return None


def sections(data: bytes) -> dict[str, list[str]]:
    """Return the sections of a `desc` or `files` file: name -> lines, up to an empty line."""
    found: dict[str, list[str]] = {}
    for block in ("\n" + data.decode("utf-8", "surrogateescape")).split("\n%")[1:]:
        head, _, rest = block.partition("\n")
        found[head.removesuffix("%")] = (
            rest.partition("\n\n")[0].strip("\n").split("\n") if rest.strip("\n") else []
        )
    return found


def unpack(data: bytes, limit: int) -> bytes:
    """Return the content of an mtree file, which may be gzipped.

    Args:
        limit: bytes.

    Raises:
        ValueError: the data is damaged, or larger than `limit`.
    """
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        stream = zlib.decompressobj(31)
        content = stream.decompress(data, limit)
    except zlib.error as error:
        raise ValueError(f"the mtree: {error}") from error
    if not stream.eof:
        raise ValueError(f"the mtree is truncated, or larger than {limit >> 20} MiB")
    return content


def mtree(data: bytes) -> dict[str, Listed]:
    """Return path -> what an mtree file records of it. Lines that are no paths are skipped.

    Raises:
        ValueError: there are more than MOST_NAMES lines, or a number is malformed.
    """
    if (lines := data.count(b"\n")) > MOST_NAMES:
        raise ValueError(f"an mtree of {lines} lines")
    found: dict[str, Listed] = {}
    defaults: dict[bytes, bytes] = {}
    for name, words in _lines(data):
        if name in (b"/set", b"/unset"):
            for word in words:
                key, _, value = word.partition(b"=")
                defaults.pop(key, None)
                if name == b"/set":
                    defaults[key] = value
        elif name.startswith(b"./"):
            values = dict(defaults)
            for word in words:
                key, _, value = word.partition(b"=")
                values[key] = value
            path = name[2:]
            if b"\\" in path:
                path = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 8)]), path)
            found[path.decode("utf-8", "surrogateescape")] = _listed(values)
    return found


def _lines(data: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
    for line in data.split(b"\n"):
        name, *words = line.split() or [b""]
        yield name, words


def _listed(values: dict[bytes, bytes]) -> Listed:
    mode, size, mtime = values.get(b"mode"), values.get(b"size"), values.get(b"time")
    is_file = values.get(b"type", b"file") == b"file"
    numbers = (mode, size, mtime and mtime.partition(b".")[0].removeprefix(b"-"))
    if any(number is not None and (not number.isdigit() or len(number) > 18) for number in numbers):
        raise ValueError("an mtree with a malformed number")
    digest = values.get(b"sha256digest") or values.get(b"sha256") or b""
    return Listed(
        is_file,
        None if mode is None else int(mode, 8) & 0o7777,
        None if size is None else int(size),
        None if mtime is None else int(mtime.partition(b".")[0]),
        digest.decode("latin-1") if is_file else "",
    )
