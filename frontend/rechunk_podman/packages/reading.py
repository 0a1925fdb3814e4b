"""Reading of package databases: a file that is a whole database, and a file of one record among many."""

from __future__ import annotations

from rechunk_podman.errors import DatabaseError, RootfsError
from rechunk_podman.packages.budget import Budget
from rechunk_podman.rootfs.root import Root


def exists(root: Root, path: str) -> bool:
    """Return True if there is anything at exactly this path."""
    try:
        root.stat(path)
    except RootfsError:
        return False
    return True


def read_database(root: Root, path: str, limit: int, budget: Budget, hint: str) -> bytes:
    """Return the content of a file that is a whole database.

    Args:
        limit: bytes.
        hint: how to repair the database.

    Raises:
        DatabaseError: the file cannot be read or holds more than `limit` bytes, or the budget is spent.
    """
    try:
        data = root.read(path, limit)
    except RootfsError as error:
        raise DatabaseError(
            f"cannot read the package database {root.show(path)}",
            context=[error.message],
            hint=error.hint or hint,
        ) from error
    budget.read(len(data))
    return data


def read_record(root: Root, path: str, limit: int, budget: Budget) -> bytes:
    """Return the content of a file that describes one package.

    Args:
        limit: bytes.

    Raises:
        ValueError: the file is missing, irregular or unreadable, or holds more than `limit` bytes.
        DatabaseError: the budget is spent.
    """
    try:
        data = root.read(path, limit)
    except RootfsError as error:
        raise ValueError(error.message) from error
    budget.read(len(data))
    return data
