"""Frozen dataclasses as JSON, read strictly: an unknown key or a wrong type is an error that names the field.

A field may be a bool, int, str, an enum of strings, a JSON object (dict), a dataclass, a tuple of these, or
one of these or None.
A field that is equal to its default is left out. A field that `repr` excludes is a secret: it is neither
written nor read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from rechunk_podman.errors import UsageError

T = TypeVar("T")


def dumps(value: Any, number: int) -> bytes:
    """Return a dataclass as the text of a JSON object, with the number of its format.

    Raises:
        ValueError: a secret is set.
    """
    return json.dumps({"format": number, **_object(value)}, ensure_ascii=True).encode()


def loads(kind: type[T], data: bytes, number: int, name: str) -> T:
    """Return the dataclass that a text holds.

    Args:
        name: of the text, for messages.

    Raises:
        UsageError: the text is not the JSON object of such a dataclass, or of another format number.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON", context=[str(error)]) from error
    if not isinstance(document, dict):
        raise UsageError(f"{name} is not a JSON object")
    found = document.pop("format", None)
    if found != number:
        raise UsageError(
            f"{name} has the format number {found!r}, not {number}",
            hint="use the same version of rechunk-podman on both sides: build the chunker image anew",
        )
    return _parsed(kind, document, name)


def require_types(value: Any) -> None:
    """Check that each field of a dataclass has a value of its type; a list may stand for a tuple.

    Raises:
        UsageError: a field is of another type.
    """
    for name, kind in _hints(type(value)).items():
        content = getattr(value, name)
        if not _has_type(content, kind):
            raise UsageError(f"{name} is of the wrong type: {content!r:.80}", hint=f"expected: {kind}")


def _has_type(item: Any, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_has_type(item, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(item, (tuple, list)) and all(_has_type(part, arguments[0]) for part in item)
    # True is no number
    return type(item) is kind if kind in (int, bool) else isinstance(item, kind)


_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)
"""Resolving the annotations of a dataclass takes longer than all else here."""


def _object(value: Any) -> dict[str, Any]:
    document = {}
    for field in fields(value):
        content = getattr(value, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if content == default:
            continue
        if not field.repr:
            raise ValueError(f"{field.name} is secret")
        document[field.name] = _plain(content)
    return document


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _object(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _parsed(kind: type[T], document: dict[str, Any], name: str) -> T:
    hints = _hints(kind)
    known = {field.name: field for field in fields(kind) if field.repr}  # type: ignore[arg-type]
    for key in document:
        if key not in known:
            raise UsageError(f"{name}: unknown key {key!r}", hint="one of: " + ", ".join(known))
    for key, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING and key not in document:
            raise UsageError(f"{name}: the key {key!r} is missing")
    return kind(**{key: _value(hints[key], item, f"{name}: {key}") for key, item in document.items()})


def _value(kind: Any, item: Any, name: str) -> Any:
    kind = getattr(kind, "__supertype__", kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if item is None:
            return None
        (kind,) = (argument for argument in arguments if argument is not NoneType)
        return _value(kind, item, name)
    if origin is tuple and isinstance(item, list):
        return tuple(_value(arguments[0], part, f"{name}[{index}]") for index, part in enumerate(item))
    if isinstance(kind, type) and issubclass(kind, Enum) and isinstance(item, str):
        if item in {member.value for member in kind}:
            return kind(item)
    elif is_dataclass(kind) and isinstance(kind, type) and isinstance(item, dict):
        return _parsed(kind, item, name)
    if type(item) is (origin or kind) and origin in (None, dict):
        return item
    raise UsageError(f"{name} is of the wrong type: {item!r:.80}", hint=f"expected: {kind}")
