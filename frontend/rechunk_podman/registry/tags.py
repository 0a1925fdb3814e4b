"""Tags of a repository, and the newest of a series: the name of its previous image.

Sources: skopeo-list-tags(1); sigstore's cosign SPECIFICATION.md (sha256-HEX.sig, .att, .sbom);
distribution-spec v1.1 ("Referrers Tag Schema": ALGORITHM-HEX).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date

from rechunk_podman.errors import MissingImageError, RechunkError, ToolError, UsageError
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.oci.reference import DOCKER, Target
from rechunk_podman.oci.text import load_json
from rechunk_podman.patterns import compile_later
from rechunk_podman.registry.access import DEFAULT, Registry, ask_skopeo
from rechunk_podman.registry.answers import DeniedError
from rechunk_podman.registry.documents import image_documents

log = logging.getLogger(__name__)

_ATTACHED = compile_later(r"sha(?:256|384|512)-[0-9a-f]{32,128}(?:\.[A-Za-z0-9._-]+)?\Z")
_LONG_DATE = compile_later(r"(?<!\d)((?:19|20)\d\d)([-._]?)(\d\d)\2(\d\d)(?!\d)")
_SHORT_DATE = compile_later(r"(?<!\d)(\d\d)(\d\d)(\d\d)(?!\d)")
_COUNTER = compile_later(r"[.-](\d{1,4})(?!\d)")
_TAG = compile_later(r"\w[\w.-]{0,127}\Z", re.ASCII)
"""A tag, by the distribution specification ("Pulling manifests")."""
_NUMBER = compile_later(r"\d+", re.ASCII)

MAX_UNDATED = 20
"""The largest number of undated tags whose images' times are fetched to guess a series."""

Key = tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class Dated:
    """A tag and its position among others.

    when: epoch seconds of midnight (UTC) of a date in the tag, else of the image's Created.
    counter: the number of a further build on the same day (`.1`, `.2`), 0 if the tag has none.
    named: True if the tag holds the date.
    span: the start and end of the date in the tag.
    """

    tag: str
    when: int
    counter: int = 0
    named: bool = True
    span: tuple[int, int] = (0, 0)

    @property
    def key(self) -> Key:
        """The key by which tags are ordered: the day, the counter, the time, the name."""
        return self.when // 86400, self.counter, self.when, self.tag


def date_of(tag: str) -> Dated | None:
    """Return the last date in a tag (YYYYMMDD, YYYY-MM-DD, YYYY.MM.DD or YYMMDD) and a counter behind it.

    Return None if it holds no date, or a date that does not exist.
    """
    for pattern, century in ((_LONG_DATE, 0), (_SHORT_DATE, 2000)):
        for match in reversed(list(pattern.finditer(tag))):
            year, month, day = int(match[1]) + century, *(int(text) for text in match.groups()[-2:])
            try:
                days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
            except ValueError:
                continue
            counter = _COUNTER.match(tag, match.end())
            return Dated(tag, days * 86400, int(counter[1]) if counter else 0, span=match.span())
    return None


def expression_of(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a series.

    Raises:
        UsageError: the pattern is not a regular expression.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"--pattern is no regular expression: {pattern!r}",
            context=[str(error)],
            hint=r"for example ^40-\d{8}$",
        ) from error


def is_attached(tag: str) -> bool:
    """Return True if a tag attaches a signature, an attestation or an SBOM to an image."""
    return _ATTACHED.match(tag) is not None


def newest(
    tags: Iterable[str],
    pattern: str,
    *,
    before: str | None = None,
    created: Callable[[str], int | None],
    is_image: Callable[[str], bool] = lambda tag: True,
) -> Dated | None:
    """Return the newest tag that matches and names an image; None if none does.

    Args:
        pattern: a regular expression, searched for in each tag (anchor it with ^ and $).
        before: consider only tags older than this tag, which need not exist if its name holds a date.
        created: returns the epoch seconds of a tag's image, or None if unknown; called only for tags without
            a date.
        is_image: called from the newest tag down, until it returns True.

    Raises:
        UsageError: the pattern is not a regular expression, or the age of `before` is unknown.
    """
    expression = expression_of(pattern)
    there = set(tags)

    def dated(tag: str) -> Dated | None:
        found = date_of(tag)
        if found is not None:
            return found
        when = created(tag)
        return None if when is None else Dated(tag, when, named=False)

    limit: Key | None = None
    if before is not None:
        found = date_of(before) or (dated(before) if before in there else None)
        if found is None:
            raise UsageError(
                f"--before {before}: there is no such tag, and its name holds no date",
                hint="name one with a date, such as 40-20250131, or one that is there",
            )
        limit = found.key
    candidates = []
    for tag in sorted(there):
        if tag == before or is_attached(tag) or not expression.search(tag):
            continue
        entry = dated(tag)
        if entry is None:
            if is_image(tag):
                log.warning("%s is left out: neither the tag nor the image says when it was made", tag)
        elif limit is None or entry.key < limit:
            candidates.append(entry)
    candidates.sort(key=lambda entry: entry.key, reverse=True)
    return next((entry for entry in candidates if is_image(entry.tag)), None)


def series_of(tag: str) -> tuple[str, ...]:
    """Return regular expressions for the tags of the series that a tag belongs to, the narrowest first.

    They allow, in this order: another date, another value for every number, any tag.
    """
    patterns = [_NUMBER.sub(r"\\d+", re.escape(tag)), "."]
    found = date_of(tag)
    if found is not None:
        start, end = found.span
        counter = r"(?:[.-]\d{1,4})?"
        rest = _COUNTER.sub("", tag[end:], count=1) if found.counter else tag[end:]
        patterns[:0] = [
            re.escape(tag[:start])
            + _NUMBER.sub(r"\\d+", re.escape(tag[start:end]))
            + counter
            + re.escape(rest)
        ]
    return tuple(pattern if pattern == "." else f"^{pattern}$" for pattern in patterns)


def list_tags(repository: str, registry: Registry = DEFAULT) -> list[str]:
    """Return the tags of a repository (`REGISTRY/PATH`), as the registry lists them.

    Raises:
        MissingImageError: the registry does not know the repository.
        UsageError: its name is malformed, or has a tag.
        DeniedError, UnreachableError: access is denied, or no answer. ToolError: skopeo is missing or failed.
    """
    parsed = names.parse(repository)
    if parsed.tag or parsed.digest:
        raise UsageError(
            f"a repository has no tag or digest: {repository}", hint=f"docker://{parsed.repository}"
        )
    return parse_tags(ask_skopeo(["list-tags"], repository, repository, registry))


def parse_tags(printed: bytes) -> list[str]:
    """Return the tags in the output of `skopeo list-tags`, without those that no reference can name.

    Raises:
        ToolError: it is something else.
    """
    document = load_json(printed, "the output of skopeo list-tags", ToolError)
    if not isinstance(document, dict) or not isinstance(document.get("Tags", ""), list | None):
        raise ToolError("skopeo list-tags printed something else than tags")
    return [tag for tag in document["Tags"] or () if isinstance(tag, str) and _TAG.match(tag)]


def previous_tag(
    repository: str, pattern: str, *, before: str | None = None, registry: Registry = DEFAULT
) -> Dated | None:
    """Return the newest tag of a repository that matches; None if no tag does or there is no repository.

    Some registries deny access to a repository that does not exist: log a warning then, and return None.

    Raises:
        UsageError: the name, the pattern or `before` is wrong. UnreachableError: the registry did not answer.
        ToolError: skopeo is missing or failed.
    """
    expression_of(pattern)
    try:
        tags = list_tags(repository, registry)
    except MissingImageError:
        log.info("there is no repository %s yet", repository)
        tags = []
    except DeniedError as error:
        log.warning("%s", "; ".join((error.message, *error.context[:1])))
        tags = []

    images = _Images(repository, registry)
    return newest(tags, pattern, before=before, created=images.created, is_image=images.is_image)


def newest_beside(target: Target, registry: Registry = DEFAULT) -> Dated | None:
    """Return the newest other tag in a tag's repository, of its series if possible; None if there is none.

    Raises:
        RechunkError: as list_tags(), except that a missing repository gives None.
    """
    try:
        tags = list_tags(target.repository, registry)
    except MissingImageError:
        return None
    tags = [tag for tag in tags if tag != target.tag and not is_attached(tag)]
    images = _Images(target.repository, registry)
    for pattern in series_of(target.tag):
        matching = [tag for tag in tags if re.search(pattern, tag)]
        undated = sorted((tag for tag in matching if date_of(tag) is None), key=natural_key)[-MAX_UNDATED:]
        dated = [tag for tag in matching if date_of(tag) is not None]
        found = newest(dated + undated, ".", created=images.created, is_image=images.is_image)
        if found is not None:
            return found
    return None


def natural_key(tag: str) -> list[tuple[int, str]]:
    """Return a key that orders numbers in tags by their value."""
    parts = re.split(r"([0-9]+)", tag)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


class _Images:
    """The images of a repository by tag, each fetched once; tags of no image are left out with a warning."""

    def __init__(self, repository: str, registry: Registry) -> None:
        self._repository = repository
        self._registry = registry
        self._known: dict[str, ImageRecord | None] = {}

    def created(self, tag: str) -> int | None:
        """Return the Created of an image, in epoch seconds; None if unknown, or if the tag names no image."""
        record = self._record(tag)
        return None if record is None else record.config.created

    def is_image(self, tag: str) -> bool:
        """Return True if the tag names an image."""
        return self._record(tag) is not None

    def _record(self, tag: str) -> ImageRecord | None:
        if tag not in self._known:
            try:
                self._known[tag] = image_documents(f"{DOCKER}{self._repository}:{tag}", self._registry)
            except ToolError:
                raise
            except RechunkError as error:
                log.warning("%s:%s is left out: %s", self._repository, tag, error.message)
                self._known[tag] = None
        return self._known[tag]
