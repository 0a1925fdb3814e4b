"""The output of an image: its form and its path."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from rechunk_podman.errors import UsageError
from rechunk_podman.oci import reference as names
from rechunk_podman.patterns import compile_later

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
"""Other transports of containers-transports(5), which are not taken for the name of a file."""


_TAG = compile_later(r"\w[\w.-]{0,127}\Z", re.ASCII)
"""A tag alone, which may be a name in an OCI layout (`skopeo copy … oci:DIR:TAG` writes it)."""


class OutputKind(Enum):
    """The forms an image can be written in; the values are the names of containers-transports(5)."""

    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


class Format(str, Enum):
    """The formats of a manifest. Docker's, of schema 2, has no annotations and no zstd."""

    OCI = "oci"
    DOCKER = "docker"


FORMS = f"[{'|'.join(f'{kind.value}:' for kind in OutputKind)}]PATH"
"""The syntax of --output, for help and hints."""


@dataclass(frozen=True, slots=True)
class Output:
    """The form and path of an output. path: None is standard output. tag: the reference, or None."""

    kind: OutputKind
    path: str | None
    tag: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Output:
        """Parse `[KIND:]PATH`. The default kind is an OCI archive; None and `-` are standard output.

        `KIND:PATH:REFERENCE` is as in containers-transports(5): a colon ends the path.

        Raises:
            UsageError: there is no path, the transport is unknown, or a layout is to go to standard output.
        """
        if text is not None and text.startswith(_OTHERS):
            raise UsageError(
                f"--output {text}: images are written as oci:, oci-archive: or docker-archive: only",
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
            raise UsageError(f"--output {text}: no path", hint=f"--output {FORMS}")
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
        """Return the same output with an absolute path."""
        return replace(self, path=None if self.path is None else str(Path(self.path).absolute()))

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.path or '-'}"


def require_format(output: Output, wanted: Format | None, tag: str | None) -> None:
    """Raise UsageError if an output cannot hold images of a format.

    skopeo and podman look for names in layouts among images of OCI's format alone.

    Args:
        tag: the reference that the image carries.
    """
    if wanted is Format.OCI and output.kind is OutputKind.DOCKER_ARCHIVE:
        raise UsageError(
            "a docker-archive holds images of docker's format alone", hint="--output oci-archive:PATH"
        )
    if wanted is Format.DOCKER and output.kind is not OutputKind.DOCKER_ARCHIVE and tag is not None:
        raise UsageError(
            f"nobody finds an image of docker's format by its name in an {output.kind.value}",
            hint="--output docker-archive:PATH, or give it no name",
        )


def named_output(text: str | None, tag: str | None) -> tuple[Output, str | None]:
    """Return the output, and the reference in the image: `tag`, or the one in `text`.

    Raises:
        UsageError: the output or the reference is malformed, or there are two references.
    """
    output, named = Output.parse(text), tag
    if output.tag is not None:
        if tag is not None and tag != output.tag:
            raise UsageError(
                f"two names for the image: --tag {tag}, and {output.tag} in --output", hint="give one of them"
            )
        output, named = replace(output, tag=None), output.tag
    is_tag = named is not None and output.kind is not OutputKind.DOCKER_ARCHIVE and _TAG.match(named)
    if named is not None and not is_tag and names.parse(named).digest:
        raise UsageError(f"a digest cannot be given as a name: {named}", hint="give -t NAME[:TAG]")
    return output, named
