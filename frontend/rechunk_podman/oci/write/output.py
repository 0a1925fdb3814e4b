"""Where an image goes: `[oci:|oci-archive:|docker-archive:]PATH`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from rechunk_podman.errors import UsageError

_OTHERS = (
    "containers-storage:",
    "dir:",
    "docker:",
    "docker-daemon:",
    "docker://",
    "ostree:",
    "sif:",
    "tarball:",
)
"""Other transports of containers-transports(5): no file of that name is meant."""


class OutputKind(Enum):
    """The forms an image can be written in; the values are the names of containers-transports(5)."""

    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


@dataclass(frozen=True, slots=True)
class Output:
    """A form and a place. path: None is standard output. tag: the reference behind the path, if any."""

    kind: OutputKind
    path: str | None
    tag: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Output:
        """`[KIND:]PATH`: an OCI archive if no kind is named, standard output for None and `-`.

        With a kind, `KIND:PATH:REFERENCE` as in containers-transports(5), where a colon ends the path.

        Raises:
            UsageError: no path, another transport, or a layout (a directory) on standard output.
        """
        if text is not None and text.startswith(_OTHERS):
            raise UsageError(
                f"--output {text}: images are written as oci:, oci-archive: and docker-archive: alone",
                hint="`skopeo copy` takes such an image anywhere; `rechunk-podman split --push` pushes",
            )
        tag = None
        kind, path = OutputKind.OCI_ARCHIVE, text
        for candidate in OutputKind:
            if text is not None and text.startswith(candidate.value + ":"):
                kind = candidate
                path, colon, tag = text[len(candidate.value) + 1 :].partition(":")
                tag = tag if colon else None
        if path == "":
            raise UsageError(
                f"--output {text}: no path", hint="--output [oci:|oci-archive:|docker-archive:]PATH"
            )
        if path == "-":
            path = None
        if path is None and kind is OutputKind.OCI:
            raise UsageError(
                "an OCI layout is a directory: it cannot go to standard output", hint="--output oci:PATH"
            )
        if tag == "":
            raise UsageError(f"--output {text}: no name behind the colon", hint="--output KIND:PATH[:NAME]")
        return cls(kind, path, tag)

    def absolute(self) -> Output:
        """Return the same place with an absolute path."""
        return replace(self, path=None if self.path is None else str(Path(self.path).absolute()))

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.path or '-'}"
