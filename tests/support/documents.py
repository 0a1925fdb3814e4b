"""JSON documents of the command line against their schemas (docs/schemas/)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def check_document(name: str, text: str) -> dict[str, Any]:
    """Return the document, which has to be as the schema `name` says, without a key that it does not name."""
    schema = _closed(json.loads((SCHEMAS / f"{name}.json").read_text()))
    document: dict[str, Any] = json.loads(text)
    faults = [
        f"{'/'.join(map(str, fault.absolute_path)) or '.'}: {fault.message[:300]}"
        for fault in Draft202012Validator(schema).iter_errors(document)
    ]
    assert not faults, "\n".join(faults)
    return document


def _closed(schema: Any) -> Any:
    """Refuse, in a copy, keys that have no schema: readers of documents ignore them, our tests do not."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    return {**closed, "additionalProperties": False} if "properties" in closed else closed
