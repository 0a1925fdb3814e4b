"""References: parsing of image names, and detection of the location that a reference names.

A reference is a name in local storage, `containers-storage:NAME`, `docker://NAME`, `oci:DIR[:TAG]`,
`oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`, or a path: of a layout, an archive, a file with the
saved config of an image, or a directory.

Sources: containers-transports(5); distribution's reference grammar (github.com/distribution/reference,
reference.go); podman's rule that a name without a registry, given as a tag, belongs to `localhost/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from rechunk_podman.errors import MissingImageError, RechunkError, UsageError
from rechunk_podman.oci import spec
from rechunk_podman.oci.spec import Digest
from rechunk_podman.patterns import compile_later

STORAGE, DOCKER = "containers-storage:", "docker://"
OCI, OCI_ARCHIVE, DOCKER_ARCHIVE = "oci", "oci-archive", "docker-archive"
TRANSPORTS = (OCI, OCI_ARCHIVE, DOCKER_ARCHIVE)
"""Transports of images that are read in place."""

MISSING_HINT = "name a local image, docker://NAME, oci:DIR, an archive or a saved config"
_OTHERS = ("dir:", "docker-daemon:", "ostree:", "sif:", "tarball:")

SUFFIX = "-chunked"
MAX_TAG = 128

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = compile_later(
    rf"(?P<repository>(?:{_HOST}(?::[0-9]+)?/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?"
    r"(?:@(?P<digest>[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}))?\Z",
    re.ASCII,
)
_ID = compile_later(r"(?:sha256:)?[0-9a-f]{3,64}\Z")


class Name(NamedTuple):
    """`repository[:tag][@digest]`, each part as it was written."""

    repository: str
    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return self.repository + tag + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Name:
    """Return the parts of an image name.

    Raises:
        UsageError: the text is not the name of an image.
    """
    match = _NAME.match(text)
    if match is None:
        hint = "a reference is [registry/]name[:tag], lower case"
        if _NAME.match(text.lower()):
            hint += f": {text.lower()}"
        raise UsageError(f"not an image name: {text!r}", hint=hint)
    return Name(match["repository"], match["tag"], match["digest"])


def host_of(repository: str) -> str:
    """Return the registry of a repository, in the form of authentication files."""
    first, slash, _ = repository.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def normalised_tag(text: str) -> str:
    """Return the full name for `-t TEXT`: registry (else localhost), path and tag (else latest).

    Raises:
        UsageError: the text is not the name of an image, or has a digest.
    """
    name = parse(text)
    if name.digest:
        raise UsageError(f"a digest cannot be given as a tag: {text}", hint="give -t NAME[:TAG]")
    first, slash, _ = name.repository.partition("/")
    repository = name.repository
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        repository = f"localhost/{repository}"
    return f"{repository}:{name.tag or 'latest'}"


def default_tag(asked: str, image_id: str, names: Iterable[str]) -> str:
    """Return the default name of the result: the image's name with `-chunked` appended to its tag.

    Args:
        asked: the image as the user named it: a short or full name, a digest reference or an id.
        image_id: its full id, hex digits.
        names: all its full names in storage.

    Raises:
        UsageError: the image has no name, or several names and the user wrote none of them, or the tag would
            be too long.
    """
    names = list(names)
    hint = "name the result: -t NAME"
    if _ID.match(asked) and image_id.startswith(asked.removeprefix("sha256:")):
        if len(names) != 1:
            what = "has no name" if not names else f"has {len(names)} names ({', '.join(names[:4])})"
            raise UsageError(f"image {asked} {what}", hint=hint)
        name = parse(names[0])
    else:
        name = _found_as(parse(asked), names)
    tag = f"{name.tag}{SUFFIX}" if name.tag else SUFFIX.lstrip("-")
    if len(tag) > MAX_TAG:
        raise UsageError(f"the tag of {name} is too long to append {SUFFIX}", hint=hint)
    return normalised_tag(f"{name.repository}:{tag}")


def _found_as(asked: Name, names: list[str]) -> Name:
    """Return the full name in storage for a name; add no tag to a digest reference."""
    if asked.digest:
        return Name(_repository(asked, names), asked.tag, None)
    tag = asked.tag or "latest"
    return Name(_repository(Name(asked.repository, tag, None), names), tag, None)


def _repository(asked: Name, names: list[str]) -> str:
    candidates = [parse(name) for name in names]
    if asked.tag:
        candidates = [name for name in candidates if name.tag == asked.tag]
    for name in candidates:
        if name.repository == asked.repository:
            return name.repository
    for name in candidates:
        if name.repository.endswith("/" + asked.repository):
            return name.repository
    return asked.repository


class Target(NamedTuple):
    """`docker://REPOSITORY:TAG`, the destination of a push."""

    repository: str
    tag: str

    def __str__(self) -> str:
        return f"{DOCKER}{self.repository}:{self.tag}"

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse a reference without a digest; the default tag is `latest`.

        Raises:
            UsageError: the text has another form.
        """
        if not text.startswith(DOCKER):
            raise UsageError(f"not a registry reference: {text}", hint="docker://REGISTRY/NAME:TAG")
        name = parse(text.removeprefix(DOCKER))
        if name.digest is not None:
            raise UsageError(
                f"nothing can be pushed to a digest: {text}", hint=f"{DOCKER}{name.repository}:TAG"
            )
        return cls(name.repository, name.tag or "latest")


@dataclass(frozen=True, slots=True)
class Pinned:
    """`docker://REPOSITORY@DIGEST`, a reference that always names the same image."""

    repository: str
    digest: Digest

    def __str__(self) -> str:
        return f"{DOCKER}{self.repository}@{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Pinned:
        """Parse a reference with a digest and without a tag.

        Raises:
            UsageError: the text has another form.
        """
        hint = "docker://REGISTRY/NAME@sha256:… (split --push prints the digest)"
        if not text.startswith(DOCKER):
            raise UsageError(f"not a registry reference: {text}", hint=hint)
        name = parse(text.removeprefix(DOCKER))
        if name.digest is None or name.tag is not None:
            raise UsageError(f"not a digest reference: {text}", hint=hint)
        try:
            return cls(name.repository, spec.digest(name.digest))
        except RechunkError as error:
            raise UsageError(f"not a digest reference: {text}", context=[error.message], hint=hint) from error


class PathReference(NamedTuple):
    """`[TRANSPORT:]PATH[:TAG]`. transport: None if the text names none."""

    transport: str | None
    path: str
    tag: str | None


def parse_path(text: str) -> PathReference:
    """Return the parts of `[oci:|oci-archive:|docker-archive:]PATH[:TAG]`.

    If the whole text is an existing path, there is no tag.
    """
    transport, colon, rest = text.partition(":")
    if not (colon and transport in TRANSPORTS):
        transport, rest = "", text
    path, tag = rest, None
    if not Path(rest).exists():
        for match in re.finditer(":", rest):
            if Path(rest[: match.start()]).exists():
                path, tag = rest[: match.start()], rest[match.end() :]
                break
    return PathReference(transport or None, path, tag or None)


def is_layout(path: Path) -> bool:
    """Return True if a directory is an OCI layout (image-layout.md)."""
    return (path / "oci-layout").is_file() and (path / "index.json").is_file()


class LocationKind(Enum):
    """The kind of thing that a reference names."""

    REGISTRY = "registry"
    STORAGE = "local storage"
    IMAGE = "layout or archive"
    DOCUMENT = "saved config"
    DIRECTORY = "directory"


def locate(text: str) -> tuple[LocationKind, str]:
    """Return the kind of location that a reference names, and the name at this location.

    The name of a layout or an archive includes its transport, if that is known. Only the first bytes of files
    are read. A text that is no existing path is a name in local storage.

    Raises:
        UsageError: the reference is empty, or its transport cannot be read in place.
        MissingImageError: the reference is a path that does not exist.
    """
    if text.startswith(DOCKER):
        return LocationKind.REGISTRY, text.removeprefix(DOCKER)
    if text.startswith(_OTHERS):
        raise UsageError(f"cannot read {text} in place", hint="copy it first: skopeo copy … oci:DIR")
    if text.startswith(STORAGE):
        return LocationKind.STORAGE, text.removeprefix(STORAGE)
    if text.partition(":")[0] in TRANSPORTS:
        return LocationKind.IMAGE, text
    if not text:
        raise UsageError("an image reference is empty", hint="give a name, docker://NAME or oci:DIR")
    reference = parse_path(text)
    path = Path(reference.path)
    if path.is_dir() and is_layout(path):
        return LocationKind.IMAGE, f"{OCI}:{text}"
    if path.is_file():
        is_document = reference.tag is None and _is_json(path)
        return LocationKind.DOCUMENT if is_document else LocationKind.IMAGE, text
    if path.is_dir() and reference.tag is None:
        return LocationKind.DIRECTORY, text
    if text.startswith(("/", "./", "../")):
        raise MissingImageError(f"no such file or directory: {text}", hint=MISSING_HINT)
    return LocationKind.STORAGE, text


def _is_json(path: Path) -> bool:
    """Return True if a file begins like a JSON object or list."""
    try:
        with path.open("rb") as file:
            return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")
    except OSError:
        return False
