"""What split and index do around a push: files are tried before, the digest is written after."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rechunk_podman.cli.console import write_line
from rechunk_podman.errors import UsageError
from rechunk_podman.files import require_writable, write_file

if TYPE_CHECKING:
    from rechunk_podman.oci.reference import Target


def require_writable_files(**files: Path | str | None) -> None:
    """Refuse, before the long work, files that cannot be written at its end.

    Args:
        files: by the option that names each, without its dashes.

    Raises:
        UsageError: as require_writable(); or there is no TMPDIR.
    """
    temporary = os.environ.get("TMPDIR")
    if temporary and not Path(temporary).is_dir():
        raise UsageError(f"TMPDIR is no directory: {temporary}", hint="make it, or leave the variable out")
    for option, file in files.items():
        if file is not None:
            require_writable(Path(file), f"--{option}")


def finish_push(targets: Sequence[Target], digest: str, digestfile: Path | None, *, sign_hint: bool) -> None:
    """Write the digest to its file, and print to stderr how to sign it.

    Raises:
        RechunkError: the file cannot be written.
    """
    if digestfile is not None:
        write_file(digestfile, digest.encode())
    if sign_hint:
        for repository in dict.fromkeys(target.repository for target in targets):
            write_line(f"cosign sign {repository}@{digest}", error=True)
