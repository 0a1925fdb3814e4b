"""Records that lie beside what they describe, anywhere in the root filesystem: reading, JSON, texts."""

from __future__ import annotations

import json
from collections.abc import Callable

from rechunk_podman.errors import RootfsError
from rechunk_podman.packages.budget import Budget
from rechunk_podman.patterns import compile_later
from rechunk_podman.rootfs.root import Root

RECORD_COST = 1024
"""Bytes that are counted as read for each record, so that very many empty ones cost something."""

MOST_JSON = 16 << 20
"""Bytes of the largest JSON record that callers may read."""

_MOST_ITEMS = 1_000_000
"""Values in a JSON record."""
_ITEM_COST = 80
"""Bytes of memory of a value without its text: of an empty list, with its place in another one."""
_ITEM_TIME = 16
"""Bytes that are counted as read for a value: it takes as much time."""

_PLAIN = compile_later(r"[!-~]{1,200}\Z")


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


def json_object(data: bytes, budget: Budget, number: Callable[[str], object] = str) -> dict[str, object]:
    """Return a JSON object.

    Args:
        number: makes a value of the text of a number; the text itself by default.

    Raises:
        ValueError: the data is not a JSON object, nested too deeply, or has more than a million values.
        DatabaseError: the budget is spent.
    """
    items = sum(map(data.count, (b",", b"[", b"{")))
    if items > _MOST_ITEMS:
        raise ValueError(f"more than {_MOST_ITEMS} values")
    budget.read(_ITEM_TIME * items)
    budget.keep(0, 2 * len(data) + _ITEM_COST * items)
    try:
        found = json.loads(data, parse_int=number, parse_float=number)
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
