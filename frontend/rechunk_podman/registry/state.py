"""The state file of a user: the digests of images that they pushed, and so can trust.

JSON: `{"version": 1, "repositories": {REPOSITORY: {TAG: DIGEST}}}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from rechunk_podman.errors import ImageError, UsageError
from rechunk_podman.files import is_stream, write_file
from rechunk_podman.oci import spec

VERSION = 1
MAX_BYTES = 4 << 20

_HINT = "it is not written over: name another file with --state, or remove this one"


@dataclass(frozen=True, slots=True)
class State:
    """repositories: repository -> tag -> digest of the last image that was pushed there."""

    repositories: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def knows(self, repository: str, digest: str | None) -> bool:
        """Return True if the state's owner pushed this very image there."""
        return digest is not None and digest in self.repositories.get(repository, {}).values()

    def pushed(self, repository: str, tag: str, digest: str) -> State:
        """Return the state after one more push."""
        tags = {**self.repositories.get(repository, {}), tag: digest}
        return State({**self.repositories, repository: tags})


def parse(data: bytes, name: str) -> State:
    """Read a state file.

    Raises:
        UsageError: the data is no state file, or has another version.
    """
    try:
        document = json.loads(data)
        if document["version"] != VERSION:
            raise UsageError(f"the state file {name} is not of version {VERSION}", hint=_HINT)
        return State(
            {
                str(repository): {str(tag): str(spec.digest(digest)) for tag, digest in tags.items()}
                for repository, tags in document["repositories"].items()
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError, ImageError, RecursionError) as error:
        raise UsageError(f"{name} is no state file", context=[str(error)], hint=_HINT) from error


def refuse_stream(path: str) -> None:
    """Raise UsageError if a pipe or device is at the path of a state file."""
    if is_stream(path):
        raise UsageError(f"{path} is no file", hint="name a file with --state: it is read, and replaced")


def load(path: str | None) -> State:
    """Return the state in a file; an empty one if there is no file yet, or none was named.

    Raises:
        UsageError: the file cannot be read, or is no state file.
    """
    if path is None:
        return State()
    refuse_stream(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return State()
    except OSError as error:
        raise UsageError(f"cannot read the state file {path}", context=[str(error)]) from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is no state file", context=["it is too large"], hint=_HINT)
    return parse(data, path)


def save(state: State, path: str) -> None:
    """Replace a state file as a whole; if this fails, the old file stays.

    Raises:
        RechunkError: it cannot be written.
    """
    document = {"version": VERSION, "repositories": state.repositories}
    data = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True).encode() + b"\n"
    write_file(path, data, durable=True)
