"""Layouts that lack blobs on purpose, and the file beside index.json that lists them.

Such a layout can be pushed to a repository, or imported into a store, that has the missing blobs: tools look
there first. The specification allows this (image-layout.md, "Blobs": missing blobs SHOULD come from an
external blob store). Our own format: `{"version": 1, "elsewhere": [digest…], "from": reference}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from rechunk_podman.errors import ImageError
from rechunk_podman.oci import spec
from rechunk_podman.oci.documents import parse_object
from rechunk_podman.oci.spec import Digest

SPARSE_FILE = "org.rechunk.sparse.json"
"""The name of the file that lists the missing blobs."""

VERSION = 1


class Sparse(NamedTuple):
    """The blobs that a layout lacks, and the image with these blobs (a reference, with a digest if known)."""

    elsewhere: frozenset[Digest]
    origin: str | None


def sparse_document(elsewhere: Iterable[Digest], origin: str | None) -> bytes:
    """Return the content of a SPARSE_FILE."""
    document = {"version": VERSION, "elsewhere": sorted(set(elsewhere))}
    if origin is not None:
        document["from"] = origin
    return json.dumps(document, indent=1, ensure_ascii=True).encode() + b"\n"


def parse_sparse(data: bytes, name: str) -> Sparse:
    """Parse a SPARSE_FILE.

    Raises:
        ImageError: the file has another version or another form.
    """
    document = parse_object(data, name)
    elsewhere, origin = document.get("elsewhere"), document.get("from")
    if document.get("version") != VERSION or not isinstance(elsewhere, list):
        raise ImageError(
            f"{name} is not of version {VERSION}", hint="use the release of this tool that wrote it"
        )
    return Sparse(
        frozenset(spec.digest(text) for text in elsewhere), origin if isinstance(origin, str) else None
    )
