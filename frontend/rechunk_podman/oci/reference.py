"""Image references as podman and buildah read them: pure functions on text.

Sources: distribution's reference grammar (github.com/distribution/reference, reference.go) and podman's rule
that a name without a registry, given as a tag, belongs to `localhost/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from rechunk_podman.errors import UsageError

SUFFIX = "-chunked"
MAX_TAG = 128

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?P<repository>(?:{_HOST}(?::[0-9]+)?/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?"
    r"(?:@(?P<digest>[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}))?\Z",
    re.ASCII,
)
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{3,64}\Z")


class Name(NamedTuple):
    """`repository[:tag][@digest]`, each as it was written."""

    repository: str
    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return self.repository + tag + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Name:
    """The parts of a reference.

    Raises:
        UsageError: it is no image reference.
    """
    match = _NAME.match(text)
    if match is None:
        hint = "a reference is [registry/]name[:tag], lower case"
        if _NAME.match(text.lower()):
            hint += f": {text.lower()}"
        raise UsageError(f"not an image name: {text!r}", hint=hint)
    return Name(match["repository"], match["tag"], match["digest"])


def host_of(repository: str) -> str:
    """The registry of a repository, as it stands in authentication files."""
    first, slash, _ = repository.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def normalised_tag(text: str) -> str:
    """The full name that `-t TEXT` gives an image: with registry (localhost by default) and tag (latest).

    Raises:
        UsageError: it is no image reference, or one with a digest.
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
    """Where the result goes if the user does not say: the image's own name, `-chunked` behind its tag.

    Args:
        asked: what the user called the image: a name, short or full, a digest reference or an id.
        image_id: its full id, hex digits.
        names: all its names in storage, full.

    Raises:
        UsageError: it has no name, several and none that was asked for, or one too long to be extended.
    """
    names = list(names)
    hint = "say where the result shall go: -t NAME"
    if _ID.match(asked) and image_id.startswith(asked.removeprefix("sha256:")):
        if len(names) != 1:
            what = "has no name" if not names else f"has {len(names)} names ({', '.join(names[:4])})"
            raise UsageError(f"image {asked} {what}", hint=hint)
        name = parse(names[0])
    else:
        name = _found_as(parse(asked), names)
    tag = f"{name.tag}{SUFFIX}" if name.tag else SUFFIX.lstrip("-")
    if len(tag) > MAX_TAG:
        raise UsageError(f"the tag of {name} is too long for {SUFFIX} behind it", hint=hint)
    return normalised_tag(f"{name.repository}:{tag}")


def _found_as(asked: Name, names: list[str]) -> Name:
    """The full name in storage to which a name resolved; a digest reference has a tag only if given one."""
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
