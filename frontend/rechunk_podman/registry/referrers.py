"""The list of artifacts that refer to an image: asked of the registry, or kept under a tag where it has none.

Sources: distribution-spec v1.1 ("Listing Referrers", "Pushing Manifests with Subject", "Referrers Tag
Schema", "Unavailable Referrers API"); RFC 9110 ("If-Match", "If-None-Match"); RFC 8288 for the header Link.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from urllib.parse import quote

from rechunk_podman.errors import ImageError, RechunkError, ToolError
from rechunk_podman.oci import spec
from rechunk_podman.oci.artifact import listed, referrers_tag, with_referrer
from rechunk_podman.oci.documents import INDEXES, MANIFESTS
from rechunk_podman.oci.spec import Digest
from rechunk_podman.registry.credentials import OnlySkopeoError
from rechunk_podman.registry.retry import retry
from rechunk_podman.registry.upload import Answer, PassingError, Repository

log = logging.getLogger(__name__)

ROUNDS = 8
"""Attempts to add an entry to a list that others write, too."""

PAUSE = 1.0
"""The least seconds between a write of the list and the check that the entry is still in it."""

_FACTOR = 4
"""The pause is at least so many times the time between reading and writing the list."""

_CONDITIONAL = 5
"""The rounds whose write is conditional. A cache in front may have ETags that the registry never accepts."""

_STRONG = re.compile(r'"[!#-~]*"\Z')
"""An ETag that If-Match can name (RFC 9110, "Entity Tags")."""

_PAGES = 50
_NEXT = re.compile(r'<([^<>]{1,4096})>\s{0,8};[^,<]{0,1000}\brel="?next"?')


def is_listed(repository: Repository, subject: Digest, artifact: Digest, artifact_type: str) -> bool:
    """Return True if the registry itself lists an artifact among those that refer to `subject`.

    Return False if it has no such API, or does not answer.

    Raises:
        OnlySkopeoError: the registry cannot be asked without skopeo.
    """
    try:
        return any(artifact in page for page in _pages(repository, subject, artifact_type))
    except OnlySkopeoError:
        raise
    except RechunkError as error:
        log.info("%s does not list what refers to %s: %s", repository.name, subject, error.message)
        return False


def _pages(repository: Repository, subject: Digest, artifact_type: str) -> Iterator[list[str]]:
    """Yield the digests on each page of the registry's list; nothing if it has no such API."""
    place = f"referrers/{subject}?artifactType={quote(artifact_type, safe='')}"
    for _ in range(_PAGES):
        answer = _ask(repository, "GET", place, (200, 404))
        if answer.status == 404:
            return
        yield listed(answer.body, f"the referrers of {subject}")
        following = next_page(answer.headers)
        if following is None:
            return
        place = following


def next_page(headers: HTTPMessage) -> str | None:
    """Return the address of the page after this one, None if this is the last. Pure."""
    found = _NEXT.search(", ".join(headers.get_all("Link", [])))
    return None if found is None else found[1]


def keep_under_tag(
    repository: Repository,
    subject: Digest,
    manifest: bytes,
    *,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Add an artifact to the list under the tag of its subject, and see to it that it stays there.

    The write depends on the list that was read, where the registry supports conditional requests. Where it
    does not, another client may have read the list before this write, and write it after. So the list is read
    again after a pause, which is longer than a client needs between both, and the entry is added again if it
    is gone.

    Args:
        manifest: of the artifact, which is in the repository.
        pause: sleeps for some seconds.

    Raises:
        ImageError: the tag names something else.
        ToolError: others replace the list all the time.
        RechunkError: as Repository.ask().
    """
    tag = referrers_tag(subject)
    name = f"{repository.name}:{tag}"
    for attempt in range(ROUNDS):
        started = time.monotonic()
        index, condition = _read(repository, tag)
        data = with_referrer(index, manifest, name)
        if data is None:
            return
        headers = {"Content-Type": spec.MEDIA_INDEX, **(condition if attempt < _CONDITIONAL else {})}
        answer = _ask(repository, "PUT", f"manifests/{tag}", (200, 201, 412), headers, data)
        if answer.status == 412:
            log.info("%s has changed meanwhile: it is read again", name)
            continue
        least = max(PAUSE, _FACTOR * (time.monotonic() - started))
        pause(random.uniform(least, 2 * least))  # noqa: S311 (to part clients that began together)
    if with_referrer(_read(repository, tag)[0], manifest, name) is not None:
        raise ToolError(f"others replace {name} all the time", hint="run the same command again")


def _read(repository: Repository, tag: str) -> tuple[bytes | None, dict[str, str]]:
    """Return the list under a tag, None if there is none, and the condition on which it may be replaced."""
    headers = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
    answer = _ask(repository, "GET", f"manifests/{tag}", (200, 404), headers)
    if answer.status == 404:
        return None, {"If-None-Match": "*"}
    kind = _media_type(answer.headers)
    if kind and kind != spec.MEDIA_INDEX:
        raise ImageError(f"{repository.name}:{tag} is not a list of referrers", context=[f"it is {kind}"])
    etag = str(answer.headers.get("ETag", ""))
    return answer.body, {"If-Match": etag} if _STRONG.match(etag) else {}


def _media_type(headers: HTTPMessage) -> str:
    return str(headers.get("Content-Type", "")).partition(";")[0].strip()


def _ask(
    repository: Repository,
    method: str,
    place: str,
    expected: tuple[int, ...],
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Send a request; repeat it while its failure may pass."""
    return retry(
        lambda: repository.ask(method, place, expected, headers or {}, body),
        f"{method} {repository.name} {place.partition('?')[0]}",
        lambda error: isinstance(error, PassingError),
    )
