"""Records that lie beside what they describe, anywhere in the root filesystem: reading, JSON, texts."""

from __future__ import annotations

import json
import re

from rechunk_podman.errors import RootfsError
from rechunk_podman.packages.budget import Budget
from rechunk_podman.rootfs.root import Root

RECORD_COST = 1024
"""Bytes that are counted as read for each record, so that very many empty ones cost something."""

JSON_COST = 24
"""The largest memory size of parsed JSON, in bytes for each byte of its text (`[],[],…`)."""

MOST_JSON = 6 << 20
"""Bytes of a JSON record; JSON_COST times as much stays below MOST_MEMORY."""

_PLAIN = re.compile(r"[!-~]{1,200}\Z")


def read(root: Root, path: str, limit: int, budget: Budget) -> bytes | None:
    """Return the content of a record; None, with a warning, if it cannot be read.

    Symlinks are followed inside the root filesystem.

    Args:
        limit: bytes of the largest record.

    Raises:
        DatabaseError: the budget is spent.
    """
    budget.read(RECORD_COST)
    try:
        try:
            data = root.read(path, limit)
        except RootfsError:
            target = root.resolve(path)
            if target == path:
                raise
            data = root.read(target, limit)
    except RootfsError as error:
        budget.warn_left_out(root.show(path), error.message)
        return None
    budget.read(len(data))
    return data


def json_object(data: bytes) -> dict[str, object]:
    """Return a JSON object; numbers stay texts.

    Raises:
        ValueError: the data is not a JSON object, or nested too deeply.
    """
    try:
        found = json.loads(data, parse_int=str, parse_float=str)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def plain(value: object) -> str:
    """Return a name or version that has only printable ASCII characters without spaces; "" for others.

    JSON may hold any text, also such as no file name and no Ledger can.
    """
    return value if isinstance(value, str) and _PLAIN.match(value) else ""
