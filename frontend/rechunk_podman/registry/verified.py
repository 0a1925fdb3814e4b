"""A record of blobs whose content this machine has verified, so that each is fetched and hashed once.

A line of the file is `DIGEST DIFF_ID`: a blob of that digest unpacks to a layer of that diff_id. This never
changes. Newer lines come last. If the file is lost, the blobs are verified again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from rechunk_podman.errors import RechunkError
from rechunk_podman.files import cache_folder, write_file
from rechunk_podman.oci import spec
from rechunk_podman.oci.spec import DiffId, Digest

log = logging.getLogger(__name__)

MAX_LINES = 20_000
MAX_BYTES = MAX_LINES * 150

Claim = tuple[Digest, DiffId]


def cache_file() -> Path | None:
    """Return the file; None if there is no home directory."""
    folder = cache_folder()
    return None if folder is None else folder / "verified-blobs"


def load(path: Path | None) -> dict[Claim, None]:
    """Return the blobs that were verified, the oldest first; skip malformed lines.

    A file of another user is ignored.
    """
    try:
        if path is None:
            return {}
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return {}
            data = file.read(MAX_BYTES)
    except OSError:
        return {}
    found: dict[Claim, None] = {}
    for line in data.decode("ascii", "replace").splitlines():
        digest, _, diff_id = line.partition(" ")
        try:
            found[spec.digest(digest), spec.diff_id(diff_id)] = None
        except RechunkError:
            continue
    return found


def remember(path: Path | None, claims: Iterable[Claim]) -> None:
    """Add blobs to the file, at most MAX_LINES in all; a file that cannot be written is no error."""
    new = dict.fromkeys(claims)
    if path is None or not new:
        return
    known = load(path)
    lines = [*(claim for claim in known if claim not in new), *new][-MAX_LINES:]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(path, "".join(f"{digest} {diff_id}\n" for digest, diff_id in lines).encode())
    except (OSError, RechunkError) as error:
        log.debug("what was verified is not remembered: %s", error)
